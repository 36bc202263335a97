"""Times: the clock, and how API objects write them."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def parse_time(text: str) -> datetime:
    """Return the time in an API object's field; it always has a time zone."""
    return datetime.fromisoformat(text)


def timestamp(time: datetime) -> str:
    """Return a time in UTC as metav1.Time: whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(time: datetime) -> str:
    """Return a time in UTC as metav1.MicroTime, which Leases hold."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
