"""What kopf is to remember of each object: nothing.

Before it calls any handler, kopf makes three deep copies of the object to find out what changed
since the handlers of creations and updates ran. There are none here, and the copies were half of
the operator's CPU time.
"""

from __future__ import annotations

from typing import Any

import kopf

_NOTHING = kopf.BodyEssence()


class NoDiffBase(kopf.DiffBaseStorage):
    """Takes no object for different from what it was."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return nothing of the object."""
        return _NOTHING

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Return what was stored: nothing."""
        return None

    def store(self, **_: Any) -> None:
        """Store nothing."""


class NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: an event handler has none."""

    def fetch(self, **_: Any) -> None:
        """Return what was stored: nothing."""

    def store(self, **_: Any) -> None:
        """Store nothing."""

    def purge(self, **_: Any) -> None:
        """Remove nothing."""

    def touch(self, **_: Any) -> None:
        """Leave the object as it is."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Return an essence as it is."""
        return essence
