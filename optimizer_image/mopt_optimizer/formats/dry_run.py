"""Runs a model once it is described: what its file does not say of its inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.enums import DType
from mopt_optimizer.data.noise import noise
from mopt_optimizer.errors import RuntimeFailure
from mopt_optimizer.opening.feasible import Feasible, Range, Sizes, feasible
from mopt_optimizer.opening.sums import Sum, parse_sum

from .base import DescribedAxis, DescribedValue, ModelDescription, Seen

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Arrays], Sequence[NDArray[Any]]]

_MOST_VALUES = 2**22
"""Of all inputs of a run: what is larger is no trial."""
_MOST_BYTES = 2**29
"""Of a model file: a larger one is described only."""
# They may run for as long as a value says, and noise is no such value.
_ENDLESS = ("Loop", "while_loop", "prim::Loop")
_CLOSE = 1e-3


def dry_run(
    description: ModelDescription, run: Run, *, known: Callable[[Sizes], bool] | None = None
) -> ModelDescription:
    """Return a description with what running the model on noise showed.

    Free axes get ranges, names where they are equal, and terms where they are sums; outputs what
    was seen in them. A model that does not run stays as it was, with the reason.

    Args:
        run: Returns the outputs in order; raises RuntimeFailure.
        known: Whether the file's own conditions hold at sizes of all free axes; then ranges are
            not looked for by running.
    """
    if description.size_bytes > _MOST_BYTES or any(
        name in operator for operator in description.operators for name in _ENDLESS
    ):
        return description
    if any(v.axes is None or v.dtype not in list(DType) for v in description.inputs):
        return description
    last: list[str] = []

    def outputs(sizes: Sizes) -> list[NDArray[Any]] | None:
        try:
            return list(run(_noise(description.inputs, sizes)))
        except RuntimeFailure as error:
            last[:] = [str(error)]
            return None

    def fits(sizes: Sizes) -> bool:
        if _values(description.inputs, sizes) > _MOST_VALUES:
            return False
        return known(sizes) if known is not None else outputs(sizes) is not None

    batches, others, sums = free_axes(description.inputs)
    found = feasible(batches, others, fits, sums)
    if found is None or (results := outputs(found.start)) is None:
        return description.model_copy(update={"failure": last[-1] if last else None})
    return description.model_copy(
        update={
            "inputs": [_narrowed(value, found) for value in description.inputs],
            "outputs": _seen(description.outputs, results),
        }
    )


def axis_key(value: DescribedValue, number: int, axis: DescribedAxis) -> str:
    """Return what a free axis is called here: its symbol, or its place."""
    return axis.symbol or f"{value.name}[{number}]"


def free_axes(
    inputs: Sequence[DescribedValue],
) -> tuple[list[str], list[str], dict[str, Sum]]:
    """Return the outermost free axes, the other ones, and those of them that the file says are
    sums of these."""
    batches: dict[str, None] = {}
    others: dict[str, None] = {}
    for value in inputs:
        for number, axis in enumerate(value.axes or ()):
            if axis.size is None:
                (others if number else batches)[axis_key(value, number, axis)] = None
    every = {**batches, **others}
    named = {key: total for key in every if (total := parse_sum(key)) is not None}
    sums = {key: total for key, total in named.items() if every.keys() >= set(total.names)}
    return list(batches), [key for key in others if key not in batches], sums


def _noise(inputs: Sequence[DescribedValue], sizes: Mapping[str, int]) -> Arrays:
    generator = np.random.default_rng(0)
    return {
        value.name: noise(generator, _shape(value, sizes), DType(value.dtype or ""))
        for value in inputs
    }


def _shape(value: DescribedValue, sizes: Mapping[str, int]) -> list[int]:
    return [
        sizes[axis_key(value, number, axis)] if axis.size is None else axis.size
        for number, axis in enumerate(value.axes or ())
    ]


def _values(inputs: Sequence[DescribedValue], sizes: Mapping[str, int]) -> int:
    return sum(math.prod(_shape(value, sizes)) for value in inputs)


def _narrowed(value: DescribedValue, found: Feasible) -> DescribedValue:
    def narrowed(number: int, axis: DescribedAxis) -> DescribedAxis:
        key = axis_key(value, number, axis)
        if axis.size is not None:
            return axis
        if (total := found.sums.get(key)) is not None:
            if len(total.names) == 1 and not total.plus:
                # An axis that is always as large as another one is the same dimension.
                (name,) = total.names
                return _ranged(axis.model_copy(update={"symbol": name}), found.ranges.get(name))
            terms = {"symbol": key, "sum_of": list(total.names), "plus": total.plus}
            return axis.model_copy(update=terms)
        return _ranged(axis.model_copy(update={"symbol": key}), found.ranges.get(key))

    axes = [narrowed(number, axis) for number, axis in enumerate(value.axes or ())]
    return value.model_copy(update={"axes": axes})


def _ranged(axis: DescribedAxis, taken: Range | None) -> DescribedAxis:
    if taken is None:
        return axis
    step = math.lcm(taken.step, axis.multiple_of or 1)
    low = max(taken.minimum, axis.minimum or 1)
    high = min(taken.maximum or axis.maximum or 0, axis.maximum or taken.maximum or 0)
    return axis.model_copy(
        update={
            "minimum": low if low > 1 else None,
            "maximum": high or None,
            "multiple_of": step if step > 1 else None,
        }
    )


def _seen(
    outputs: Sequence[DescribedValue], results: Sequence[NDArray[Any]]
) -> list[DescribedValue]:
    """Return the outputs with what was seen; where the file names none, numbered."""
    known = list(outputs)
    if len(known) != len(results):
        known = [DescribedValue(name=f"output_{number}") for number in range(len(results))]
    return [
        value.model_copy(update={"dtype": _dtype(array), "seen": seen_in(array)})
        for value, array in zip(known, results, strict=True)
    ]


def _dtype(array: NDArray[Any]) -> str:
    return "string" if array.dtype.kind in "OSUT" else array.dtype.name


def seen_in(array: NDArray[Any]) -> Seen:
    """Return what an output shows of its kind."""
    numbers = array.dtype.kind in "fiub" and bool(array.size) and bool(np.isfinite(array).all())
    if not numbers:
        return Seen(shape=list(array.shape))
    values = array.astype(np.float64)
    last = values if values.ndim else values[np.newaxis]
    norms = np.sqrt((last**2).sum(axis=-1))
    return Seen(
        shape=list(array.shape),
        minimum=float(values.min()),
        maximum=float(values.max()),
        sums_to_one=bool(np.allclose(last.sum(axis=-1), 1, atol=_CLOSE) and values.min() >= 0),
        unit_length=bool(np.allclose(norms, 1, atol=_CLOSE)),
    )
