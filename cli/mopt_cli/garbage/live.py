"""What the resources of a cluster name in an output store. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mopt_api.base import REQUESTED_AT_ANNOTATION
from mopt_api.labels import MAX_REQUESTED_AT
from mopt_api.status import ConditionType
from mopt_api.stores import FILE, claim_of

Raw = Mapping[str, object]

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass
class Live:
    """What is in use.

    Attributes:
        roots: Digests that resources name, in hex.
        working: NAMESPACE/NAME of those with work that may read or write below the output.
        resources: How many there are.
    """

    roots: set[str] = field(default_factory=set)
    working: list[str] = field(default_factory=list)
    resources: int = 0

    def add(self, raw: Raw, output: str, keep: int | None) -> None:
        """Take a resource in.

        Args:
            output: The store's uri.
            keep: How many selections of each target count, the present one included; None for all
                that status has.
        """
        self.resources += 1
        self.roots |= named_by(raw, keep)
        if at_work(raw) and may_write(raw, output):
            metadata = _mapping(raw.get("metadata"))
            self.working.append(f"{metadata.get('namespace', '?')}/{metadata.get('name', '?')}")


def named_by(raw: Raw, keep: int | None) -> set[str]:
    """Return every digest that a resource names, wherever it stands: fields of a newer version
    count too."""
    status = dict(_mapping(raw.get("status")))
    if keep is not None:
        status["history"] = list(_newest(status, keep))
    return {digest for text in _texts({**raw, "status": status}) for digest in _digests(text)}


def _digests(text: str) -> Iterator[str]:
    return (found[0] for found in _DIGEST.finditer(text))


def _newest(status: Raw, keep: int) -> Iterator[object]:
    """Yield the newest records of each target, in their order, newest first; and those of what is
    published, whose files its result names."""
    published = {
        _mapping(_mapping(t).get("published")).get(field)
        for t in _items(status, "targets")
        for field in ("artifact", "insteadOf")
    }
    counts: dict[object, int] = {}
    for record in _items(status, "history"):
        target = _mapping(record).get("target")
        counts[target] = counts.get(target, 0) + 1
        if counts[target] <= keep or _mapping(record).get("artifact") in published - {None}:
            yield record


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def at_work(raw: Raw) -> bool:
    """Return whether a resource has work, or waits for the operator to see that it has none."""
    metadata, status = _mapping(raw.get("metadata")), _mapping(raw.get("status"))
    asked = _mapping(metadata.get("annotations")).get(REQUESTED_AT_ANNOTATION) or None
    asked = str(asked)[:MAX_REQUESTED_AT] if asked else None
    if status.get("lastHandledReconcileAt") != asked:
        return True
    if status.get("observedGeneration") != metadata.get("generation"):
        return True
    return bool(status.get("progress")) or _holds(status, ConditionType.RECONCILING)


def _holds(status: Raw, condition: ConditionType) -> bool:
    found = map(_mapping, _items(status, "conditions"))
    return any(c.get("type") == condition and c.get("status") == "True" for c in found)


def may_write(raw: Raw, output: str) -> bool:
    """Return whether a resource's output may be that store: the operator's default is not known
    here, nor whether a folder is where a claim is mounted."""
    uri = _mapping(_mapping(raw.get("spec")).get("output")).get("uri")
    if uri is None or same_place(str(uri), output):
        return True
    return output.startswith(f"{FILE}://") and claim_of(str(uri)) is not None


def same_place(one: str, other: str) -> bool:
    """Return whether two uris name the same output."""
    return one.rstrip("/") == other.rstrip("/")


def live_of(resources: Iterable[Raw], output: str, keep: int | None) -> Live:
    """Return what resources have in use."""
    live = Live()
    for raw in resources:
        live.add(raw, output, keep)
    return live


def _items(status: Raw, field: str) -> list[object]:
    value = status.get(field)
    return value if isinstance(value, list) else []


def _mapping(value: object) -> Raw:
    return value if isinstance(value, Mapping) else {}
