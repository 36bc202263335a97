"""Progress lines on standard error, each with the seconds since the program started."""

import sys
import time

_STARTED = time.monotonic()


def elapsed() -> float:
    """Return the seconds since the program started."""
    return time.monotonic() - _STARTED


def say(message: str) -> None:
    """Print one progress line."""
    print(f"[{elapsed():6.1f} s] {message}", file=sys.stderr, flush=True)
