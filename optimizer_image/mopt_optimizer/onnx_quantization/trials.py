"""The models of a search, written and judged; and the names of their layers' nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mopt_optimizer.onnx_files.layers import Layer

from .judging import Judge, Judged
from .writing import FormWriter

if TYPE_CHECKING:
    import onnx


class Trials:
    """Writes and judges models.

    Attributes:
        strictest: Index of the gate that all-INT8 holds least.
        count: Of the models so far.
    """

    def __init__(self, writer: FormWriter, judge: Judge, all_int8: Judged) -> None:
        self.model = writer.model
        self.judge = judge
        self.strictest = judge.strictest(all_int8)
        self._writer = writer
        self._known: dict[frozenset[str], Judged] = {frozenset(): all_int8}
        self.count = 1

    def judged(self, excluded: Iterable[str], samples: Sequence[int] | None = None) -> Judged:
        """Return what is reached on samples, None for all; the latter are judged once."""
        key = frozenset(excluded)
        if samples is None and key in self._known:
            return self._known[key]
        self.count += 1
        found = self.judge.judged(self.written(key), samples)
        if samples is None:
            self._known[key] = found
        return found

    def margin(self, excluded: Iterable[str], samples: Sequence[int] | None = None) -> float:
        """Return the margin on samples, None for all."""
        return self.judge.margin(self.judged(excluded, samples))

    def reaches(self, excluded: Iterable[str], margin: float) -> bool:
        """Return whether the margin on all samples is as required."""
        key = frozenset(excluded)
        if key in self._known:
            return self.judge.margin(self._known[key]) >= margin
        self.count += 1
        return self.judge.reaches(self.written(key), margin)

    def written(self, excluded: Iterable[str]) -> onnx.ModelProto:
        """Return the model without some nodes in INT8."""
        return self._writer.quantized(frozenset(excluded))


def node_names(layers: Sequence[Layer], indices: frozenset[int] | Sequence[int]) -> list[str]:
    """Return the names of all nodes of the given layers, in order."""
    return [name for index in sorted(indices) for name in layers[index].nodes]
