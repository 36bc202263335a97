"""Which layers lose quality in INT8, and the fewest to keep in FP32 so that a gate holds."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import pairwise
from typing import TYPE_CHECKING

from mopt_api.noise import minimum_with_margin
from mopt_optimizer.onnx_files.layers import Layer, last_nodes

from .budget import Budget
from .exclusions import exclusion_order, fewest_exclusions, given_back
from .judging import Judge, Judged
from .reports import GateReport, LayerSensitivity, SensitivityReport
from .writing import FormWriter

if TYPE_CHECKING:
    import onnx

# Layers are ranked on as many samples, those that lose most; what is chosen is judged on all.
_RANKED_ON = 2
# Into as many parts a group of layers is divided.
_PARTS = 4
# All groups that are not looked into take no more of the noise that a gate allows.
_SMALL = 0.5
# Ranking takes no more of the budget: the rest is for finding a form that holds.
_RANKING = 0.6
# How often, and by how many dB at most at a time, the aim is raised for what was held back.
_MOST_AIMS = 3
_MOST_RAISED = 6.0
# Of a group whose outputs cannot even be compared.
_LEAST_MARGIN = -300.0


class _Trials:
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


def search(
    writer: FormWriter,
    layers: Sequence[Layer],
    judge: Judge,
    all_int8: Judged,
    *,
    margin: float | None,
    budget: Budget | None = None,
    held_back: Judge | None = None,
    start: Collection[str] = (),
) -> SensitivityReport:
    """Measure the layers and choose which stay FP32.

    If all-INT8 is not good enough, the nodes without multiply-accumulates (additions, activation
    functions, normalizations) are excluded first, if that helps: it costs almost no speed. Then
    layers are judged in INT8 with all others in FP32, on the samples that lose most, since the
    noise of layers nearly adds up: large groups first, whose noisiest is divided again and again
    until the others are of no account. Layers are excluded in order of noise removed per INT8 MAC
    lost, as few as the gates need. Last, the most expensive of the excluded layers go back to INT8,
    one by one, if the gates still hold. Every step writes and runs a model; the one that is chosen
    is judged on all samples, and on those that were held back: by what it misses the gates there,
    the aim is raised, and the search goes on.

    Args:
        all_int8: What is reached with every layer in INT8.
        margin: By how many dB the noise must be below what the gates allow; None only analyzes,
            layer by layer, and excludes nothing.
        budget: Ends the search with the best that was found.
        held_back: Judges by samples that nothing is chosen by.
        start: Nodes that stayed FP32 with other weights. If the gates hold with these, no layers
            are ranked.
    """
    trials = _Trials(writer, judge, all_int8)
    budget = budget or Budget(None)
    found = _Search(layers, trials, budget, start)
    chosen = _Choice(tuple(layers))
    unseen = None
    if margin is None:
        found.analyze()
    else:
        chosen = found.choice(margin)
        if held_back is not None:
            chosen, unseen, margin = _raised(found, chosen, margin, held_back)
    reached = trials.judged(chosen.left_out)
    return SensitivityReport(
        gates=_gate_reports(judge, all_int8, reached, margin, unseen),
        strictest=trials.strictest,
        layers=found.sensitivities(chosen),
        fault=all_int8.fault,
        exclude=chosen.left_out,
        int8_mac_share=chosen.int8_mac_share,
        trials=trials.count,
        ended=budget.ended,
        seconds=round(budget.spent, 3),
        budget_seconds=budget.seconds,
        from_start=chosen.from_start,
    )


@dataclass(frozen=True)
class _Choice:
    """What stays FP32.

    Attributes:
        layers: All, without the nodes of base.
        base: Nodes without multiply-accumulates.
        excluded: Indices of layers.
        from_start: It is what stayed FP32 with other weights, or a part of that.
    """

    layers: tuple[Layer, ...]
    base: tuple[str, ...] = ()
    excluded: frozenset[int] = frozenset()
    from_start: bool = False

    @property
    def left_out(self) -> tuple[str, ...]:
        """The names of the nodes that stay FP32."""
        return (*self.base, *node_names(self.layers, self.excluded))

    @property
    def int8_mac_share(self) -> float:
        """Share of the multiply-accumulates in INT8; 0 where there are none."""
        total = sum(layer.macs for layer in self.layers)
        out = sum(self.layers[index].macs for index in self.excluded)
        return 1 - out / total if total else 0.0


class _Search:
    """Chooses for one aim after the other; layers are ranked once."""

    def __init__(
        self,
        layers: Sequence[Layer],
        trials: _Trials,
        budget: Budget,
        start: Collection[str] = (),
    ) -> None:
        self.trials = trials
        self.budget = budget
        self._layers = tuple(layers)
        self._start = _started(self._layers, start)
        self._qualities: list[float] = []
        self._noises: list[float] = []
        self._ranked_without: tuple[str, ...] = ()

    def analyze(self) -> None:
        """Judge every layer alone, on all samples."""
        each = range(len(self._layers))
        found = [_alone(self._layers, [index], (), self.trials, None) for index in each]
        self._qualities, self._noises = (list(of) for of in zip(*found, strict=True))

    def choice(self, margin: float) -> _Choice:
        """Return what stays FP32 for a margin."""
        everything = _Choice(self._layers)
        if self.trials.margin(()) >= margin:
            return everything
        if (started := self._from_start(margin)) is not None:
            return started
        layers, base = _lighter(self._layers, self.trials, margin)
        lighter = _Choice(tuple(layers), base)
        if self.trials.margin(base) >= margin:
            return lighter
        if not self._noises or self._ranked_without != base:
            ranked = _ranked(layers, base, self.trials, margin, self.budget)
            (self._qualities, self._noises), self._ranked_without = ranked, base
        macs = [layer.macs for layer in layers]
        excluded = fewest_exclusions(
            exclusion_order(self._noises, macs),
            macs,
            lambda out: self.trials.reaches((*base, *node_names(layers, out)), margin),
            self.budget.used_up,
        )
        return replace(lighter, excluded=excluded)

    def _from_start(self, margin: float) -> _Choice | None:
        """Return what stays FP32 of what did with other weights; None where that is not enough."""
        start = self._start
        if start is None or not self.trials.reaches(start.left_out, margin):
            return None

        def holds(excluded: frozenset[int]) -> bool:
            return self.trials.reaches(replace(start, excluded=excluded).left_out, margin)

        macs = [layer.macs for layer in start.layers]
        return replace(start, excluded=given_back(start.excluded, macs, holds, self.budget.used_up))

    def sensitivities(self, chosen: _Choice) -> tuple[LayerSensitivity, ...]:
        """Return the cost of each layer; empty where the choice took none to be judged alone."""
        if self._ranked_without != chosen.base:
            return ()
        total = math.fsum(self._noises)
        pairs = zip(self._qualities, self._noises, strict=True)
        return tuple(
            LayerSensitivity(
                name=layer.name,
                op=layer.op,
                macs=layer.macs,
                quality_alone=quality,
                noise_share=noise / total if total else 0.0,
                excluded=index in chosen.excluded,
            )
            for index, (layer, (quality, noise)) in enumerate(
                zip(chosen.layers, pairs, strict=False)
            )
        )


def _started(layers: tuple[Layer, ...], start: Collection[str]) -> _Choice | None:
    """Return the choice that keeps some nodes in FP32, as far as they are among the layers'; None
    where none is, or nothing would be left in INT8."""
    names = {*start}
    excluded = frozenset(i for i, layer in enumerate(layers) if names.issuperset(layer.nodes))
    parts = names.difference(node_names(layers, excluded))
    base = tuple(name for layer in layers for name in layer.nodes if name in parts)
    left = tuple(
        replace(layer, nodes=tuple(n for n in layer.nodes if n not in base)) for layer in layers
    )
    choice = _Choice(left, base, excluded, from_start=True)
    return choice if choice.left_out and choice.int8_mac_share else None


def _raised(
    found: _Search, chosen: _Choice, margin: float, held_back: Judge
) -> tuple[_Choice, Judged, float]:
    """Raise the aim until the gates hold on samples that were held back too, a few times.

    Returns:
        What stays FP32, what it reaches on these samples, and the aim.
    """
    unseen = held_back.judged(found.trials.written(chosen.left_out))
    for _ in range(_MOST_AIMS):
        missing = -held_back.margin(unseen)
        if missing <= 0 or found.budget.used_up():
            break
        higher = margin + min(missing, _MOST_RAISED)
        other = found.choice(higher)
        if not other.int8_mac_share:
            break
        chosen, margin = other, higher
        unseen = held_back.judged(found.trials.written(chosen.left_out))
    return chosen, unseen, margin


def _gate_reports(
    judge: Judge,
    all_int8: Judged,
    reached: Judged,
    margin: float | None,
    unseen: Judged | None,
) -> tuple[GateReport, ...]:
    count = len(judge.gates)
    columns = zip(
        judge.gates,
        judge.qualities(all_int8),
        judge.qualities(reached),
        [None] * count if unseen is None else judge.qualities(unseen),
        strict=True,
    )
    return tuple(
        GateReport(
            gate=gate,
            quality_all_int8=before,
            quality=after,
            held_back=held_back,
            required=None if margin is None else minimum_with_margin(gate, margin),
        )
        for gate, before, after, held_back in columns
    )


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
