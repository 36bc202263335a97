"""What a model computes over the evaluation data, in ranges: of each output, each channel. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .channels import Channels, OutputRanges
from .comparable import Array, output_name
from .parts import Part, label, parts_by_scale

# A channel varies in FP32 if its spread is this much of the largest of its part: twelve steps of
# eight bits. Below, it may be a class or a feature that is hardly ever active.
_VARIES = 0.05
# Of its values: less is rounding.
_RESOLVED = 1e-5
# A form's channel is constant if its spread is at most this much of FP32's.
_CONSTANT = 1e-3


class Profile:
    """The ranges of a model's outputs, sample by sample; keeps no sample.

    Attributes:
        names: Of the outputs, as far as they are known.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)
        self._outputs: list[OutputRanges] = []

    def add(self, outputs: Sequence[Array]) -> None:
        """Take in the next sample's outputs."""
        while len(self._outputs) < len(outputs):
            self._outputs.append(OutputRanges())
        for ranges, array in zip(self._outputs, outputs, strict=False):
            ranges.add(array)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts that differ in scale from the rest of their output, once all was added."""
        return tuple(
            part
            for index, ranges in enumerate(self._outputs)
            for part in parts_by_scale(self.name(index), index, ranges)
        )

    def name(self, index: int) -> str:
        """Return an output's name."""
        return self.names[index] if index < len(self.names) else output_name((), index)

    def spans(self) -> list[tuple[str, float, float]]:
        """Return name, smallest and largest value of each output of numbers with a fraction."""
        return [
            (self.name(index), float(ranges.whole.low[0]), float(ranges.whole.high[0]))
            for index, ranges in enumerate(self._outputs)
            if ranges.whole is not None and ranges.whole.count[0]
        ]

    def constant_in(self, form: Profile) -> str | None:
        """Return what varies here and is constant in a form of this model; None where nothing is.

        Args:
            form: Of the form's outputs for the same samples.
        """
        pairs = zip(self._outputs, form._outputs, strict=False)
        for index, (expected, found) in enumerate(pairs):
            if message := self._constant_output(index, expected, found):
                return message
        return None

    def _constant_output(
        self, index: int, expected: OutputRanges, found: OutputRanges
    ) -> str | None:
        if expected.whole is None or found.whole is None:
            return None
        name = self.name(index)
        whole = expected.whole
        if _constant(whole, found.whole, whole.spread).any():
            return _message(name, whole, found.whole, np.array([0]))
        for axis, channels in expected.axes.items():
            if (other := found.axes.get(axis)) is None:
                continue
            constant = np.flatnonzero(_constant(channels, other, self._scale(index, axis)))
            if constant.size:
                shown = label(name, expected.rank, axis, constant)
                return _message(shown, channels, other, constant)
        return None

    def _scale(self, index: int, axis: int) -> NDArray[np.float64]:
        """Return, for each channel, the largest spread in its part."""
        spread = self._outputs[index].axes[axis].spread
        scale = np.full(spread.shape, spread.max(initial=0))
        for part in self.parts:
            if (part.output, part.axis) == (index, axis):
                scale[part.channels] = spread[part.channels].max()
        return scale


def _constant(expected: Channels, found: Channels, scale: NDArray[np.float64]) -> NDArray[np.bool_]:
    varies = (expected.spread > _VARIES * scale) & (expected.spread > _RESOLVED * expected.peak)
    constant: NDArray[np.bool_] = (
        varies & (found.count > 0) & (found.spread <= _CONSTANT * expected.spread)
    )
    return constant


def _message(what: str, expected: Channels, found: Channels, channels: NDArray[np.intp]) -> str:
    most = channels[np.argmax(expected.spread[channels])]
    return (
        f"{what} is constant, {found.high[most]:.4g}; in FP32 it varies from "
        f"{expected.low[most]:.4g} to {expected.high[most]:.4g}"
    )
