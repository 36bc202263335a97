"""The sizes that an export is verified at: every dynamic one at two or more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import DimensionError
from mopt_optimizer.onnx_files.verify import Arrays, Case

# How far from the example's size the others are, in the order they are tried: some models take
# multiples only.
_STEPS = (1, 2, 4, 8, 16, 32, 64)

Reference = Callable[[Arrays], tuple[NDArray[Any], ...]]
Expression = Any  # a sympy expression over symbols of sizes


class Refused(Exception):
    """The model does not take these sizes; says why in its own words."""


@dataclass(frozen=True)
class TracedInput:
    """An input as it was traced.

    Attributes:
        shape: Numbers, and expressions over the symbols for dynamic sizes.
        example: The caller's values.
    """

    name: str
    shape: tuple[int | Expression, ...]
    example: NDArray[Any]


@dataclass(frozen=True)
class Bounds:
    """Sizes that a symbol takes: both ends are included."""

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
    """Return inputs with what the model makes of them: the example, then other sizes.

    Every dynamic size differs from the example's in at least one case; sizes that the model
    refuses are passed over.

    Args:
        reference: Raises Refused where the model does not take the inputs' sizes.

    Raises:
        DimensionError: A size that the model takes at one value only.
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
    """Return sizes with each of a group moved by another amount; None where bounds forbid it."""
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
    """Return values of other shapes, always the same ones, drawn from the example's own values.

    So that token ids stay in the vocabulary and masks stay masks. Examples of one value only, such
    as zeros, would verify nothing: floating-point ones become noise in 0 to 1.
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
            arrays[value.name] = np.ascontiguousarray(drawn)
    return arrays


def size_of(expression: int | Expression, sizes: Mapping[str, int]) -> int:
    """Return an expression's value at given sizes of the symbols."""
    if isinstance(expression, int):
        return expression
    return int(expression.subs({s: sizes[str(s)] for s in expression.free_symbols}))
