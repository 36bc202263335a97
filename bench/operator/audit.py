"""What the API server's audit log says that the operator asked for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from .cluster import USER

Json = dict[str, Any]


class Moment(NamedTuple):
    """A time, and how much of the log was written by then."""

    time: datetime
    offset: int

    @classmethod
    def now(cls, log: Path) -> Moment:
        """Return the present one."""
        return cls(datetime.now().astimezone(), log.stat().st_size)


def entries(log: Path, since: Moment) -> Iterator[Json]:
    """Yield the completed requests that were received since a moment."""
    with log.open("rb") as lines:
        # What was there before is not read again by each look.
        lines.seek(since.offset)
        for line in lines:
            if not line.endswith(b"\n"):
                return  # Still being written.
            entry = json.loads(line)
            complete = entry["stage"] == "ResponseComplete"
            if complete and _time(entry, "requestReceivedTimestamp") >= since.time:
                yield entry


def _time(entry: Json, field: str) -> datetime:
    return datetime.fromisoformat(entry[field])


def _kind(entry: Json) -> str:
    reference = entry.get("objectRef", {})
    parts = (reference.get("resource"), reference.get("subresource"))
    return "/".join(part for part in parts if part)


def requests_of_operator(found: Iterable[Json]) -> Counter[str]:
    """Count the operator's requests as "verb kind"; the Lease's are left out, dry runs named."""
    counted: Counter[str] = Counter()
    for entry in found:
        kind = _kind(entry)
        if entry["user"]["username"] == USER and kind and kind != "leases":
            dry = "dry-run " if "dryRun=All" in entry["requestURI"] else ""
            counted[f"{dry}{entry['verb']} {kind}"] += 1
    return counted


def reaction_milliseconds(found: Iterable[Json]) -> dict[str, float]:
    """Return, by resource, the time from the answer to its apply to that of its first Job."""
    created: dict[str, datetime] = {}
    reacted: dict[str, float] = {}
    for entry in found:
        kind, code = _kind(entry), entry["responseStatus"]["code"]
        if entry["verb"] != "create" or code != 201:
            continue
        name, at = entry["objectRef"].get("name", ""), _time(entry, "stageTimestamp")
        if kind == "modeloptimizations":
            created[name] = at
        elif kind == "jobs":
            owner = name.rsplit("-", 2)[0]
            if owner in created:
                reacted.setdefault(owner, (at - created[owner]).total_seconds() * 1000)
    return reacted


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
