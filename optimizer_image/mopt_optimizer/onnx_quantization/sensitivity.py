"""Which layers lose quality in INT8, and the fewest to keep in FP32 so that a gate holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mopt_api.enums import QualityMetric
from mopt_optimizer.onnx_files.layers import Layer

from .judging import Judge, noise_of
from .qdq import QdqWriter

if TYPE_CHECKING:
    import onnx

Ranges = Mapping[str, tuple[float, float]]

# Layers are ranked on as many samples, those that lose most; what is chosen is judged on all.
_RANKED_ON = 2
# Layers that are judged together first.
_GROUP = 4
# All groups that are not looked into take no more of the noise that a gate allows.
_SMALL = 0.5
# An excluded layer with less of the multiply-accumulates is not tried again: it gains nothing.
_WORTH = 0.01
_MOST_RETURNED = 8


@dataclass(frozen=True)
class LayerSensitivity:
    """Quality cost of one layer in INT8.

    Attributes:
        name, op, macs: As in Layer; MACs for the first calibration sample's shapes.
        quality_alone: Quality of the model with only this layer in INT8; in a search, of the model
            with its group, where that adds so little noise that nobody needs to look closer.
        noise_share: Its share of the summed noise of all layers, 0 to 1.
        excluded: Whether it stays FP32 in the chosen model.
    """

    name: str
    op: str
    macs: int
    quality_alone: float
    noise_share: float
    excluded: bool


@dataclass(frozen=True)
class SensitivityReport:
    """Sensitivity of the layers, and the chosen model.

    Attributes:
        metric: Metric of the qualities; dB for PSNR, negated for MaxAbsError.
        layers: In graph order; empty if the gate held with every layer in INT8.
        quality_all_int8: Quality with every layer in INT8.
        quality: Quality of the chosen model on the search samples.
        required: Target of the search: the gate's minimum plus the margin; None without a gate.
        exclude: Names of the nodes that stay FP32.
        int8_mac_share: Share of the layers' multiply-accumulates in INT8, 0 to 1.
        trials: Number of models written and judged.
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
        """Return the layers as a text table, noisiest first."""
        rows = [f"{'layer':40} {'op':14} {'MACs':>14} {'alone':>8} {'noise':>7}  stays FP32"]
        rows += [
            f"{layer.name[:40]:40} {layer.op:14} {layer.macs:14d} {layer.quality_alone:8.2f} "
            f"{layer.noise_share:7.1%}  {'yes' if layer.excluded else ''}".rstrip()
            for layer in sorted(self.layers, key=lambda layer: -layer.noise_share)
        ]
        return "\n".join(rows)


class _Trials:
    """Writes and judges models.

    Attributes:
        count: Of the models so far.
    """

    def __init__(
        self, writer: QdqWriter, ranges: Ranges, judge: Judge, everything: Sequence[float]
    ) -> None:
        self._writer, self._ranges, self._judge = writer, ranges, judge
        self._known: dict[frozenset[str], list[float]] = {frozenset(): [*everything]}
        self.count = 1

    def quality(self, excluded: Iterable[str]) -> float:
        """Return the quality on all samples."""
        return self._judge.aggregated(self.values(excluded))

    def values(self, excluded: Iterable[str], samples: Sequence[int] | None = None) -> list[float]:
        """Return the values of samples, None for all; the latter are judged once."""
        key = frozenset(excluded)
        if samples is None and key in self._known:
            return self._known[key]
        self.count += 1
        values = self._judge.values(self._written(key), samples)
        if samples is None:
            self._known[key] = values
        return values

    def reaches(self, excluded: Iterable[str], required: float) -> bool:
        """Return whether the quality on all samples is as required."""
        key = frozenset(excluded)
        if key in self._known:
            return self._judge.aggregated(self._known[key]) >= required
        self.count += 1
        return self._judge.reaches(self._written(key), required)

    def aggregated(self, values: Sequence[float]) -> float:
        """Return the quality that samples' values come to."""
        return self._judge.aggregated(values)

    def _written(self, excluded: frozenset[str]) -> onnx.ModelProto:
        return self._writer.quantized(self._ranges, excluded)


def node_names(layers: Sequence[Layer], indices: frozenset[int] | Sequence[int]) -> list[str]:
    """Return the names of all nodes of the given layers, in order."""
    return [name for index in sorted(indices) for name in layers[index].nodes]


def search(
    writer: QdqWriter,
    ranges: Ranges,
    layers: Sequence[Layer],
    judge: Judge,
    values: Sequence[float],
    *,
    required: float | None,
    always: bool = False,
) -> SensitivityReport:
    """Measure each layer and choose which stay FP32.

    If all-INT8 is not good enough, the nodes without multiply-accumulates (additions, activation
    functions, normalizations) are excluded first, if that helps: it costs almost no speed. Then
    layers are judged alone in INT8, on the samples that lose most, since the noise of layers nearly
    adds up: in groups first, and one by one in those that matter. Layers are excluded in order of
    noise removed per INT8 MAC lost, as few as the gate needs. Last, the most expensive of the
    excluded layers go back to INT8, one by one, if the gate still holds. Every step writes and runs
    a model; the one that is chosen is judged on all samples.

    Args:
        values: Each sample's, with every layer in INT8.
        required: Quality to reach; None only analyzes and excludes nothing.
        always: Analyze the layers even if none has to be excluded.
    """
    trials = _Trials(writer, ranges, judge, values)
    everything = reached = judge.aggregated(values)
    base: tuple[str, ...] = ()
    if required is not None and everything < required:
        layers, base = _lighter(layers, trials, everything)
        reached = trials.quality(base)
    good = required is None or reached >= required
    alone: list[_Alone] = []
    if always:
        alone = [_alone(layers, [i], base, trials, None) for i in range(len(layers))]
    elif required is not None and not good:
        small = _SMALL * noise_of(required, judge.metric) / len(layers)
        hardest = sorted(range(len(values)), key=values.__getitem__)[:_RANKED_ON]
        alone = _grouped(layers, base, trials, hardest, judge.metric, small)
    noises = [noise_of(one.quality, judge.metric) / one.layers for one in alone]
    macs = [layer.macs for layer in layers]
    excluded: frozenset[int] = frozenset()
    if required is not None and not good:
        aim = required
        excluded = fewest_exclusions(
            exclusion_order(noises, macs),
            macs,
            lambda out: trials.reaches((*base, *node_names(layers, out)), aim),
        )
    left_out = (*base, *node_names(layers, excluded))
    return SensitivityReport(
        metric=judge.metric,
        layers=_sensitivities(layers, [one.quality for one in alone], noises, excluded),
        quality_all_int8=everything,
        quality=trials.quality(left_out),
        required=required,
        exclude=left_out,
        int8_mac_share=1 - sum(macs[i] for i in excluded) / sum(macs) if any(macs) else 0.0,
        trials=trials.count,
    )


@dataclass(frozen=True)
class _Alone:
    """Quality of the model with only some layers in INT8.

    Attributes:
        layers: How many.
    """

    quality: float
    layers: int


def _alone(
    layers: Sequence[Layer],
    chosen: Collection[int],
    base: Sequence[str],
    trials: _Trials,
    samples: Sequence[int] | None,
) -> _Alone:
    others = frozenset(range(len(layers))).difference(chosen)
    values = trials.values((*base, *node_names(layers, others)), samples)
    return _Alone(trials.aggregated(values), len(chosen))


def _grouped(
    layers: Sequence[Layer],
    base: Sequence[str],
    trials: _Trials,
    samples: Sequence[int],
    metric: QualityMetric,
    small: float,
) -> list[_Alone]:
    """Return for each layer what it costs alone, or what its group does where that is small.

    Args:
        small: Noise of a layer that is of no account.
    """
    found: list[_Alone] = []
    for first in range(0, len(layers), _GROUP):
        group = range(first, min(first + _GROUP, len(layers)))
        together = _alone(layers, group, base, trials, samples)
        if len(group) == 1 or noise_of(together.quality, metric) <= small * len(group):
            found += [together] * len(group)
        else:
            found += [_alone(layers, [index], base, trials, samples) for index in group]
    return found


def _sensitivities(
    layers: Sequence[Layer],
    alone: Sequence[float],
    noises: Sequence[float],
    excluded: frozenset[int],
) -> tuple[LayerSensitivity, ...]:
    """Return the cost of each layer; empty if none was judged alone."""
    total = math.fsum(noises)
    return tuple(
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
    )


def _lighter(
    layers: Sequence[Layer], trials: _Trials, everything: float
) -> tuple[list[Layer], tuple[str, ...]]:
    """Return the layers without their nodes that have no MACs, and those nodes, if that helps."""
    light = tuple(name for la in layers for name in (la.nodes[1:] if la.macs else la.nodes))
    heavy = [replace(layer, nodes=layer.nodes[:1]) for layer in layers if layer.macs]
    if not light or not heavy or trials.quality(light) <= everything:
        return list(layers), ()
    return heavy, light


def exclusion_order(noises: Sequence[float], macs: Sequence[int]) -> list[int]:
    """Return the layer indices by noise removed per INT8 multiply-accumulate lost, highest first.

    Layers without MACs cost least; ties keep graph order.
    """
    # At least one MAC, so that layers without any stay comparable by noise.
    return sorted(range(len(noises)), key=lambda index: -noises[index] / max(macs[index], 1))


def fewest_exclusions(
    order: Sequence[int], macs: Sequence[int], holds: Callable[[frozenset[int]], bool]
) -> frozenset[int]:
    """Return a small set of layers whose exclusion makes the gate hold.

    Of those that a gate needs, the few with most multiply-accumulates are tried again.

    Args:
        order: All layer indices, first to exclude at the front.
        macs: Per layer.
        holds: Whether the gate holds with these excluded; assumed true for all of them.
    """
    failing, passing = 0, len(order)
    while passing - failing > 1:
        middle = (failing + passing) // 2
        if holds(frozenset(order[:middle])):
            passing = middle
        else:
            failing = middle
    chosen = frozenset(order[:passing])
    worth = [index for index in chosen if macs[index] >= _WORTH * sum(macs)]
    for index in sorted(worth, key=lambda index: -macs[index])[:_MOST_RETURNED]:
        without = chosen - {index}
        if without and holds(without):
            chosen = without
    return chosen
