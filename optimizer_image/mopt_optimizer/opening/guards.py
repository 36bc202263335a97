"""The conditions on sizes that a program was traced under, and the sizes that fulfil them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mopt_optimizer.errors import root_message

from .inputs import Axis

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Shapes = Mapping[str, Sequence[int | str]]

_MOST_TRIED = 256
"""Sizes of one dimension that are tried; conditions repeat after far fewer."""
# Sizes that a trial starts from, all dimensions alike: most conditions take multiples of 64.
_STARTS = (64, 128, 256, 512, 32, 16, 8, 48, 96, 4, 2, 1, 192, 224, 384)


@dataclass(frozen=True)
class Taken:
    """Sizes that a program takes in one dimension, the others being as large as usual.

    Attributes:
        maximum: None where no upper bound was found.
    """

    minimum: int
    maximum: int | None
    step: int

    def __str__(self) -> str:
        text = f"min: {self.minimum}"
        if self.maximum is not None:
            text += f", max: {self.maximum}"
        return f"{text}, multipleOf: {self.step}" if self.step > 1 else text

    def covers(self, low: int, step: int) -> bool:
        """Return whether a range that begins at low in these steps is taken."""
        return low >= self.minimum and self.maximum is None and step % self.step == 0

    def applied(self, axis: Axis) -> Axis:
        """Return an axis with these bounds, where they say more than its own."""
        step = math.lcm(self.step, axis.multiple_of or 1)
        return replace(
            axis,
            minimum=self.minimum if self.minimum > 1 else axis.minimum,
            maximum=axis.maximum if self.maximum is None else self.maximum,
            multiple_of=step if step > 1 else None,
        )


class Guards:
    """A program's guards. Nothing is computed to check sizes."""

    def __init__(self, program: ExportedProgram) -> None:
        import torch

        names = [str(name) for name in program.graph_signature.user_inputs]
        placeholders = {node.name: node for node in program.graph.find_nodes(op="placeholder")}
        # torch leaves the guards out of a program without example inputs, which ours drop.
        examples = (
            torch.empty(len(placeholders[name].meta["val"].shape) * [0], device="meta")
            for name in names
        )
        before = program.example_inputs
        program.example_inputs = (tuple(examples), {})
        self.module = program.module()
        program.example_inputs = before
        self._names = names
        self._function = getattr(self.module, "_guards_fn", None)

    def broken(self, shapes: Shapes, sizes: Mapping[str, int]) -> str | None:
        """Return the first condition that sizes break; None where they break none.

        Args:
            shapes: Of each input: numbers, and names of dimensions.
        """
        import torch

        if self._function is None:
            return None
        tensors = (
            torch.empty([s if isinstance(s, int) else sizes[s] for s in shapes[n]], device="meta")
            for n in self._names
        )
        try:
            self._function(*tensors)
        except AssertionError as error:
            return root_message(error)
        return None

    def ranges(
        self,
        shapes: Shapes,
        limits: Mapping[str, tuple[int, int | None]],
        complete: Callable[[Mapping[str, int]], Mapping[str, int]] = dict,
    ) -> dict[str, Taken]:
        """Return the sizes that each dimension takes within its limits; none where none is found.

        Each is tried beside the others' sizes at one point where all conditions hold.

        Args:
            complete: Adds the sizes of dimensions that are sums of those in limits.
        """
        start = next(
            (
                sizes
                for side in _STARTS
                for sizes in (_clipped(side, limits),)
                if self.broken(shapes, complete(sizes)) is None
            ),
            None,
        )
        if start is None:
            return {}
        found = {}
        for name, (low, high) in limits.items():
            last = min(high or low + _MOST_TRIED, low + _MOST_TRIED)
            tried = range(low, last + 1)
            fit = [s for s in tried if self.broken(shapes, complete(start | {name: s})) is None]
            if taken := _pattern(fit, last):
                found[name] = taken
        return found


def _clipped(side: int, limits: Mapping[str, tuple[int, int | None]]) -> dict[str, int]:
    return {
        name: max(low, side if high is None else min(side, high))
        for name, (low, high) in limits.items()
    }


def _pattern(fit: Sequence[int], last: int) -> Taken | None:
    """Return sizes as a range in steps; None where they are none.

    Args:
        fit: Ascending, of those that were tried.
        last: The largest that was tried.
    """
    step = math.gcd(*fit) if len(fit) > 1 else 1
    if not fit or len(fit) != (fit[-1] - fit[0]) // step + 1:
        return None
    bounded = fit[-1] + step <= last
    return Taken(fit[0], fit[-1] if bounded else None, step)
