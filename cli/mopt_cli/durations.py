"""Durations as options have them, and as people read them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

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


def age(since: str | None, now: datetime) -> str:
    """Return how long ago something was, as kubectl writes it: 45s, 5m10s, 3h20m, 2d4h, 12d.

    Args:
        since: RFC 3339, with its zone; anything else, and None, is unknown.
        now: With its zone.
    """
    try:
        then = datetime.fromisoformat(since or "")
        seconds = max(0, int((now - then).total_seconds()))
    except (ValueError, TypeError):
        return "unknown"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m"
    if days < 2:
        return f"{hours}h"
    return f"{days}d{hours % 24}h" if days < 8 else f"{days}d"
