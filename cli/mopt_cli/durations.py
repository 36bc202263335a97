"""Durations as options have them. Pure."""

from __future__ import annotations

import re
from datetime import timedelta

from ._errors import CliError

_DURATION = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(option: str, text: str) -> timedelta:
    """Return a duration such as 30m, 24h or 7d.

    Raises:
        CliError: It is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise CliError(f"{option} {text}: a number and s, m, h or d is needed, such as 24h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
