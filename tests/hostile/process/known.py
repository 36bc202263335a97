"""What still gets through, each with its cure. An entry that is mended makes its test fail."""

from __future__ import annotations

import pytest

ATTEMPTS: dict[str, str] = {}
"""By their names."""

PLACES: dict[tuple[str, str], str] = {}
"""Of one place alone."""


def through(why: str) -> pytest.MarkDecorator:
    """Return the mark of what gets through still."""
    return pytest.mark.xfail(strict=True, reason=why)


def marks(place: str, name: str) -> list[pytest.MarkDecorator]:
    """Return the marks of an attempt in a place."""
    why = ATTEMPTS.get(name) or PLACES.get((place, name))
    return [through(why)] if why else []
