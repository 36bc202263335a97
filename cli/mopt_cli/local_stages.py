"""The stages of `mopt run`, one after the other: as the operator's for one target. Pure but for
what runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mopt_api.jobs.plan import JobPlan, MeasurePlan, PreparePlan
from mopt_api.jobs.second_search import Aims, second_aims
from mopt_api.jobs.termination import MeasureSummary, PrepareSummary, Summary

from ._errors import CliError
from .local_plan import LocalWork

RunStage = Callable[[JobPlan], Summary]
"""Runs a stage to its end; raises CliError where that fails."""

_SummaryT = TypeVar("_SummaryT", PrepareSummary, MeasureSummary)


@dataclass(frozen=True)
class Outcome:
    """What the stages ended with.

    Attributes:
        remark: Why a second search did not replace the first result; None where there was none, or
            it did.
    """

    summary: MeasureSummary
    remark: str | None = None


def run_stages(work: LocalWork, run: RunStage) -> Outcome:
    """Prepare and measure; search a second time where the first result asks for it.

    Raises:
        CliError: A stage failed. What fails of a second search leaves the first result.
    """
    prepared = _prepared(work.prepare(), run)
    first = _measured(work.measure(prepared.result), run)
    spec = work.spec
    aims = second_aims(
        first.variants,
        first.selected,
        gates=spec.quality,
        objective=spec.objective,
        under_load=spec.benchmark.load is not None,
    )
    return _second(work, run, first, aims) if aims else Outcome(first)


def _second(work: LocalWork, run: RunStage, first: MeasureSummary, aims: Aims) -> Outcome:
    title = f"the second search for {', '.join(aims)}"
    try:
        prepared = _prepared(work.prepare(aims), run)
        if not prepared.aimed:
            return Outcome(first, f"{title} found no form that holds the gates")
        return Outcome(_measured(work.measure(prepared.result), run))
    except CliError as error:
        return Outcome(first, f"{title} failed: {error}")


def _prepared(plan: PreparePlan, run: RunStage) -> PrepareSummary:
    return _of_kind(PrepareSummary, run(plan))


def _measured(plan: MeasurePlan, run: RunStage) -> MeasureSummary:
    return _of_kind(MeasureSummary, run(plan))


def _of_kind(kind: type[_SummaryT], summary: Summary) -> _SummaryT:
    if not isinstance(summary, kind):
        raise TypeError(f"{type(summary).__name__} in place of {kind.__name__}")
    return summary
