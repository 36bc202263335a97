"""Which layers cost INT8 its quality, and the fewest to leave in FP32 so that a gate holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mopt_api.enums import QualityMetric
from mopt_optimizer.onnx_files.layers import Layer

from .judging import Judge, noise_of
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
        metric: In which qualities are given; dB for PSNR, negated for MaxAbsError.
        layers: In graph order; empty where the gate held with every layer in INT8.
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
    """Writes and judges models, each set of FP32 nodes once."""

    def __init__(self, writer: QdqWriter, ranges: Ranges, judge: Judge) -> None:
        self._writer, self._ranges, self._judge = writer, ranges, judge
        self._known: dict[frozenset[str], float] = {}

    def quality(self, excluded: Iterable[str]) -> float:
        key = frozenset(excluded)
        if key not in self._known:
            model = self._writer.quantized(self._ranges, key)
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

    Where everything in INT8 is not good enough, the nodes that hold no multiply-accumulates
    (additions, activation functions, normalizations) are left out first, if that helps: it costs
    next to no speed. Then each layer is judged alone in INT8: noises of layers nearly add up.
    Layers are left out in the order of noise removed per INT8 MAC lost, as few as make the gate
    hold, and at last each, the most expensive first, is put back if the gate holds without. Every
    step is a model that was written and run, not an estimate.

    Args:
        required: The quality to reach; None only analyzes, nothing is excluded.
        always: Analyze the layers also where no layer has to be excluded.
    """
    trials = _Trials(writer, ranges, judge)
    everything = reached = trials.quality(())
    base: tuple[str, ...] = ()
    if required is not None and everything < required:
        layers, base = _lighter(layers, trials, everything)
        reached = trials.quality(base)
    good = required is None or reached >= required
    indices = range(len(layers))
    alone: list[float] = []
    if always or not good:
        alone = [
            trials.quality((*base, *node_names(layers, [i for i in indices if i != index])))
            for index in indices
        ]
    noises = [noise_of(quality, judge.metric) for quality in alone]
    macs = [layer.macs for layer in layers]
    excluded: frozenset[int] = frozenset()
    if required is not None and not good:
        aim = required
        excluded = fewest_exclusions(
            exclusion_order(noises, macs),
            macs,
            lambda out: trials.quality((*base, *node_names(layers, out))) >= aim,
        )
    left_out = (*base, *node_names(layers, excluded))
    total = math.fsum(noises)
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
        quality=trials.quality(left_out),
        required=required,
        exclude=left_out,
        int8_mac_share=1 - sum(macs[i] for i in excluded) / sum(macs) if any(macs) else 0.0,
        trials=len(trials),
    )


def _lighter(
    layers: Sequence[Layer], trials: _Trials, everything: float
) -> tuple[list[Layer], tuple[str, ...]]:
    """Return the layers without their nodes that hold no MACs, and those nodes, if that helps."""
    light = tuple(name for la in layers for name in (la.nodes[1:] if la.macs else la.nodes))
    heavy = [replace(layer, nodes=layer.nodes[:1]) for layer in layers if layer.macs]
    if not light or not heavy or trials.quality(light) <= everything:
        return list(layers), ()
    return heavy, light


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
