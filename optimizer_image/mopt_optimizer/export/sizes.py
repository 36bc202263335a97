"""Input sizes that an export is verified at: each dynamic one at two or more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import DimensionError
from mopt_optimizer.onnx_files.verify import Arrays, Case

# Offsets from the example's size, in the order they are tried: some models accept only multiples.
_STEPS = (1, 2, 4, 8, 16, 32, 64)

Reference = Callable[[Arrays], tuple[NDArray[Any], ...]]
Expression = Any  # a sympy expression over size symbols


class Refused(Exception):
    """The model rejects these sizes; quotes its message."""


@dataclass(frozen=True)
class TracedInput:
    """A traced input.

    Attributes:
        shape: Integers, and expressions over size symbols for dynamic axes.
        example: The caller's values.
    """

    name: str
    shape: tuple[int | Expression, ...]
    example: NDArray[Any]


@dataclass(frozen=True)
class Bounds:
    """Range of a size symbol, both ends included."""

    low: int
    high: int | None = None


def example_sizes(inputs: Sequence[TracedInput]) -> dict[str, int]:
    """Return each symbol's value in the example."""
    import sympy  # type: ignore[import-untyped]

    sizes: dict[str, int] = {}
    for value in inputs:
        for expression, size in zip(value.shape, value.example.shape, strict=True):
            if isinstance(expression, int):
                continue
            free = list(expression.free_symbols)
            if len(free) == 1 and str(free[0]) not in sizes:
                (solution,) = sympy.solve(expression - size, free[0]) or [size]
                sizes[str(free[0])] = int(solution)
    return sizes


def verification_cases(
    inputs: Sequence[TracedInput], bounds: Mapping[str, Bounds], reference: Reference
) -> list[Case]:
    """Return inputs with their reference outputs: the example, then other sizes.

    Every dynamic size differs from the example's in at least one case; sizes that the model rejects
    are skipped.

    Args:
        reference: Raises Refused if the model rejects the inputs' sizes.

    Raises:
        DimensionError: A dynamic size that the model accepts at one value only.
        Refused: It does not run on the example.
    """
    sizes = example_sizes(inputs)
    example = {value.name: value.example for value in inputs}
    cases = [Case(sizes, example, reference(example))]
    missing = set(sizes)
    reasons: dict[str, str] = {}
    for group in ([*sizes], *([name] for name in sizes)):
        if not missing & set(group):
            continue
        for step in _STEPS:
            changed = _stepped(sizes, group, bounds, step)
            if changed is None:
                continue
            arrays = resized(inputs, changed)
            try:
                cases.append(Case(changed, arrays, reference(arrays)))
            except Refused as error:
                reasons |= dict.fromkeys(group, str(error))
                logging.getLogger(__name__).debug("not verified at %s: %s", changed, error)
                continue
            missing -= set(group)
            break
    if missing:
        name = min(missing)
        raise DimensionError(
            f"{name} is to be dynamic, but the model takes {sizes[name]} only: "
            + reasons.get(name, "no other size is within its bounds")
        )
    return cases


def _stepped(
    sizes: Mapping[str, int], group: Sequence[str], bounds: Mapping[str, Bounds], step: int
) -> dict[str, int] | None:
    """Return sizes with each of a group shifted by its own amount; None if out of bounds."""
    changed = dict(sizes)
    for number, name in enumerate(group):
        amount = step * (1 + number % 3)
        limit = bounds.get(name, Bounds(1))
        if limit.high is None or sizes[name] + amount <= limit.high:
            changed[name] += amount
        elif sizes[name] - amount >= limit.low:
            changed[name] -= amount
        else:
            return None
    return changed


def resized(inputs: Sequence[TracedInput], sizes: Mapping[str, int]) -> Arrays:
    """Return inputs at other sizes, sampled from the example's values with a fixed seed.

    So token ids stay in the vocabulary and masks stay masks. A constant example, such as zeros,
    would verify nothing: a floating-point one becomes noise in 0 to 1.
    """
    generator = np.random.default_rng(0)
    arrays: Arrays = {}
    for value in inputs:
        shape = tuple(size_of(expression, sizes) for expression in value.shape)
        if shape == value.example.shape:
            arrays[value.name] = value.example
        elif value.example.dtype.kind == "f" and np.ptp(value.example) == 0:
            arrays[value.name] = generator.random(shape).astype(value.example.dtype)
        else:
            drawn = generator.choice(value.example.reshape(-1), size=shape)
            arrays[value.name] = np.asarray(drawn, order="C")
    return arrays


def size_of(expression: int | Expression, sizes: Mapping[str, int]) -> int:
    """Return an expression's value at given symbol values."""
    if isinstance(expression, int):
        return expression
    return int(expression.subs({s: sizes[str(s)] for s in expression.free_symbols}))
