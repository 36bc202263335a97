"""Runs passes one by one; what is wrong or useless is rolled back, and the report says so."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mopt_api.result import PassReport

from .._progress import Log
from ..store import replacing
from ..verifying import Case, RuntimeFailure, verify

if TYPE_CHECKING:
    import onnx_ir as ir

KEPT, NO_CHANGE, ROLLED_BACK = "Kept", "NoChange", "RolledBack"

# A pass may write names and folded constants that are a little larger than what they replace.
MAX_GROWTH = 1.05
MAX_GROWTH_BYTES = 64 * 1024


class Pass(Protocol):
    """One rewriting of a graph."""

    @property
    def name(self) -> str:
        """Return what reports call it."""

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""


def optimize(
    path: Path, passes: Sequence[Pass], cases: Sequence[Case], log: Log
) -> list[PassReport]:
    """Run passes on an ONNX file, in place.

    Each result that differs from what went in is compared at every case with the outputs that are
    expected of the model. A pass is rolled back where it fails, changes what is computed, or
    makes the file larger without making the graph smaller.
    """
    return [_run(path, one, cases, log) for one in passes]


def _run(path: Path, one: Pass, cases: Sequence[Case], log: Log) -> PassReport:
    import onnx_ir as ir

    started = time.monotonic()
    model = ir.load(path)
    before = after = _count_nodes(model)
    outcome, message = NO_CHANGE, None
    try:
        modified = one.run(model)
    except Exception as error:  # noqa: BLE001 - a pass's fault costs the pass; it is reported
        traceback.print_exc()
        outcome, message = ROLLED_BACK, f"it failed: {type(error).__name__}: {error}"[:1024]
        modified = False
    if modified:
        after = _count_nodes(model)
        with replacing(path) as candidate:
            ir.save(model, candidate)
            message = _objection(path, candidate, cases, shrinks=after < before)
            if message is not None:
                candidate.write_bytes(path.read_bytes())
        outcome = KEPT if message is None else ROLLED_BACK
    seconds = round(time.monotonic() - started, 3)
    if outcome is not KEPT:
        after = before
    log("passes", f"{one.name}: {outcome}", nodes_before=before, nodes_after=after, reason=message)
    return PassReport(
        name=one.name,
        outcome=outcome,
        nodes_before=before,
        nodes_after=after,
        seconds=seconds,
        message=message,
    )


def _objection(path: Path, candidate: Path, cases: Sequence[Case], *, shrinks: bool) -> str | None:
    """Return why a pass's result is not taken; None where it is."""
    size, before = candidate.stat().st_size, path.stat().st_size
    if not shrinks and size > before * MAX_GROWTH + MAX_GROWTH_BYTES:
        return f"no fewer nodes, and {size} bytes instead of {before}"
    try:
        _, failure = verify(candidate, cases)
    except RuntimeFailure as error:
        return f"the result does not run: {error}"[:1024]
    return failure


def _count_nodes(model: ir.Model) -> int:
    """Return the number of nodes, those of subgraphs included."""
    import onnx_ir as ir

    return sum(1 for _ in ir.traversal.RecursiveGraphIterator(model.graph))
