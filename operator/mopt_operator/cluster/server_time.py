"""The API server's clock, by which the times in objects are; the operator's node may differ.

Deadlines and waits compare the two. By the node's own clock, an hour behind, a result whose Pod is
gone would be waited for an hour longer, and a lost node not be noticed for as long.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from mopt_operator.times import utc_now

logger = logging.getLogger(__name__)

# The Date of an answer has whole seconds, and is older by the answer's way.
_TOLERANCE = timedelta(seconds=2)
_LONGEST_WAY = timedelta(seconds=1)


class ServerTime:
    """Knows how far our clock is from the API server's.

    Args:
        clock: Ours.
    """

    def __init__(self, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock
        self._offset = timedelta()

    def now(self) -> datetime:
        """Return the time by the API server's clock, in UTC."""
        return self._clock() + self._offset

    def see(self, date: str | None, asked: datetime) -> None:
        """Note the Date of an answer that has just come.

        Args:
            date: The header; None where a proxy has removed it.
            asked: When the request was sent, by our clock.
        """
        ours = self._clock()
        if date is None or not timedelta() <= ours - asked <= _LONGEST_WAY:
            return
        try:
            offset = parsedate_to_datetime(date) - ours
        except (ValueError, TypeError):
            return
        if abs(offset - self._offset) <= _TOLERANCE:
            return
        self._offset = offset if abs(offset) > _TOLERANCE else timedelta()
        logger.warning(
            "This node's clock differs from the API server's, whose time counts: %+.0f s",
            0 - self._offset.total_seconds(),
        )
