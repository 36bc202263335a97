"""How far a watch lags behind: a watch that is deaf looks like that of a quiet cluster.

Answers to the operator's writes, and the lists of a comparison, hold versions that the watch must
show too. A watch that does not show them is deaf, though its connection is open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


def is_older(version: str, than: str) -> bool:
    """Compare resourceVersions; since Kubernetes 1.35 they are ordered integers."""
    return int(version) < int(than)


@dataclass(frozen=True)
class Unseen:
    """An object whose newest version the watch has not shown.

    Attributes:
        since: Since when the watch has shown nothing of it that was awaited, on the clock of
            time.monotonic.
    """

    name: str
    version: str
    since: float


class Awaited:
    """The versions of one kind that its watch has yet to show."""

    def __init__(self) -> None:
        self._unseen: dict[str, Unseen] = {}

    def expect(self, uid: str, name: str, version: str, now: float) -> None:
        """Await a version; the watch is behind since the first that it has not shown."""
        known = self._unseen.get(uid)
        self._unseen[uid] = Unseen(name, version, known.since if known else now)

    def shown(self, uid: str, version: str, now: float) -> None:
        """Note what the watch showed; an older version shows that it is catching up."""
        known = self._unseen.get(uid)
        if known is None:
            return
        if is_older(version, known.version):
            self._unseen[uid] = replace(known, since=now)
        else:
            del self._unseen[uid]

    def gone(self, uid: str) -> None:
        """Await nothing more of an object that no longer exists."""
        self._unseen.pop(uid, None)

    def oldest(self) -> Unseen | None:
        """Return what has been awaited for the longest; None where the watch has shown all."""
        return min(self._unseen.values(), key=lambda unseen: unseen.since, default=None)
