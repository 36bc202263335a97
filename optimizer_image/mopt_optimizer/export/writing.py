"""Writes traced models as ONNX files, and converts opsets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mopt_optimizer.errors import ExportError, OpsetError, SpecError, first_line
from mopt_optimizer.onnx_files.files import needs_external_data, save_graph
from mopt_optimizer.onnx_files.naming import rename_dimensions
from mopt_optimizer.onnx_files.opsets import OPSET, opset

from .program import exported_program
from .scripts import flat_outputs
from .tracing import Traced

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


def scripted(traced: Traced) -> Traced | None:
    """Return a model as TorchScript, whose exporter writes older opsets; None if that fails.

    Its tracing specializes more than torch.export's: the output must be verified.
    """
    import sympy  # type: ignore[import-untyped]
    import torch

    if traced.args is None or isinstance(traced.model, torch.jit.ScriptModule):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecation, and of sizes traced as constants
        try:
            script = torch.jit.trace(  # type: ignore[no-untyped-call]
                traced.module, traced.args, check_trace=False
            )
        except (RuntimeError, ValueError, TypeError):
            return None
    named = [
        replace(
            value,
            shape=tuple(
                size if isinstance(size, int) else sympy.Symbol(traced.names[str(size)])
                for size in value.shape
            ),
        )
        for value in traced.inputs
    ]
    return replace(traced, model=script, inputs=named, names={})


def write_traced(
    traced: Traced, path: Path, output_names: Sequence[str] | None, opset_version: int
) -> None:
    """Write a traced model as ONNX, in the requested opset or in OPSET if that is newer.

    Raises:
        ExportError: ONNX or the exporter lacks an operator.
        SpecError: The number of output names is not the number of outputs.
    """
    import torch

    if isinstance(traced.model, torch.jit.ScriptModule):
        _write_script(traced, path, opset_version)
    else:
        program = exported_program(traced.model, max(opset_version, OPSET))
        for number, value in enumerate(program.model.graph.inputs):
            _rename_value(program.model, value, traced.inputs[number].name)
        save_graph(program.model, path)
    _name(path, traced, output_names)


def _rename_value(model: ir.Model, value: ir.Value, name: str) -> None:
    """Rename a value, and any other value that has the name."""
    import onnx_ir as ir

    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for other in node.outputs:
            if other.name == name and other is not value:
                other.name = f"{name}_value"
    for other in [*model.graph.inputs, *model.graph.initializers.values()]:
        if other.name == name and other is not value:
            other.name = f"{name}_value"
    value.name = name


def _name(path: Path, traced: Traced, output_names: Sequence[str] | None) -> None:
    """Apply the caller's names of outputs and sizes; strip metadata about this machine."""
    import onnx
    import onnx_ir as ir

    model = ir.load(path)
    outputs = model.graph.outputs
    count = len(outputs)
    names = output_names or (["output"] if count == 1 else [f"output_{i}" for i in range(count)])
    if len(names) != count:
        raise SpecError(f"output_names has {len(names)} names for {count} outputs")
    taken = {value.name for value in model.graph.inputs}
    for value, name in zip(outputs, names, strict=True):
        if not value.is_graph_input():
            _rename_value(model, value, f"{name}_value" if name in taken else name)
    save_graph(model, path)
    proto = onnx.load(path, load_external_data=False)
    rename_dimensions(proto, traced.names)
    for node in proto.graph.node:
        del node.metadata_props[:]  # stack traces: paths on the exporting machine
        node.doc_string = ""
    onnx.save(proto, path)


def _write_script(traced: Traced, path: Path, opset_version: int) -> None:
    import torch

    assert traced.args is not None  # noqa: S101 - trace_script and scripted() set it

    axes = {
        value.name: {
            axis: str(size) for axis, size in enumerate(value.shape) if not isinstance(size, int)
        }
        for value in traced.inputs
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter's deprecation
        try:
            torch.onnx.export(
                flat_outputs(traced.model, traced.args),  # type: ignore[arg-type]
                traced.args,
                str(path),
                dynamo=False,
                opset_version=opset_version,
                input_names=[value.name for value in traced.inputs],
                dynamic_axes={name: sizes for name, sizes in axes.items() if sizes},
                # Our verified passes fold constants.
                do_constant_folding=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
            raise ExportError(
                f"the TorchScript exporter of opset {opset_version} fails: {first_line(error)}"
            ) from error


def convert_opset(path: Path, wanted: int) -> bool:
    """Convert a model file to another opset; return whether that was necessary.

    Raises:
        OpsetError: onnx cannot convert one of the operators; says which opset is possible.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    current = opset(model)
    if current == wanted:
        return False
    if any(needs_external_data(tensor) for tensor in model.graph.initializer):
        raise OpsetError(
            f"opset {wanted} is not possible with weights in another file; {current} is"
        )
    try:
        converted = onnx.version_converter.convert_version(model, wanted)
    except (RuntimeError, ValueError) as error:
        raise OpsetError(
            f"opset {wanted} is not possible: {_adapter(error)}; "
            f"{_oldest_possible(model, wanted, current)} is the oldest that is"
        ) from error
    onnx.save(converted, path)
    return True


def _adapter(error: Exception) -> str:
    """Return the part of onnx's message that names the operator."""
    message = first_line(error)
    return message.rpartition("failed: ")[2] or message


def _oldest_possible(model: onnx.ModelProto, wanted: int, current: int) -> int:
    import onnx

    for version in range(wanted + 1, current):
        try:
            onnx.version_converter.convert_version(model, version)
        except (RuntimeError, ValueError):
            continue
        return version
    return current
