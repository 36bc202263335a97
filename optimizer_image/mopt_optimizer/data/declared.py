"""What a spec or a model declares of its inputs, and whether arrays are so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.inputs import DerivedRange, DimensionRange, InputSpec
from mopt_optimizer.errors import DataError, DimensionError
from mopt_optimizer.opening.inputs import Axis, ModelInput


def declared_inputs(
    inputs: Sequence[InputSpec], dimensions: Mapping[str, DimensionRange]
) -> list[ModelInput]:
    """Return a spec's inputs in the form that samples are checked against."""
    return [
        ModelInput(spec.name, spec.dtype.value, tuple(axis_of(s, dimensions) for s in spec.shape))
        for spec in inputs
    ]


def axis_of(size: int | str, dimensions: Mapping[str, DimensionRange]) -> Axis:
    if isinstance(size, int):
        return Axis(size=size)
    allowed = dimensions[size]
    axis = Axis(
        symbol=size, minimum=allowed.min, maximum=allowed.max, multiple_of=allowed.multiple_of
    )
    if isinstance(allowed, DerivedRange):
        return replace(axis, sum_of=tuple(allowed.sum_of), plus=allowed.plus)
    return axis


def check_arrays(
    name: str,
    arrays: Mapping[str, NDArray[Any]],
    inputs: Sequence[ModelInput],
    *,
    values: bool = True,
) -> None:
    """Check one sample's arrays against the model's inputs; all of them are there.

    Args:
        name: What errors call the sample.
        values: Whether to look for NaN and infinity too, which reads every value.

    Raises:
        DataError: Another type or rank, nothing in it, NaN or infinity.
        DimensionError: A size that the model or spec does not take, or two where one is meant.
    """
    seen: dict[str, tuple[int, str]] = {}
    for spec in inputs:
        array, where = arrays[spec.name], f"{name}: array {spec.name!r}"
        if array.dtype.name != spec.dtype:
            raise DataError(
                f"{where} is {array.dtype.name}, the input takes {spec.dtype}; "
                f"save it as array.astype({spec.dtype!r})"
            )
        if array.ndim != len(spec.axes):
            raise DataError(
                f"{where} has {array.ndim} dimensions {array.shape}, the input "
                f"{len(spec.axes)}; a sample's batch axis counts too"
            )
        if not array.size:
            raise DataError(f"{where} is empty: {array.shape}")
        if values and array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = array.size - np.count_nonzero(np.isfinite(array))
            raise DataError(f"{where}: {bad} of {array.size} values are NaN or Inf")
        for number, (axis, size) in enumerate(zip(spec.axes, array.shape, strict=True)):
            place = f"{where}: size {size} at axis {number}"
            _check_size(place, axis, size)
            if axis.symbol is not None:
                first, there = seen.setdefault(axis.symbol, (size, f"{spec.name} {number}"))
                if first != size:
                    raise DimensionError(f"{place}, but {axis.symbol} is {first} at {there}")
    _check_sums(name, inputs, {symbol: size for symbol, (size, _) in seen.items()})


def _check_sums(name: str, inputs: Sequence[ModelInput], sizes: Mapping[str, int]) -> None:
    for axis in (axis for spec in inputs for axis in spec.axes if axis.sum_of):
        if any(term not in sizes for term in axis.sum_of):
            continue
        wanted = sum(sizes[term] for term in axis.sum_of) + axis.plus
        if axis.symbol is not None and sizes[axis.symbol] != wanted:
            terms = " + ".join([*axis.sum_of, *([str(axis.plus)] if axis.plus else [])])
            raise DimensionError(
                f"{name}: {axis.symbol} is {sizes[axis.symbol]}, but {terms} is {wanted}"
            )


def _check_size(place: str, axis: Axis, size: int) -> None:
    if axis.size is not None and size != axis.size:
        raise DimensionError(f"{place}, which is fixed to {axis.size}")
    if axis.minimum is not None and size < axis.minimum:
        raise DimensionError(f"{place}; {axis.symbol} takes {axis.minimum} up")
    if axis.maximum is not None and size > axis.maximum:
        raise DimensionError(f"{place}; {axis.symbol} takes {axis.maximum} down")
    if axis.multiple_of and size % axis.multiple_of:
        raise DimensionError(f"{place}; {axis.symbol} takes multiples of {axis.multiple_of}")
