"""What is computed of outputs: a metric, of all or of the part that a gate declares. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopt_api.enums import QualityMetric
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import SpecError

from .comparable import Array


@dataclass(frozen=True)
class Figure:
    """One metric of the outputs.

    Attributes:
        data_range: Span of the output's values; None where the metric needs none.
        output: Name of the output to compare; None compares all, or the only one's slice.
        part: Name of the slice of that output; None is all of it.
        axis, bounds: The slice.
    """

    metric: QualityMetric
    data_range: float | None
    output: str | None = None
    part: str | None = None
    axis: int = 0
    bounds: tuple[int, int] | None = None

    @classmethod
    def of(cls, gate: QualityGate) -> Figure:
        """Return what a gate judges."""
        if gate.slice is None:
            return cls(gate.metric, gate.data_range, gate.output)
        first, end = gate.slice.range
        part = gate.slice
        return cls(gate.metric, gate.data_range, gate.output, part.name, part.axis, (first, end))

    @property
    def declared(self) -> bool:
        """Whether the user said which part of the outputs it is of."""
        return self.output is not None or self.part is not None

    def taken(self, outputs: Sequence[Array], names: Sequence[str]) -> Array:
        """Return the declared part of the outputs.

        Raises:
            SpecError: There is no such output, or no such range in it; names what there is.
        """
        array = outputs[self._position(len(outputs), names)]
        if self.bounds is None:
            return array
        axis, (first, end) = self.axis, self.bounds
        if not -array.ndim <= axis < array.ndim or end > array.shape[axis]:
            raise SpecError(
                f"quality: slice {self.part} is {first}:{end} of axis {axis}; the output is "
                f"{array.shape}"
            )
        index = [slice(None)] * array.ndim
        index[axis] = slice(first, end)
        return array[tuple(index)]

    def _position(self, count: int, names: Sequence[str]) -> int:
        if self.output is None:
            if count == 1:
                return 0
            known = ", ".join(names) or f"{count} outputs"
            raise SpecError(f"quality: a slice needs output, which names one of {known}")
        if self.output in names:
            return list(names).index(self.output)
        if count == 1 and self.output == "output":
            return 0  # As an export names the only output of a program.
        known = ", ".join(names) or "nameless"
        raise SpecError(f"quality: output {self.output} is none of the model's: {known}")


def declared_figures(gates: Sequence[QualityGate]) -> tuple[Figure, ...]:
    """Return what gates on an output or a slice judge, each once."""
    figures = (Figure.of(gate) for gate in gates)
    return tuple(dict.fromkeys(figure for figure in figures if figure.declared))
