"""Who wins among forms that are within gates and constraints, and how sure that is. Pure.

The winner is the best that is told apart from the others. Forms within 2 % are a tie, and which of
them wins does not depend on the run: the one with the better quality by the first gate, then with
less memory, the smaller file, the first name. The baseline is the source itself, so nothing that
may be no better than it replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mopt_api.base import MAX_RATIO
from mopt_api.contest import Interval, Standing, standing
from mopt_api.enums import ObjectiveMetric, OnNoWinner
from mopt_api.figures import VariantState
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_api.verdict import TIE, Compared, RunnerUp, Stopped, Verdict

from .gates import judged_value
from .measure_result import BASELINE, VariantResult

EXACT = (ObjectiveMetric.SIZE_BYTES, ObjectiveMetric.PEAK_MEMORY)
"""Metrics of one figure for each form: nothing to repeat, so nothing to doubt."""
_SAME_MEMORY = 1.05
"""Peaks of one form differ by less from run to run, so they decide nothing."""


@dataclass(frozen=True)
class Won:
    """The outcome.

    Attributes:
        selected: None where nothing wins, and the baseline is not kept.
    """

    selected: str | None
    verdict: Verdict


@dataclass(frozen=True)
class Evidence:
    """How the forms at a point compare with each other.

    Attributes:
        metric: Of the objective.
        under_load: What is reached under load is known from one search each, without an interval.
    """

    forms: dict[str, VariantResult]
    metric: ObjectiveMetric
    point: str
    under_load: bool = False

    def between(self, one: str, other: str) -> Interval | None:
        """Return how many times better one is than another; None where that is not known."""
        if self.metric in EXACT:
            return self._exact(one, other)
        if (direct := self._measured(one, other)) is not None:
            return direct
        if (direct := self._measured(other, one)) is not None:
            return direct.inverse
        ours, theirs = self._measured(one, BASELINE), self._measured(other, BASELINE)
        return ours.over(theirs) if ours is not None and theirs is not None else None

    def over_baseline(self, name: str) -> Interval | None:
        """Return how many times better a variant is than the baseline, where measured."""
        return self._measured(name, BASELINE)

    def _measured(self, one: str, other: str) -> Interval | None:
        figure = compared_figure(self.metric, under_load=self.under_load)
        if figure is None:
            return None
        found = self.forms[one].compared_with(other, figure, self.point)
        return None if found is None else interval_of(found)

    def _exact(self, one: str, other: str) -> Interval | None:
        ours, theirs = self.forms[one].speedup, self.forms[other].speedup
        return Interval(*(3 * [ours / theirs])) if ours and theirs else None


def compared_figure(metric: ObjectiveMetric, *, under_load: bool) -> ObjectiveMetric | None:
    """Return which figure of single calls tells forms apart by a metric; None where none does."""
    if metric in EXACT:
        return None
    if metric in (ObjectiveMetric.THROUGHPUT, ObjectiveMetric.COST_PER_MILLION):
        return None if under_load else ObjectiveMetric.THROUGHPUT
    return metric


def interval_of(found: Compared) -> Interval | None:
    """Return a comparison's ratio and bounds; None of numbers that are none of ratios."""
    low, high = found.interval
    if not 0 < low <= found.ratio <= high:
        return None
    return Interval(found.ratio, low, high)


def decide_winner(
    baseline: VariantResult,
    passed: Sequence[VariantResult],
    evidence: Evidence,
    *,
    objective: Objective,
    gates: Sequence[QualityGate],
) -> Won:
    """Return who wins.

    Args:
        baseline: With its speedup, which is 1. It contends where it is within gates and
            constraints itself.
        passed: The variants within them, with their speedups.
        evidence: How all of them compare.
    """
    reached = [v for v in passed if v.speedup is not None and _reaches(v.speedup, objective)]
    if baseline.state is VariantState.PASSED:
        contenders = [baseline, *reached]
    else:
        contenders = [v for v in reached if (v.speedup or 0) > 1]
    if not contenders:
        return Won(None, Verdict(stopped=Stopped.DECIDED, metric=objective.metric))
    margin = 0.0 if objective.metric in EXACT else TIE
    ratios = {v.name: v.speedup or 1.0 for v in contenders}
    found = standing(ratios, evidence.between, margin)
    winner = found.leader
    if BASELINE in ratios and _keeps_baseline(found, evidence):
        winner = BASELINE
    elif found.is_decided:
        near = {found.leader, *found.ties}
        winner = first_of_equals([v for v in contenders if v.name in near], gates)
    verdict = _verdict(winner, found, evidence)
    if winner == BASELINE and objective.on_no_winner is OnNoWinner.FAIL:
        return Won(None, verdict.model_copy(update={"winner": None}))
    return Won(winner, verdict)


def _reaches(speedup: float, objective: Objective) -> bool:
    """Return whether a form contends: without a minimum, one that seems slower may be no worse."""
    return objective.minimum_speedup <= 1 or speedup >= objective.minimum_speedup


def _keeps_baseline(found: Standing, evidence: Evidence) -> bool:
    """Return whether no variant is better than the baseline, or not for certain.

    Where no interval is known the estimate counts, as it does everywhere.
    """
    if found.leader == BASELINE or BASELINE in found.ties:
        return True
    return BASELINE in found.open and evidence.between(found.leader, BASELINE) is not None


def _verdict(winner: str, found: Standing, evidence: Evidence) -> Verdict:
    near = [name for name in (found.leader, *found.ties) if name != winner]
    undecided = [name for name in found.open if name != winner]
    stopped = Stopped.TIE if near else Stopped.DECIDED
    if found.open:
        stopped = Stopped.BUDGET
        if winner in found.open:
            # The leader is not named, since it may be no better than the baseline.
            near.remove(found.leader)
            undecided.insert(0, found.leader)
    over = evidence.over_baseline(winner)
    at_point = evidence.forms[winner].at(evidence.point)
    return Verdict(
        winner=winner,
        stopped=stopped,
        metric=evidence.metric,
        ratio=evidence.forms[winner].speedup,
        interval=over and _bounds(over),
        ties=near,
        undecided=undecided,
        runner_up=_runner_up(winner, found, evidence),
        rounds=at_point and at_point.rounds,
    )


def _runner_up(winner: str, found: Standing, evidence: Evidence) -> RunnerUp | None:
    """Return the contender that the winner is least better than."""
    if evidence.metric in EXACT:
        return None
    everyone = {found.leader, *found.beaten, *found.ties, *found.open} - {winner}
    known = {
        name: between
        for name in sorted(everyone)
        if (between := evidence.between(winner, name)) is not None
    }
    if not known:
        return None
    name = min(known, key=lambda one: known[one].ratio)
    nearest = known[name]
    ratio = min(nearest.ratio, MAX_RATIO)
    return RunnerUp(name=name, ratio=ratio, interval=_bounds(nearest))


def _bounds(known: Interval) -> list[float]:
    return [min(bound, MAX_RATIO) for bound in (known.low, known.high)]


def first_of_equals(tied: Sequence[VariantResult], gates: Sequence[QualityGate]) -> str:
    """Return the one of a tie that wins: the same one whatever the run.

    Args:
        tied: At least one.
        gates: The first one's quality comes first.
    """
    left = list(tied)
    if gates:
        left = _best(left, lambda v: _margin(v, gates[0]))
    left = _least(left, lambda v: v.peak_memory_bytes, _SAME_MEMORY)
    left = _least(left, lambda v: v.artifact.size_bytes if v.artifact else None, 1.0)
    return min(form.name for form in left)


def _margin(form: VariantResult, gate: QualityGate) -> float | None:
    """Return a figure that is larger the further a form is within a gate; in four digits, which
    status has too."""
    value = judged_value(gate, form.quality)
    if value is None:
        return None
    shown = float(f"{value:.4g}")
    return -shown if gate.minimum is None else shown


def _best(
    forms: list[VariantResult], figure: Callable[[VariantResult], float | None]
) -> list[VariantResult]:
    known = [value for form in forms if (value := figure(form)) is not None]
    if not known:
        return forms
    return [form for form in forms if figure(form) == max(known)]


def _least(
    forms: list[VariantResult], figure: Callable[[VariantResult], int | None], same: float
) -> list[VariantResult]:
    known = [value for form in forms if (value := figure(form)) is not None]
    if not known:
        return forms
    bound = min(known) * same
    return [form for form in forms if (value := figure(form)) is not None and value <= bound]
