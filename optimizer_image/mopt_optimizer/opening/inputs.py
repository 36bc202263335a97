"""The model's inputs against the spec's, and the sizes that the work is verified at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.errors import DimensionError, ModelError

if TYPE_CHECKING:
    import onnx
    from torch.export import ExportedProgram

# Verification runs the model many times; this many values of input keep each run short.
MAX_VERIFIED_VALUES = 1_000_000


@dataclass(frozen=True)
class Axis:
    """What the model says of one axis.

    Attributes:
        size: The size, where it is fixed.
        symbol: The model's own name of a dynamic size; axes that share it must be equal.
        minimum, maximum, multiple_of: What the model takes; None is no bound.
    """

    size: int | None = None
    symbol: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    multiple_of: int | None = None


@dataclass(frozen=True)
class ModelInput:
    """An input as the model has it; dtype as in numpy."""

    name: str
    dtype: str
    axes: tuple[Axis, ...]


def program_inputs(program: ExportedProgram) -> list[ModelInput]:
    """Return the inputs of a program.

    Raises:
        ModelError: An input that is not a tensor.
    """
    import torch

    names = set(program.graph_signature.user_inputs)
    inputs = []
    for node in program.graph.find_nodes(op="placeholder"):
        if node.name not in names:
            continue
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"input {node.name} is not a tensor")
        axes = tuple(_program_axis(size, program) for size in value.shape)
        inputs.append(ModelInput(node.name, str(value.dtype).removeprefix("torch."), axes))
    return inputs


def _program_axis(size: object, program: ExportedProgram) -> Axis:
    import sympy  # type: ignore[import-untyped]
    import torch

    if not isinstance(size, torch.SymInt):
        return Axis(size=int(str(size)))
    expression = size.node.expr
    factor, symbol = expression.as_coeff_Mul()
    multiple = int(factor) if factor.is_Integer and factor > 1 else None
    if not isinstance(symbol, sympy.Symbol):
        return Axis(symbol=str(expression))
    limits = program.range_constraints.get(symbol)
    if limits is None:
        return Axis(symbol=str(expression), multiple_of=multiple)
    # torch writes 0 or 2 where it only means "not specialized"; at run time 1 is taken as well.
    minimum = int(limits.lower) if limits.lower.is_Integer and int(limits.lower) > 2 else None
    maximum = int(limits.upper) if limits.upper.is_Integer else None
    scale = multiple or 1
    return Axis(
        symbol=str(expression),
        minimum=minimum and minimum * scale,
        maximum=maximum and maximum * scale,
        multiple_of=multiple,
    )


def onnx_inputs(model: onnx.ModelProto) -> list[ModelInput]:
    """Return the inputs of an ONNX model, without weights that are listed as inputs too.

    Raises:
        ModelError: An input that is not a tensor of known rank.
    """
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = []
    for value in model.graph.input:
        if value.name in weights:
            continue
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
            raise ModelError(f"input {value.name} is not a tensor of known rank")
        tensor = value.type.tensor_type
        axes = tuple(
            Axis(size=d.dim_value) if d.HasField("dim_value") else Axis(symbol=d.dim_param or None)
            for d in tensor.shape.dim
        )
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        inputs.append(ModelInput(value.name, dtype, axes))
    return inputs


def check_inputs(
    model: Sequence[ModelInput],
    spec: Sequence[InputSpec],
    dimensions: Mapping[str, DimensionRange],
) -> dict[str, str]:
    """Check the spec's inputs and dimensions against the model's.

    Returns:
        The spec's name of each symbol of the model's.

    Raises:
        DimensionError: A name, type, rank, size or range that differs; says both sides.
    """
    by_name = {i.name: i for i in model}
    for declared in spec:
        if declared.name not in by_name:
            raise DimensionError(
                f"the model has no input {declared.name!r}; it has {', '.join(by_name) or 'none'}"
            )
    if missing := set(by_name) - {i.name for i in spec}:
        raise DimensionError(f"spec.inputs lacks the model's {', '.join(sorted(missing))}")
    names: dict[str, str] = {}
    for declared in spec:
        actual = by_name[declared.name]
        if actual.dtype != declared.dtype.value:
            raise DimensionError(
                f"input {declared.name} is {declared.dtype.value} in the spec, "
                f"{actual.dtype} in the model"
            )
        if len(actual.axes) != len(declared.shape):
            raise DimensionError(
                f"input {declared.name} has {len(declared.shape)} dimensions in the spec, "
                f"{len(actual.axes)} in the model"
            )
        for number, (size, axis) in enumerate(zip(declared.shape, actual.axes, strict=True)):
            where = f"axis {number} of input {declared.name}"
            _check_axis(where, size, axis, dimensions)
            if isinstance(size, str) and axis.symbol:
                other = names.setdefault(axis.symbol, size)
                if other != size:
                    raise DimensionError(
                        f"{where} is {size} in the spec, but the model ties it to {other}: "
                        "give both the same name"
                    )
    return names


def _check_axis(
    where: str, declared: int | str, axis: Axis, dimensions: Mapping[str, DimensionRange]
) -> None:
    if axis.size is not None:
        if declared != axis.size:
            dynamic = "; export the model with that dimension dynamic, or give the number"
            raise DimensionError(
                f"{where} is {declared} in the spec, fixed to {axis.size} in the model"
                + (dynamic if isinstance(declared, str) else "")
            )
        return
    if isinstance(declared, int):
        low = high = declared
        step = declared
        shown = str(declared)
    else:
        allowed = dimensions[declared]
        low, high, step = allowed.min, allowed.max, allowed.multiple_of or 1
        shown = f"{declared} {low}..{high}"
    if axis.minimum is not None and low < axis.minimum:
        raise DimensionError(f"{where} is {shown} in the spec; the model takes {axis.minimum} up")
    if axis.maximum is not None and high > axis.maximum:
        raise DimensionError(f"{where} is {shown} in the spec; the model takes {axis.maximum} down")
    if axis.multiple_of and step % axis.multiple_of:
        raise DimensionError(
            f"{where} is {shown} in the spec; the model takes multiples of {axis.multiple_of}: "
            f"set multipleOf"
        )


def verified_sizes(
    inputs: Sequence[InputSpec], dimensions: Mapping[str, DimensionRange]
) -> list[dict[str, int]]:
    """Return the sizes to verify at: every dimension takes two different ones where it can.

    The smallest; the next legal ones, each dimension at another step so that two exchanged axes
    show; and opt where it is small enough to run quickly.
    """
    smallest = {name: size.min for name, size in dimensions.items()}
    following = {
        name: _next_size(size, steps=1 + number % 3)
        for number, (name, size) in enumerate(dimensions.items())
    }
    found = [smallest]
    if following != smallest:
        found.append(following)
    opt = {name: size.opt for name, size in dimensions.items()}
    if opt not in found and _values(inputs, opt) <= MAX_VERIFIED_VALUES:
        found.append(opt)
    return found


def _next_size(size: DimensionRange, *, steps: int) -> int:
    step = size.multiple_of or 1
    return min(size.min + step * min(steps, (size.max - size.min) // step), size.max)


def input_shape(spec: InputSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Return an input's shape at given sizes of the named dimensions."""
    return tuple(size if isinstance(size, int) else sizes[size] for size in spec.shape)


def _values(inputs: Sequence[InputSpec], sizes: Mapping[str, int]) -> int:
    return sum(math.prod(input_shape(i, sizes)) for i in inputs)
