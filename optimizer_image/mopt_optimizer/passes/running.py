"""Runs passes one by one; what is wrong or useless is rolled back, and the report says so."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mopt_api.jobs.prepare_result import PassOutcome, PassReport
from mopt_optimizer.errors import RuntimeFailure
from mopt_optimizer.onnx_files.files import model_bytes, save_graph
from mopt_optimizer.onnx_files.opsets import IR_VERSION, OPSET
from mopt_optimizer.onnx_files.verify import Case, verify
from mopt_optimizer.progress import Log
from mopt_optimizer.store.writing import replacing

if TYPE_CHECKING:
    import onnx_ir as ir

# A pass may write names and folded constants that are a little larger than what they replace.
MAX_GROWTH = 1.05
MAX_GROWTH_BYTES = 64 * 1024


class PassRecord(PassReport):
    """What one graph pass did, in bytes too: those of the file and of weights outside it."""

    bytes_before: int
    bytes_after: int


class Pass(Protocol):
    """One rewriting of a graph."""

    @property
    def name(self) -> str:
        """Return what reports call it."""

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""


def optimize(
    path: Path, passes: Sequence[Pass], cases: Sequence[Case], log: Log
) -> list[PassRecord]:
    """Run passes on an ONNX file, in place.

    Each result that differs from what went in is compared at every case with the outputs that are
    expected of the model. A pass is rolled back where it fails, changes what is computed, or
    makes the file larger without making the graph smaller.
    """
    records: list[PassRecord] = []
    model, size = None, model_bytes(path)
    for one in passes:
        started = time.monotonic()
        # Read again only where the file is another: shape inference takes longer than most
        # passes. Each gets a copy of its own: some tidy up where they say that nothing changed.
        model = model or _opened(path)
        last = _run(path, model.clone(), one, cases, size, started)
        records.append(last)
        if last.outcome is PassOutcome.KEPT:
            model, size = None, last.bytes_after
        log(
            "passes",
            f"{one.name}: {last.outcome}",
            nodes_before=last.nodes_before,
            nodes_after=last.nodes_after,
            reason=last.message,
        )
    return records


def _opened(path: Path) -> ir.Model:
    """Return the model with the shapes that can be inferred; they are not written to the file."""
    import onnx_ir as ir
    from onnx_ir.passes.common import ShapeInferencePass

    model = ir.load(path)
    ShapeInferencePass()(model)
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        _forget_sequences(node, node.version or model.opset_imports.get(node.domain, OPSET))
    return model


def _forget_sequences(node: ir.Node, version: int) -> None:
    """Drop what was inferred of sequences: onnx_ir takes them for tensors (1.1), and ONNX Runtime
    opens no file that says so. torch.chunk makes them."""
    import onnx

    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return
    for value, formal in zip(node.outputs, schema.outputs, strict=False):
        if all(kind.startswith("seq(") for kind in formal.types):
            value.type, value.shape = None, None


def _run(
    path: Path, model: ir.Model, one: Pass, cases: Sequence[Case], size: int, started: float
) -> PassRecord:
    before = after = count_nodes(model)
    signature = _signature(model)
    bytes_before = bytes_after = size
    outcome, message = PassOutcome.NO_CHANGE, None
    try:
        modified = one.run(model)
    except Exception as error:  # noqa: BLE001 - a pass's fault costs the pass; it is reported
        traceback.print_exc()
        outcome, message = (
            PassOutcome.ROLLED_BACK,
            f"it failed: {type(error).__name__}: {error}"[:1024],
        )
        modified = False
    if modified:
        after = count_nodes(model)
        model.ir_version = max(model.ir_version, IR_VERSION)
        with replacing(path) as candidate:
            save_graph(model, candidate)
            bytes_after = model_bytes(candidate)
            grows = bytes_after > bytes_before * MAX_GROWTH + MAX_GROWTH_BYTES
            if (changed := _signature(model)) != signature:
                message = f"its inputs and outputs are {changed} instead of {signature}"[:1024]
            elif grows and after >= before:
                message = f"no fewer nodes, and {bytes_after} bytes instead of {bytes_before}"
            else:
                message = _objection(candidate, cases, path)
            if message is not None:
                candidate.write_bytes(path.read_bytes())
                candidate.with_name(f"{candidate.name}.data").unlink(missing_ok=True)
        outcome = PassOutcome.KEPT if message is None else PassOutcome.ROLLED_BACK
    seconds = round(time.monotonic() - started, 3)
    if outcome is not PassOutcome.KEPT:
        after, bytes_after = before, bytes_before
    return PassRecord(
        name=one.name,
        outcome=outcome,
        nodes_before=before,
        nodes_after=after,
        seconds=seconds,
        message=message,
        bytes_before=bytes_before,
        bytes_after=bytes_after,
    )


def _objection(candidate: Path, cases: Sequence[Case], before: Path) -> str | None:
    """Return why a pass's result is not taken; None where it is."""
    try:
        _, failure = verify(candidate, cases, before=before)
    except RuntimeFailure as error:
        return f"the result does not run: {error}"[:1024]
    return failure


def _signature(model: ir.Model) -> tuple[list[str], list[str]]:
    """Return the names and types of what is fed and of what is returned, in order."""
    graph = model.graph
    fed = [value for value in graph.inputs if value.name not in graph.initializers]
    return _typed(fed), _typed(graph.outputs)


def _typed(values: Sequence[ir.Value]) -> list[str]:
    return [f"{value.name} ({value.dtype})" for value in values]


def count_nodes(model: ir.Model) -> int:
    """Return the number of nodes, those of subgraphs included."""
    import onnx_ir as ir

    return sum(1 for _ in ir.traversal.RecursiveGraphIterator(model.graph))
