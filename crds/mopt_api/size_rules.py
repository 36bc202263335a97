"""Bounds on what a spec asks for as a whole: products of sizes that are each legal. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .base import Rule

MAX_PIXELS = 2**25
"""Of an image after resizing or cropping: 8K video has 33.2 million."""
MAX_VALUES = 2**30
"""Of one input: eight 8K images, 4 GiB of float32."""
MOST_AXES = 8


def pixel_rule(field: str) -> Rule:
    """Return the rule for [height, width] in a field of an image transform."""

    def holds(transform: Any) -> bool:
        size = getattr(transform, field)
        return not size or math.prod(size) <= MAX_PIXELS

    return Rule(
        f"!has(self.{field}) || self.{field}[0] * self.{field}[1] <= {MAX_PIXELS}",
        f"{field} must have at most {MAX_PIXELS} pixels",
        holds,
    )


def opt_rule() -> Rule:
    """Return the rule for the inputs with every dimension at opt."""
    return Rule(
        _no_input_above("self.dimensions[d].opt"),
        f"an input has more than {MAX_VALUES} values with its dimensions at opt",
        lambda spec: _most_values(spec, {}) <= MAX_VALUES,
    )


def points_rule() -> Rule:
    """Return the rule for the inputs at each benchmark point."""
    size = "has(p.dimensions) && d in p.dimensions ? p.dimensions[d] : self.dimensions[d].opt"
    return Rule(
        "!has(self.benchmark) || !has(self.benchmark.points) || "
        f"self.benchmark.points.all(p, {_no_input_above(size)})",
        f"an input has more than {MAX_VALUES} values at a benchmark point",
        lambda spec: all(
            _most_values(spec, point.dimensions) <= MAX_VALUES for point in spec.benchmark.points
        ),
    )


def _no_input_above(size: str) -> str:
    """Return the CEL of: no input has more than MAX_VALUES values. Doubles do not overflow.

    Args:
        size: CEL of the size of a declared dimension named d.
    """
    # Another rule refuses names that are not declared.
    declared = f"has(self.dimensions) && d in self.dimensions ? double({size}) : 1.0"
    sizes = f"i.shape.map(d, type(d) == int ? double(d) : ({declared}))"
    ones = ", ".join(["1.0"] * (MOST_AXES - 1))
    product = " * ".join(f"v[{number}]" for number in range(MOST_AXES))
    # CEL folds no list: it is filled up to MOST_AXES, and bound to v as the item of another.
    return f"self.inputs.all(i, [{sizes} + [{ones}]].all(v, {product} <= {float(MAX_VALUES)}))"


def _most_values(spec: Any, sizes: Mapping[str, int]) -> int:
    """Return the number of values of the largest input.

    Args:
        sizes: Of some dimensions, in place of opt.
    """
    known = {name: size.opt for name, size in spec.dimensions.items()} | dict(sizes)
    return max(
        math.prod(axis if isinstance(axis, int) else known.get(axis, 1) for axis in one.shape)
        for one in spec.inputs
    )
