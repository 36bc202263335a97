"""Converts an ExportedProgram to ONNX."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mopt_optimizer.errors import ExportError, root_message

from .symbolic_scalars import translations

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch
    import torch.onnx
    from torch.export import ExportedProgram


_TRANSLATING = re.compile(r"translating node %(\w+) .*target=torch\.ops\.([\w.]+)")


def exported_program(program: ExportedProgram, opset_version: int) -> torch.onnx.ONNXProgram:
    """Convert a program to ONNX in memory, sharing its weights.

    Raises:
        ExportError: ONNX or the exporter lacks an operator, or cannot write the opset.
    """
    import torch
    from torch.onnx.errors import OnnxExporterError

    with warnings.catch_warnings(), _without_ranges_of_multiples(program):
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        try:
            # Without its optimizer: our passes do the same, each verified.
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset_version,
                optimize=False,
                verbose=False,
                custom_translation_table=translations(),
            )
        except OnnxExporterError as error:
            why = f"{_node(error)}{root_message(error)}"
            raise ExportError(f"the model cannot be exported: {why}") from error
    if exported is None:
        raise ExportError("the model cannot be exported: the exporter gave no model")
    # If it cannot convert the opset, it keeps another one and only logs that.
    written = exported.model.opset_imports.get("")
    if written != opset_version:
        raise ExportError(f"torch.onnx wrote opset {written}, and cannot write {opset_version}")
    _name_each_output(exported.model)
    return exported


@contextmanager
def _without_ranges_of_multiples(program: ExportedProgram) -> Iterator[None]:
    """Leave ranges to symbols alone for now: 4 * Dim("h") has one of its own, which torch cannot
    export.

    The range of the symbol in it says the same.
    """
    import torch

    sizes = (
        size
        for node in program.graph.find_nodes(op="placeholder")
        if isinstance(value := node.meta.get("val"), torch.Tensor)
        for size in value.shape
    )
    free: Any = next((size for size in sizes if isinstance(size, torch.SymInt)), None)
    ranges = [program.range_constraints]
    if free is not None:
        ranges.append(free.node.shape_env.var_to_range)
    taken = [{e: known.pop(e) for e in [*known] if not e.is_Symbol} for known in ranges]
    try:
        yield
    finally:
        for known, multiples in zip(ranges, taken, strict=True):
            known.update(multiples)


def _node(error: BaseException) -> str:
    """Return the node that could not be translated, as the start of a message; "" if unknown."""
    while error.__cause__ is not None:
        if found := _TRANSLATING.search(str(error)):
            return f"node {found[1]} ({found[2]}): "
        error = error.__cause__
    return ""


def _name_each_output(model: ir.Model) -> None:
    """Give each output a value of its own: one returned twice, or an input, has one name only."""
    import onnx_ir as ir

    graph = model.graph
    taken = {value.name for node in graph for value in node.outputs}
    for index, value in enumerate(graph.outputs):
        if value.producer() is not None and value not in list(graph.outputs)[:index]:
            continue
        name = f"{value.name}_output_{index}"
        while name in taken:
            name += "_"
        taken.add(name)
        result = ir.Value(name=name, type=value.type, shape=value.shape)
        graph.append(ir.node("Identity", [value], outputs=[result]))
        graph.outputs[index] = result
