"""Which layers cost INT8 its quality, and the fewest to leave in FP32 so that a gate holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mopt_api.spec import QualityMetric

from .judging import Judge, noise_of
from .layers import Layer
from .qdq import QdqWriter

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class LayerSensitivity:
    """What one layer in INT8 costs.

    Attributes:
        name, op, macs: As Layer has them; MACs at the first calibration sample's size.
        quality_alone: Of the model in which only this layer is INT8.
        noise_share: Its part of the sum of all layers' noise, 0 to 1.
        excluded: It stays FP32 in the model that was chosen.
    """

    name: str
    op: str
    macs: int
    quality_alone: float
    noise_share: float
    excluded: bool


@dataclass(frozen=True)
class SensitivityReport:
    """The layers, and what was chosen.

    Attributes:
        metric: In which qualities are given; dB for PSNR.
        layers: In graph order; empty where everything in INT8 passed at once.
        quality_all_int8: Of the model with every layer in INT8.
        quality: Of the chosen one, over the samples that were searched with.
        required: What the search aimed at: the gate's minimum and the margin; None without a gate.
        exclude: Names of the nodes that stay FP32.
        int8_mac_share: Part of the layers' multiply-accumulates that is INT8, 0 to 1.
        trials: Models that were written and judged.
    """

    metric: QualityMetric
    layers: tuple[LayerSensitivity, ...]
    quality_all_int8: float
    quality: float
    required: float | None
    exclude: tuple[str, ...]
    int8_mac_share: float
    trials: int

    def table(self) -> str:
        """Return the layers as text, the noisiest first."""
        rows = [f"{'layer':40} {'op':14} {'MACs':>14} {'alone':>8} {'noise':>7}  stays FP32"]
        rows += [
            f"{layer.name[:40]:40} {layer.op:14} {layer.macs:14d} {layer.quality_alone:8.2f} "
            f"{layer.noise_share:7.1%}  {'yes' if layer.excluded else ''}".rstrip()
            for layer in sorted(self.layers, key=lambda layer: -layer.noise_share)
        ]
        return "\n".join(rows)


class _Trials:
    """Writes and judges models, each set of FP32 layers once."""

    def __init__(
        self, writer: QdqWriter, ranges: Ranges, layers: Sequence[Layer], judge: Judge
    ) -> None:
        self._writer, self._ranges, self._layers, self._judge = writer, ranges, layers, judge
        self._known: dict[frozenset[int], float] = {}

    def quality(self, excluded: Sequence[int] | frozenset[int]) -> float:
        key = frozenset(excluded)
        if key not in self._known:
            model = self._writer.quantized(self._ranges, node_names(self._layers, key))
            self._known[key] = self._judge.quality(model)
        return self._known[key]

    def __len__(self) -> int:
        return len(self._known)


def node_names(layers: Sequence[Layer], indices: frozenset[int] | Sequence[int]) -> list[str]:
    """Return the names of all nodes of some layers, in order."""
    return [name for index in sorted(indices) for name in layers[index].nodes]


def search(
    writer: QdqWriter,
    ranges: Ranges,
    layers: Sequence[Layer],
    judge: Judge,
    *,
    required: float | None,
    always: bool = False,
) -> SensitivityReport:
    """Measure each layer and choose which stay FP32.

    Each layer is judged alone in INT8 first: noises of layers nearly add up. Layers are then left
    out in the order of noise removed per INT8 MAC lost, as few as make the gate hold, and at last
    each, the most expensive first, is put back if the gate holds without. Every step is a model
    that was written and run, not an estimate.

    Args:
        required: The quality to reach; None only analyzes, nothing is excluded.
        always: Analyze the layers also where everything in INT8 is good enough.
    """
    trials = _Trials(writer, ranges, layers, judge)
    everything = trials.quality([])
    good = required is None or everything >= required
    alone: list[float] = []
    if always or not good:
        every = range(len(layers))
        alone = [trials.quality([i for i in every if i != index]) for index in every]
    noises = [noise_of(quality, judge.metric) for quality in alone]
    excluded: frozenset[int] = frozenset()
    if not good:
        aim = math.inf if required is None else required
        order = exclusion_order(noises, [layer.macs for layer in layers])
        excluded = fewest_exclusions(
            order, [layer.macs for layer in layers], lambda out: trials.quality(out) >= aim
        )
    total = math.fsum(noises)
    macs = sum(layer.macs for layer in layers)
    return SensitivityReport(
        metric=judge.metric,
        layers=tuple(
            LayerSensitivity(
                name=layer.name,
                op=layer.op,
                macs=layer.macs,
                quality_alone=alone[index],
                noise_share=noises[index] / total if total else 0.0,
                excluded=index in excluded,
            )
            for index, layer in enumerate(layers)
            if alone
        ),
        quality_all_int8=everything,
        quality=trials.quality(excluded),
        required=required,
        exclude=tuple(node_names(layers, excluded)),
        int8_mac_share=(1 - sum(layers[index].macs for index in excluded) / macs if macs else 0.0),
        trials=len(trials),
    )


def exclusion_order(noises: Sequence[float], macs: Sequence[int]) -> list[int]:
    """Return the layers by noise removed per multiply-accumulate that INT8 loses, most first.

    Layers without MACs cost least; ties keep the graph's order.
    """
    # One MAC instead of none keeps layers without any comparable by their noise.
    return sorted(range(len(noises)), key=lambda index: -noises[index] / max(macs[index], 1))


def fewest_exclusions(
    order: Sequence[int], macs: Sequence[int], holds: Callable[[frozenset[int]], bool]
) -> frozenset[int]:
    """Return a small set of layers whose exclusion makes the gate hold.

    Args:
        order: All layers, the one to exclude first at the front.
        macs: Of each layer.
        holds: Whether the gate holds when these are excluded; taken to hold for all of them.
    """
    failing, passing = 0, len(order)
    while passing - failing > 1:
        middle = (failing + passing) // 2
        if holds(frozenset(order[:middle])):
            passing = middle
        else:
            failing = middle
    chosen = frozenset(order[:passing])
    for index in sorted(chosen, key=lambda index: -macs[index]):
        without = chosen - {index}
        if without and holds(without):
            chosen = without
    return chosen
