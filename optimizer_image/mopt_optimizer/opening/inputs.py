"""The model's inputs against the spec's, and the sizes that the work is verified at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mopt_api.inputs import DerivedRange, DimensionRange, InputSpec, with_derived
from mopt_optimizer.errors import DimensionError

# Verification runs the model many times; this many values of input keep each run short.
MAX_VERIFIED_VALUES = 1_000_000


@dataclass(frozen=True)
class Axis:
    """What the model says of one axis.

    Attributes:
        size: The size, where it is fixed.
        symbol: The model's own name of a dynamic size; axes that share it must be equal.
        minimum, maximum, multiple_of: What the model takes; None is no bound.
        sum_of, plus: Where it is a sum: the symbols of its terms, and what is added.
    """

    size: int | None = None
    symbol: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    multiple_of: int | None = None
    sum_of: tuple[str, ...] = ()
    plus: int = 0


@dataclass(frozen=True)
class ModelInput:
    """An input as the model has it; dtype as in numpy."""

    name: str
    dtype: str
    axes: tuple[Axis, ...]


TEXT = "string"


def text_input(name: str) -> str:
    """Return why an input of text is refused, and what to do."""
    return (
        f"input {name} takes text (string); mopt optimizes models of numbers: cut off what reads "
        "text, such as a tokenizer, with onnx.utils.extract_model"
    )


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
        if actual.dtype == TEXT:
            raise DimensionError(text_input(declared.name))
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
            example = ", from an example with 2 or more there" if axis.size == 1 else ""
            dynamic = f"; export the model with that dimension dynamic{example}, or give the number"
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
    plain = [(n, size) for n, size in dimensions.items() if not isinstance(size, DerivedRange)]
    smallest = with_derived({name: size.min for name, size in plain}, dimensions)
    following = with_derived(
        {name: _next_size(size, steps=1 + number % 3) for number, (name, size) in enumerate(plain)},
        dimensions,
    )
    found = [smallest]
    if following != smallest:
        found.append(following)
    opt = with_derived({name: size.opt for name, size in plain}, dimensions)
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
