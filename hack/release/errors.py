"""What the person at the terminal must know."""

from __future__ import annotations


class ReleaseError(RuntimeError):
    """A release cannot be built as asked; the message says why and what to do."""
