"""Which objects of an output store stay, and in which order the others go. Pure.

The store is laid out as docs/optimizer/cache.md says: blobs name blobs by their digests, index/NAME
names one blob, reports/HEX.html is the page of the blob HEX. attempts/UID.json names nothing, nor
do the files that a process was killed over in a folder or claim, .NAME.HEX.part.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

_NOTES_AGE = timedelta(days=8)
"""A Job is gone by then, and nobody reads what its Pods wrote for each other."""


class Sort(StrEnum):
    """What an object is, by its key."""

    BLOB = "blob"
    ENTRY = "cache entry"
    PAGE = "page"
    NOTE = "note"
    PART = "unfinished file"


_KEYS = {
    Sort.BLOB: re.compile(r"blobs/sha256/([0-9a-f]{64})"),
    Sort.ENTRY: re.compile(r"index/([A-Za-z0-9][A-Za-z0-9._-]{0,199})"),
    Sort.PAGE: re.compile(r"reports/([0-9a-f]{64})\.html"),
    Sort.NOTE: re.compile(r"attempts/([A-Za-z0-9-]{1,64})\.json"),
    Sort.PART: re.compile(
        r"(?:blobs/sha256|index|reports|attempts)/(\.[A-Za-z0-9._-]{1,100}\.[0-9a-f]{32}\.part)"
    ),
}
_LISTS = "history-"
"""How the names of such entries begin; see mopt_optimizer.stages.history."""
FOLDERS = ("blobs/sha256/", "index/", "reports/", "attempts/")


@dataclass(frozen=True)
class StoredObject:
    """An object below the output.

    Attributes:
        sort: What it is.
        name: Of a blob its digest, of a page that of its result, both in hex.
        key: Relative to the output.
        names: Digests in its text, in hex, of which not all are blobs.
    """

    sort: Sort
    name: str
    key: str
    size: int
    modified: datetime
    names: frozenset[str] = frozenset()


def counted(objects: Iterable[StoredObject]) -> str:
    """Return how many there are of each sort, as "6 blobs, 1 page"; empty for none."""
    counts = Counter(one.sort for one in objects)
    return ", ".join(
        f"{counts[sort]} {_plural(sort, counts[sort])}" for sort in Sort if counts[sort]
    )


def _plural(sort: Sort, count: int) -> str:
    if count == 1:
        return sort.value
    return "cache entries" if sort is Sort.ENTRY else f"{sort.value}s"


def sort_of(key: str) -> tuple[Sort, str] | None:
    """Return what lies under a key, relative to the output, and its name; None for anything that
    mopt did not write there."""
    for sort, pattern in _KEYS.items():
        if found := pattern.fullmatch(key):
            return sort, found[1]
    return None


@dataclass(frozen=True)
class Plan:
    """What stays, and what goes.

    Attributes:
        kept: Keys.
        waves: What goes, in this order: whatever names something goes before it, so that nothing
            names what is missing, wherever the removal ends.
    """

    kept: frozenset[str]
    waves: tuple[tuple[StoredObject, ...], ...] = field(default=())

    @property
    def removed(self) -> list[StoredObject]:
        """What goes, in order."""
        return [one for wave in self.waves for one in wave]


def plan_removal(
    objects: Iterable[StoredObject], roots: Collection[str], *, cutoff: datetime
) -> Plan:
    """Return what stays: what the roots name, what is younger than cutoff, what either names in
    turn; and cache entries that name no blob but such. All else goes.

    Args:
        roots: Digests, in hex, that are in use; others than of blobs may be among them.
    """
    found = list(objects)
    blobs = {one.name: one for one in found if one.sort is Sort.BLOB}
    entries = [one for one in found if one.sort is Sort.ENTRY]
    start = set(roots)
    for one in found:
        if one.modified > cutoff and one.sort is not Sort.NOTE:
            # What is being written now names what was written before, and was served from here.
            start |= one.names if one.sort is Sort.ENTRY else {one.name}
    used = _with_entries(entries, _reached(start, blobs), blobs)

    def stays(one: StoredObject) -> bool:
        if one.sort is Sort.NOTE:
            return one.modified > cutoff - _NOTES_AGE
        if one.modified > cutoff:
            return True
        if one.sort is Sort.ENTRY:
            # What names nothing is none of ours.
            return not one.names or not one.names.isdisjoint(used)
        return one.name in used

    going = [one for one in found if not stays(one)]
    return Plan(frozenset(one.key for one in found if stays(one)), _waves(going))


def _reached(start: Collection[str], blobs: Mapping[str, StoredObject]) -> set[str]:
    """Return the blobs that are named by start, directly or by others."""
    reached: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name in blobs and name not in reached:
            reached.add(name)
            waiting.extend(blobs[name].names)
    return reached


def _with_entries(
    entries: Iterable[StoredObject], used: set[str], blobs: Mapping[str, StoredObject]
) -> set[str]:
    """Return the blobs in use, with those of cache entries that name no others.

    They are small, and save the work that made what is in use. A measurement of it that nobody
    names goes: it names its own manifest. A list of measurements of a graph stays for one that is
    in use; who reads it passes over those that are gone.
    """
    saved: dict[str, bool] = {}
    for entry in entries:
        saved |= {name: entry.name.startswith(_LISTS) for name in entry.names if name in blobs}
    held = {name: blobs[name].names & blobs.keys() for name in saved.keys() - used}
    return used | {
        name
        for name, names in held.items()
        if names and (names <= used or (saved[name] and not names.isdisjoint(used)))
    }


def _waves(going: Iterable[StoredObject]) -> tuple[tuple[StoredObject, ...], ...]:
    """Return what goes in the order of its removal."""
    of: dict[Sort, list[StoredObject]] = {sort: [] for sort in Sort}
    for one in going:
        of[one.sort].append(one)
    waves = [of[Sort.ENTRY], of[Sort.PAGE], of[Sort.NOTE], of[Sort.PART], *_layers(of[Sort.BLOB])]
    return tuple(tuple(sorted(wave, key=lambda one: one.key)) for wave in waves if wave)


def _layers(blobs: Iterable[StoredObject]) -> list[list[StoredObject]]:
    """Return blobs in layers, whatever names something before it."""
    rest = {one.name: one for one in blobs}

    def others(one: StoredObject) -> list[str]:
        return [name for name in one.names if name in rest and name != one.name]

    named = Counter(name for one in rest.values() for name in others(one))
    layers = []
    layer = [one for one in rest.values() if not named[one.name]]
    while layer:
        layers.append(layer)
        for one in layer:
            del rest[one.name]
        freed = Counter(name for one in layer for name in others(one))
        named -= freed
        layer = [rest[name] for name in freed if not named[name]]
    # No digests name each other in a circle; if they did, they would go together.
    return [*layers, list(rest.values())] if rest else layers
