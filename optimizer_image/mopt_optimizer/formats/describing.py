"""What a model file is: format, inputs with their ranges, size of the work. Opens the file.

Call describe_file from a process without credentials (see _child), as with all of `sources`.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopt_api.base import ObservedModel
from mopt_api.enums import ModelFormat
from mopt_optimizer.errors import DimensionError, ModelError
from mopt_optimizer.onnx_files.verify import first_line
from mopt_optimizer.opening.inputs import Axis, ModelInput, onnx_inputs, program_inputs
from mopt_optimizer.opening.loading import (
    load_exported_program,
    load_torchscript,
    onnx_file,
    open_onnx,
    script_parameters,
)

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram


class DescribedAxis(ObservedModel):
    """As dimensions.Axis."""

    size: int | None = None
    symbol: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    multiple_of: int | None = None


class DescribedValue(ObservedModel):
    """An input or output; dtype as in numpy, None with axes where the format does not say."""

    name: str
    dtype: str | None = None
    axes: list[DescribedAxis] | None = None


class ModelDescription(ObservedModel):
    """What a model file holds.

    flops counts twice the multiply-adds at `dimensions`; None where a size is not known.
    """

    format: ModelFormat
    size_bytes: int
    inputs: list[DescribedValue]
    outputs: list[DescribedValue] = []
    parameters: int
    nodes: int
    operators: dict[str, int]
    opset: int | None = None
    dimensions: dict[str, int] = {}
    flops: int | None = None
    external_data: list[str] = []


class DescribeRequest(ObservedModel):
    """A file on the local disk; sizes to count at, by the model's own names."""

    path: str
    format: ModelFormat | None = None
    dimensions: dict[str, int] = {}


def format_of(path: Path) -> ModelFormat:
    """Return the format that a file's content looks like; opening it says whether it is.

    Raises:
        ModelError: No such file, or an empty one.
    """
    if not path.is_file() or not path.stat().st_size:
        raise ModelError(f"{path.name} is no file, or an empty one")
    if not zipfile.is_zipfile(path):
        return ModelFormat.ONNX
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelError(f"damaged archive: {error}") from error
    scripted = any("/code/" in name for name in names)
    return ModelFormat.TORCH_SCRIPT if scripted else ModelFormat.EXPORTED_PROGRAM


def describe_file(request: DescribeRequest, workdir: Path) -> ModelDescription:
    """Open a model file and return what it holds.

    Raises:
        UnsafeModelError, ModelError: As sources.
        DimensionError: A dimension that the model does not have, or a size it does not take.
        DiskError: No space for the checked copy.
    """
    path = Path(request.path)
    found = request.format or format_of(path)
    if found is ModelFormat.ONNX:
        return _describe_onnx(onnx_file(path, workdir / "unpacked"), request.dimensions)
    if found is ModelFormat.EXPORTED_PROGRAM:
        program = load_exported_program(path, workdir)
        return _describe_program(program, path, request.dimensions)
    if request.dimensions:
        raise DimensionError("a TorchScript file names no dimensions")
    return _describe_script(load_torchscript(path, workdir), path)


def _value(value: ModelInput) -> DescribedValue:
    return DescribedValue(
        name=value.name,
        dtype=value.dtype,
        axes=[DescribedAxis.model_validate(vars(axis)) for axis in value.axes],
    )


def _describe_onnx(path: Path, sizes: Mapping[str, int]) -> ModelDescription:
    from mopt_optimizer.onnx_files.info import model_info

    info = model_info(path, sizes)
    outputs = [
        DescribedValue(
            name=name,
            axes=[
                DescribedAxis(size=s)
                if isinstance(s, int)
                else DescribedAxis(symbol=None if s == "?" else s)
                for s in shape
            ],
        )
        for name, shape in info.outputs.items()
    ]
    return ModelDescription(
        format=ModelFormat.ONNX,
        size_bytes=info.size_bytes,
        inputs=[_value(i) for i in onnx_inputs(open_onnx(path))],
        outputs=outputs,
        parameters=info.parameters,
        nodes=info.nodes,
        operators=info.operators,
        opset=info.opset,
        dimensions=dict(sizes),
        flops=info.flops,
        external_data=info.external_data,
    )


def _describe_program(
    program: ExportedProgram, path: Path, sizes: Mapping[str, int]
) -> ModelDescription:
    inputs = program_inputs(program)
    operators = Counter(
        str(node.target) for node in program.graph.nodes if node.op == "call_function"
    )
    return ModelDescription(
        format=ModelFormat.EXPORTED_PROGRAM,
        size_bytes=path.stat().st_size,
        inputs=[_value(i) for i in inputs],
        outputs=_program_outputs(program),
        parameters=sum(p.numel() for p in program.parameters()),
        nodes=operators.total(),
        operators=dict(sorted(operators.items())),
        dimensions=dict(sizes),
        flops=_program_flops(program, inputs, sizes),
    )


def _program_outputs(program: ExportedProgram) -> list[DescribedValue]:
    import torch

    nodes = {node.name: node for node in program.graph.nodes}
    found = []
    for name in program.graph_signature.user_outputs:
        value: Any = nodes[name].meta.get("val") if name in nodes else None
        if not isinstance(value, torch.Tensor):
            continue  # A constant, or an output that is no tensor.
        axes = [
            DescribedAxis(symbol=str(s)) if isinstance(s, torch.SymInt) else DescribedAxis(size=s)
            for s in value.shape
        ]
        dtype = str(value.dtype).removeprefix("torch.")
        found.append(DescribedValue(name=name, dtype=dtype, axes=axes))
    return found


def _program_flops(
    program: ExportedProgram, inputs: list[ModelInput], sizes: Mapping[str, int]
) -> int | None:
    """Return what torch counts in one run at these sizes; None where one is not given."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    symbols = {a.symbol for i in inputs for a in i.axes if a.size is None and a.symbol}
    if unknown := set(sizes) - symbols:
        raise DimensionError(
            f"the model has no dimension {', '.join(sorted(unknown))}; it has "
            + (", ".join(sorted(symbols)) or "none")
        )
    if symbols - set(sizes):
        return None
    arguments = [
        torch.zeros([_size(a, sizes) for a in i.axes], dtype=getattr(torch, i.dtype))
        for i in inputs
    ]
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            program.module()(*arguments)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        reason = first_line(error)
        raise DimensionError(f"the model does not run at these sizes: {reason}") from error
    return int(counter.get_total_flops())


def _size(axis: Axis, sizes: Mapping[str, int]) -> int:
    return axis.size if axis.size is not None else sizes[axis.symbol or ""]


def _describe_script(module: torch.jit.ScriptModule, path: Path) -> ModelDescription:
    operators = Counter(node.kind() for node in module.inlined_graph.nodes())
    needed = [name for name, given in script_parameters(module).items() if given]
    return ModelDescription(
        format=ModelFormat.TORCH_SCRIPT,
        size_bytes=path.stat().st_size,
        # The file names its inputs and says nothing of their types and sizes.
        inputs=[DescribedValue(name=name) for name in needed],
        parameters=sum(p.numel() for p in module.parameters()),
        nodes=operators.total(),
        operators=dict(sorted(operators.items())),
    )
