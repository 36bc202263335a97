"""What `mopt gc` prints. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mopt_api.text import plain

from .graph import StoredObject, counted
from .sweeping import Outcome

_ROWS = 20


def document(outcome: Outcome, output: str, *, delete: bool) -> dict[str, Any]:
    """Return what programs read: every object that goes, or went, in order."""
    going = outcome.removed if delete else outcome.plan.removed
    kept = _kept(outcome)
    return {
        "output": output,
        "deleted": delete,
        "resources": outcome.live.resources,
        "atWork": sorted(outcome.live.working),
        "kept": {"objects": len(kept), "bytes": _bytes(kept)},
        "unused": {"objects": len(going), "bytes": _bytes(going)},
        "objects": [
            {
                "key": one.key,
                "sizeBytes": one.size,
                "modified": one.modified.isoformat(timespec="seconds"),
            }
            for one in going
        ],
    }


def shown(outcome: Outcome, output: str, now: datetime, *, delete: bool) -> Group:
    """Return what people see: the largest objects, and sums."""
    going = outcome.removed if delete else outcome.plan.removed
    rows = Table(box=None, pad_edge=False)
    rows.add_column("WHAT")
    rows.add_column("MiB", justify="right")
    rows.add_column("AGE", justify="right")
    rows.add_column("KEY", no_wrap=True, overflow="ignore")
    largest = sorted(going, key=lambda one: (-one.size, one.key))
    for one in largest[:_ROWS]:
        age = f"{(now - one.modified).total_seconds() / 86400:.1f} d"
        rows.add_row(one.sort.value, _mebibytes(one.size), age, plain(one.key))
    parts = [rows] if going else []
    notes = []
    if len(going) > _ROWS:
        notes.append(f"and {len(going) - _ROWS} smaller ones: -o json has all of them")
    notes.append(_sum("removed" if delete else "unused", going))
    notes.append(_sum("kept", _kept(outcome)))
    count = outcome.live.resources
    notes.append(f"{count} resource{'' if count == 1 else 's'} were read; output: {output}")
    if (busy := len(outcome.live.working)) and not delete:
        notes.append(f"at work: {busy} of them, so --delete would remove nothing now")
    return Group(*parts, *(Text(plain(note)) for note in notes))


def _kept(outcome: Outcome) -> list[StoredObject]:
    return [one for one in outcome.objects if one.key in outcome.plan.kept]


def _sum(what: str, objects: Iterable[StoredObject]) -> str:
    found = list(objects)
    parts = counted(found)
    return f"{what}: {_mebibytes(_bytes(found))} MiB" + (f" ({parts})" if parts else "")


def _bytes(objects: Iterable[StoredObject]) -> int:
    return sum(one.size for one in objects)


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.2f}"
