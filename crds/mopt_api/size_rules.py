"""Bounds on what a spec asks for as a whole: products of sizes that are each legal. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .base import MAX_SIZE, Rule

MAX_PIXELS = 2**25
"""Of an image after resizing or cropping: 8K video has 33.2 million."""
MAX_VALUES = 2**30
"""Of one input: eight 8K images, 4 GiB of float32."""
MOST_AXES = 8
MOST_TERMS = 3
"""Of a dimension that is a sum."""


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
        _no_input_above(lambda name: f"self.dimensions[{name}].opt"),
        f"an input has more than {MAX_VALUES} values with its dimensions at opt",
        lambda spec: _most_values(spec, {}) <= MAX_VALUES,
    )


def points_rule() -> Rule:
    """Return the rule for the inputs at each benchmark point."""

    def size(name: str) -> str:
        given = f"has(p.dimensions) && {name} in p.dimensions"
        return f"{given} ? p.dimensions[{name}] : self.dimensions[{name}].opt"

    return Rule(
        "!has(self.benchmark) || !has(self.benchmark.points) || "
        f"self.benchmark.points.all(p, {_no_input_above(size)})",
        f"an input has more than {MAX_VALUES} values at a benchmark point",
        lambda spec: all(
            _most_values(spec, point.dimensions) <= MAX_VALUES for point in spec.benchmark.points
        ),
    )


def derived_rules() -> tuple[Rule, ...]:
    """Return the rules for dimensions that are sums of others."""
    each = "!has(self.derivedDimensions) || self.derivedDimensions.all(k, "
    terms = "self.derivedDimensions[k].sumOf"
    declared = "has(self.dimensions) && t in self.dimensions"
    largest = f"{terms}.map(t, {declared} ? self.dimensions[t].max : 0).sum()"
    return (
        Rule(
            f"{each}{terms}.all(t, {declared}))",
            "every name in sumOf must be declared under dimensions",
            lambda s: all(
                name in s.dimensions for d in s.derived_dimensions.values() for name in d.sum_of
            ),
        ),
        Rule(
            f"{each}!has(self.dimensions) || !(k in self.dimensions))",
            "a name is declared under dimensions or under derivedDimensions, not under both",
            lambda s: not set(s.dimensions) & set(s.derived_dimensions),
        ),
        Rule(
            f"{each}{largest} + self.derivedDimensions[k].plus <= {MAX_SIZE})",
            f"a derived dimension must be at most {MAX_SIZE} with its terms at max",
            lambda s: all(
                d.of({name: size.max for name, size in s.dimensions.items()}) <= MAX_SIZE
                for d in s.derived_dimensions.values()
            ),
        ),
    )


def _no_input_above(size: Callable[[str], str]) -> str:
    """Return the CEL of: no input has more than MAX_VALUES values. Doubles do not overflow.

    Args:
        size: Returns the CEL of the size of a declared dimension, by the CEL of its name.
    """
    # Another rule refuses names that are not declared.
    declared = f"has(self.dimensions) && d in self.dimensions ? double({size('d')}) : 1.0"
    term = f"has(self.dimensions) && t in self.dimensions ? double({size('t')}) : 0.0"
    total = "self.derivedDimensions[d]"
    # The field has a default, which the API server sets first.
    summed = f"{total}.sumOf.map(t, {term}).sum() + double({total}.plus)"
    known = "has(self.derivedDimensions) && d in self.derivedDimensions"
    sizes = f"i.shape.map(d, type(d) == int ? double(d) : ({known} ? {summed} : ({declared})))"
    ones = ", ".join(["1.0"] * MOST_AXES)
    product = " * ".join(f"v[{number}]" for number in range(MOST_AXES))
    # CEL folds no list: it is filled up to MOST_AXES, and bound to v as the item of another.
    return f"self.inputs.all(i, [{sizes} + [{ones}]].all(v, {product} <= {float(MAX_VALUES)}))"


def _most_values(spec: Any, sizes: Mapping[str, int]) -> int:
    """Return the number of values of the largest input.

    Args:
        sizes: Of some dimensions, in place of opt.
    """
    plain = {name: size.opt for name, size in spec.dimensions.items()} | dict(sizes)
    known = plain | {name: total.of(plain) for name, total in spec.derived_dimensions.items()}
    return max(
        math.prod(axis if isinstance(axis, int) else known.get(axis, 1) for axis in one.shape)
        for one in spec.inputs
    )
