"""Inputs and dimensions of a generated ModelOptimization. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from mopt_api.base import MAX_SIZE
from mopt_api.enums import DType
from mopt_optimizer.formats.base import DescribedAxis, DescribedValue, ModelDescription
from mopt_optimizer.opening.inputs import TEXT, text_input

from ._errors import CliError

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
# Names that torch and exporters give to unnamed sizes: s0, s77, unk__3, 2*s1.
_NAMELESS = re.compile(r"s\d+|u\d+|unk__\d+|.*[^A-Za-z0-9_].*")
_BATCH = (1, 1, 8)
_SIDE = (32, 128, 512)
_OTHER = (1, 64, 512)
_IMAGE_RANK = 4
# Names of the axes of pictures and volumes, beside batch and channels, by the number of axes.
_SPATIAL = {4: ("height", "width"), 5: ("depth", "height", "width")}
_IMAGE_CHANNELS = (1, 3)
# What caches of keys and values are called.
_CACHE = re.compile(r"past|cache", re.I)


@dataclass(frozen=True)
class Range:
    """Sizes of a dimension; bounded is whether the file has an upper bound."""

    minimum: int
    opt: int
    maximum: int
    multiple_of: int | None
    bounded: bool


@dataclass(frozen=True)
class Sum:
    """Names of dimensions, and what is added to their sum."""

    sum_of: tuple[str, ...]
    plus: int


@dataclass(frozen=True)
class Input:
    """An input as the spec has it."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Inputs:
    """Inputs, and the dimensions that they name."""

    inputs: list[Input]
    ranges: dict[str, Range]
    sums: dict[str, Sum]


def initial_inputs(description: ModelDescription, shapes: Mapping[str, Sequence[int]]) -> Inputs:
    """Return the inputs with names for their free sizes, and what these names stand for.

    Args:
        shapes: Sizes of inputs that the file does not tell, as TorchScript; float32.

    Raises:
        CliError: An input that mopt does not support, or whose sizes are unknown.
    """
    known = [value.name for value in description.inputs]
    if unknown := [name for name in shapes if name not in known]:
        raise CliError(f"--input {unknown[0]}: the model has {', '.join(known) or 'no inputs'}")
    if not description.inputs:
        raise CliError("the model has no inputs")
    values = [_complete(value, shapes) for value in description.inputs]
    names: dict[str, str] = {}
    ranges: dict[str, Range] = {}
    sums: dict[str, Sum] = {}
    # Sums last: they name the others.
    for value, number, axis in sorted(_free(values), key=lambda free: bool(free[2].sum_of)):
        key = _key(value, number, axis)
        if key in names:
            continue
        terms = [names.get(term, "") for term in axis.sum_of]
        names[key] = _dimension_name(value, number, set(names.values()))
        if terms and all(terms):
            sums[names[key]] = Sum(tuple(terms), axis.plus)
        else:
            ranges[names[key]] = range_of(axis, names[key])
    inputs = [
        Input(
            value.name,
            value.dtype or "",
            tuple(
                names[_key(value, number, axis)] if axis.size is None else axis.size
                for number, axis in enumerate(value.axes or ())
            ),
        )
        for value in values
    ]
    return Inputs(inputs, ranges, sums)


def _complete(value: DescribedValue, shapes: Mapping[str, Sequence[int]]) -> DescribedValue:
    if value.name in shapes and value.axes is None:
        axes = [DescribedAxis(size=size) for size in shapes[value.name]]
        value = value.model_copy(update={"axes": axes, "dtype": DType.FLOAT32.value})
    if value.axes is None or value.dtype is None:
        raise CliError(
            f"the file has no shape for input {value.name}: give "
            f"--input {value.name}:1x3x128x128 with its sizes"
        )
    if value.dtype == TEXT:
        raise CliError(text_input(value.name))
    if value.dtype not in list(DType):
        raise CliError(
            f"input {value.name} is {value.dtype}; mopt supports {', '.join(DType)}: cast it in "
            "the model"
        )
    return value


def _free(values: Sequence[DescribedValue]) -> list[tuple[DescribedValue, int, DescribedAxis]]:
    return [
        (value, number, axis)
        for value in values
        for number, axis in enumerate(value.axes or ())
        if axis.size is None
    ]


def _key(value: DescribedValue, number: int, axis: DescribedAxis) -> str:
    return axis.symbol or f"{value.name}[{number}]"


def _dimension_name(value: DescribedValue, number: int, taken: set[str]) -> str:
    """Return the model's name of a size, or the usual name of such an axis."""
    axes = value.axes or []
    symbol = axes[number].symbol or ""
    usual = _usual_name(value.name, number, axes)
    wanted = symbol if _IDENTIFIER.fullmatch(symbol) and not _NAMELESS.fullmatch(symbol) else usual
    if wanted in taken:
        prefix = re.sub(r"[^A-Za-z0-9_]", "_", value.name)[:20]
        wanted = f"{prefix}_{usual}" if _IDENTIFIER.fullmatch(prefix) else f"d{prefix}_{usual}"
    while wanted in taken:
        wanted = f"{wanted[:30]}_"
    return wanted


def _usual_name(name: str, number: int, axes: Sequence[DescribedAxis]) -> str:
    """Return what an axis is mostly, by its place: batch, then height and width, or length."""
    if number == 0:
        return "batch"
    if axes[number].sum_of:
        return "total"
    if _CACHE.search(name):
        return "past"
    if len(axes) == _IMAGE_RANK and number > 1 and sum(a.size is None for a in axes[1:]) == 1:
        return "length"  # One side of a picture is seldom free alone.
    if len(axes) in _SPATIAL:
        last = axes[-1].size in _IMAGE_CHANNELS and axes[1].size not in _IMAGE_CHANNELS
        first = 1 if last else 2
        if 0 <= number - first < len(axes) - 2:
            return _SPATIAL[len(axes)][number - first]
        return "channels"
    return "length" if number == 1 else f"axis{number}"


def range_of(axis: DescribedAxis, name: str) -> Range:
    """Return the sizes of a free axis: the file's bounds, usual ones where it has none."""
    kind = name.lower().rpartition("_")[2]
    low, opt, high = _OTHER
    if kind in ("batch", "n") or name.lower() == "batch_size":
        low, opt, high = _BATCH
    elif kind in ("height", "width", "h", "w"):
        low, opt, high = _SIDE
    step = axis.multiple_of or 1
    if axis.minimum is not None:
        low, opt, high = axis.minimum, max(opt, axis.minimum), max(high, axis.minimum)
    bounded = axis.maximum is not None and axis.maximum <= MAX_SIZE
    if bounded and axis.maximum is not None:
        high = axis.maximum
        low, opt = min(low, high), min(opt, high)
    high = max(high // step, 1) * step
    low = min(-(-low // step) * step, high)
    opt = min(max(opt // step * step, low), high)
    return Range(low, opt, high, axis.multiple_of, bounded)


def dimension_lines(ranges: Mapping[str, Range], sums: Mapping[str, Sum]) -> list[str]:
    """Return the fields dimensions and derivedDimensions."""
    if not ranges:
        return []
    lines = [
        "  # Sizes in serving; opt matters most. Narrow them to those that you serve.",
        "  dimensions:",
    ]
    for name, size in ranges.items():
        multiple = f", multipleOf: {size.multiple_of}" if size.multiple_of else ""
        guess = "" if size.bounded else "  # the file has no upper bound: adapt"
        lines.append(
            f"    {size_text(name)}: {{min: {size.minimum}, opt: {size.opt}, "
            f"max: {size.maximum}{multiple}}}{guess}"
        )
    if sums:
        lines.append("  derivedDimensions:")
    for name, total in sums.items():
        plus = f", plus: {total.plus}" if total.plus else ""
        terms = ", ".join(map(size_text, total.sum_of))
        lines.append(f"    {size_text(name)}: {{sumOf: [{terms}]{plus}}}")
    return lines


def quoted(text: str) -> str:
    """Return text as a YAML scalar in quotes, on one line."""
    return str(
        yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    ).strip()


def size_text(size: int | str) -> str:
    """Return a size as a YAML scalar; a name such as n would else be a boolean."""
    return str(size) if isinstance(size, int) or yaml.safe_load(size) == size else quoted(size)


def is_image(inputs: Sequence[Input]) -> bool:
    """Return whether a model takes one picture."""
    one = inputs[0]
    return (
        len(inputs) == 1
        and one.dtype == DType.FLOAT32
        and len(one.shape) == _IMAGE_RANK
        and one.shape[1] == 3
    )
