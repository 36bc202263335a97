"""Which layers lose quality in INT8, and the fewest to keep in FP32 so that a gate holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from itertools import pairwise
from typing import TYPE_CHECKING

from mopt_optimizer.onnx_files.layers import Layer, last_nodes

from .budget import Budget
from .judging import Judge, Judged, minimum_with_margin
from .qdq import QdqWriter
from .reports import GateReport, LayerSensitivity, SensitivityReport

if TYPE_CHECKING:
    import onnx

Ranges = Mapping[str, tuple[float, float]]

# Layers are ranked on as many samples, those that lose most; what is chosen is judged on all.
_RANKED_ON = 2
# Into as many parts a group of layers is divided.
_PARTS = 4
# All groups that are not looked into take no more of the noise that a gate allows.
_SMALL = 0.5
# An excluded layer with less of the multiply-accumulates is not tried again: it gains nothing.
_WORTH = 0.01
_MOST_RETURNED = 8
# Ranking takes no more of the budget: the rest is for finding a form that holds.
_RANKING = 0.6
# Of a group whose outputs cannot even be compared.
_LEAST_MARGIN = -300.0


class _Trials:
    """Writes and judges models.

    Attributes:
        strictest: Index of the gate that all-INT8 holds least.
        count: Of the models so far.
    """

    def __init__(self, writer: QdqWriter, ranges: Ranges, judge: Judge, all_int8: Judged) -> None:
        self.model = writer.model
        self.judge = judge
        self.strictest = judge.strictest(all_int8)
        self._writer, self._ranges = writer, ranges
        self._known: dict[frozenset[str], Judged] = {frozenset(): all_int8}
        self.count = 1

    def judged(self, excluded: Iterable[str], samples: Sequence[int] | None = None) -> Judged:
        """Return what is reached on samples, None for all; the latter are judged once."""
        key = frozenset(excluded)
        if samples is None and key in self._known:
            return self._known[key]
        self.count += 1
        found = self.judge.judged(self._written(key), samples)
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
        return self.judge.reaches(self._written(key), margin)

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
    all_int8: Judged,
    *,
    margin: float | None,
    budget: Budget | None = None,
) -> SensitivityReport:
    """Measure the layers and choose which stay FP32.

    If all-INT8 is not good enough, the nodes without multiply-accumulates (additions, activation
    functions, normalizations) are excluded first, if that helps: it costs almost no speed. Then
    layers are judged in INT8 with all others in FP32, on the samples that lose most, since the
    noise of layers nearly adds up: large groups first, whose noisiest is divided again and again
    until the others are of no account. Layers are excluded in order of noise removed per INT8 MAC
    lost, as few as the gates need. Last, the most expensive of the excluded layers go back to INT8,
    one by one, if the gates still hold. Every step writes and runs a model; the one that is chosen
    is judged on all samples.

    Args:
        all_int8: What is reached with every layer in INT8.
        margin: By how many dB the noise must be below what the gates allow; None only analyzes,
            layer by layer, and excludes nothing.
        budget: Ends the search with the best that was found.
    """
    trials = _Trials(writer, ranges, judge, all_int8)
    budget = budget or Budget(None)
    base: tuple[str, ...] = ()
    alone: list[float] = []
    noises: list[float] = []
    excluded: frozenset[int] = frozenset()
    if margin is None:
        alone, noises = _one_by_one(layers, trials)
    elif judge.margin(all_int8) < margin:
        layers, base = _lighter(layers, trials, margin)
        if trials.margin(base) < margin:
            alone, noises = _ranked(layers, base, trials, margin, budget)
            macs = [layer.macs for layer in layers]
            excluded = fewest_exclusions(
                exclusion_order(noises, macs),
                macs,
                lambda out: trials.reaches((*base, *node_names(layers, out)), margin),
                budget.used_up,
            )
    left_out = (*base, *node_names(layers, excluded))
    chosen = trials.judged(left_out)
    return SensitivityReport(
        gates=_gate_reports(judge, all_int8, chosen, margin),
        strictest=trials.strictest,
        layers=_sensitivities(layers, alone, noises, excluded),
        fault=all_int8.fault,
        exclude=left_out,
        int8_mac_share=_int8_share(layers, excluded),
        trials=trials.count,
        holds=margin is None or judge.margin(chosen) >= margin,
        ended=budget.ended,
        budget_seconds=budget.seconds,
    )


def _gate_reports(
    judge: Judge, all_int8: Judged, chosen: Judged, margin: float | None
) -> tuple[GateReport, ...]:
    pairs = zip(judge.gates, judge.qualities(all_int8), judge.qualities(chosen), strict=True)
    return tuple(
        GateReport(
            gate=gate,
            quality_all_int8=before,
            quality=after,
            required=None if margin is None else minimum_with_margin(gate, margin),
        )
        for gate, before, after in pairs
    )


def _int8_share(layers: Sequence[Layer], excluded: Collection[int]) -> float:
    total = sum(layer.macs for layer in layers)
    return 1 - sum(layers[index].macs for index in excluded) / total if total else 0.0


def _alone(
    layers: Sequence[Layer],
    chosen: Collection[int],
    base: Sequence[str],
    trials: _Trials,
    samples: Sequence[int] | None,
) -> tuple[float, float]:
    """Return quality and noise of the model with only some layers in INT8.

    Noise of 1 is all that the gates allow.
    """
    others = frozenset(range(len(layers))).difference(chosen)
    judged = trials.judged((*base, *node_names(layers, others)), samples)
    quality = trials.judge.qualities(judged)[trials.strictest]
    margin = max(trials.judge.margin(judged), _LEAST_MARGIN)
    return quality, math.pow(10.0, -margin / 10)


def _one_by_one(layers: Sequence[Layer], trials: _Trials) -> tuple[list[float], list[float]]:
    """Return quality and noise of each layer alone, on all samples."""
    found = [_alone(layers, [index], (), trials, None) for index in range(len(layers))]
    return [quality for quality, _ in found], [noise for _, noise in found]


def _ranked(
    layers: Sequence[Layer],
    base: Sequence[str],
    trials: _Trials,
    margin: float,
    budget: Budget,
) -> tuple[list[float], list[float]]:
    """Return for each layer what it costs alone, or the quality and a share of the noise of its
    group, where that is of no account or the budget ended the looking."""
    known = trials.judged(base)
    each = [trials.judge.margin(known.some([index])) for index in range(len(known.values))]
    samples = sorted(range(len(each)), key=each.__getitem__)[:_RANKED_ON]
    small = _SMALL * math.pow(10.0, -margin / 10) / len(layers)
    count = len(layers)
    quality, noise = [0.0] * count, [0.0] * count
    groups: list[tuple[float, int, int]] = [(-math.inf, 0, count)]
    while groups:
        _, first, end = heappop(groups)
        for start, stop in divided(first, end):
            together = _alone(layers, range(start, stop), base, trials, samples)
            size = stop - start
            quality[start:stop] = [together[0]] * size
            noise[start:stop] = [together[1] / size] * size
            if size > 1 and together[1] > small * size:
                heappush(groups, (-together[1], start, stop))
        if groups and budget.used_up(_RANKING):
            break
    return quality, noise


def divided(first: int, end: int) -> list[tuple[int, int]]:
    """Return the ranges of a range's parts: up to four, alike in size, in order."""
    parts = min(_PARTS, end - first)
    bounds = [first + (end - first) * part // parts for part in range(parts + 1)]
    return list(pairwise(bounds))


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
    layers: Sequence[Layer], trials: _Trials, margin: float
) -> tuple[list[Layer], tuple[str, ...]]:
    """Return the layers without nodes that have no MACs, and those nodes.

    These are none, the ones behind all layers, where boxes and scores are joined, or all: the first
    that are enough, or else those that help most.
    """
    light = [name for la in layers for name in (la.nodes[1:] if la.macs else la.nodes)]
    last = last_nodes(trials.model)
    best: tuple[str, ...] = ()
    for out in (tuple(name for name in light if name in last), tuple(light)):
        heavy = _without(layers, out)
        if heavy and trials.margin(out) > trials.margin(best):
            best = out
            if trials.margin(best) >= margin:
                break
    return _without(layers, best), best


def _without(layers: Sequence[Layer], out: Collection[str]) -> list[Layer]:
    """Return the layers without some of their nodes."""
    kept = {layer: tuple(name for name in layer.nodes if name not in out) for layer in layers}
    return [replace(layer, nodes=nodes) for layer, nodes in kept.items() if nodes]


def exclusion_order(noises: Sequence[float], macs: Sequence[int]) -> list[int]:
    """Return the layer indices by noise removed per INT8 multiply-accumulate lost, highest first.

    Layers without MACs cost least; ties keep graph order.
    """
    # At least one MAC, so that layers without any stay comparable by noise.
    return sorted(range(len(noises)), key=lambda index: -noises[index] / max(macs[index], 1))


def fewest_exclusions(
    order: Sequence[int],
    macs: Sequence[int],
    holds: Callable[[frozenset[int]], bool],
    ended: Callable[[], bool] = lambda: False,
) -> frozenset[int]:
    """Return a small set of layers whose exclusion makes the gates hold.

    Of those that the gates need, the few with most multiply-accumulates are tried again.

    Args:
        order: All layer indices, first to exclude at the front.
        macs: Per layer.
        holds: Whether the gates hold with these excluded; assumed true for all of them.
        ended: Whether to stop with what was found.
    """
    failing, passing = 0, len(order)
    while passing - failing > 1 and not ended():
        middle = (failing + passing) // 2
        if holds(frozenset(order[:middle])):
            passing = middle
        else:
            failing = middle
    chosen = frozenset(order[:passing])
    worth = [index for index in chosen if macs[index] >= _WORTH * sum(macs)]
    for index in sorted(worth, key=lambda index: -macs[index])[:_MOST_RETURNED]:
        without = chosen - {index}
        if without and not ended() and holds(without):
            chosen = without
    return chosen
