"""Speed under load: a search for each variant that passed, one after the other.

The fastest come first, so that of the others one look is enough.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mopt_api.enums import TargetKind
from mopt_api.figures import LoadFigures
from mopt_api.jobs.load_result import LoadSearch, LoadStop
from mopt_api.jobs.measure_result import BASELINE, VariantResult
from mopt_api.jobs.plan import MeasurePlan, benchmark_points, load_bounds, objective_point
from mopt_api.load import Load, LoadScenario
from mopt_optimizer.errors import SpecError
from mopt_optimizer.load.batches import batch_sizes, joined_axes, sample_sizes
from mopt_optimizer.load.configurations import key_of
from mopt_optimizer.load.rules import Bound
from mopt_optimizer.load.search import Found, Limits, worded
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.timing.interleave import benchmark_feeds

from .job import Bench, Job
from .load_process import Requests
from .load_trials import Form, LoadTrials, Place
from .setup import save_arrays
from .trial import Trial

_MOST_SAMPLES = 32
_MOST_BYTES = 64 * 2**20
_REST_SECONDS = 60.0
"""For what follows: storing the result and its page."""
_LEAST_SECONDS = 10.0
_NO_TIME = (
    "no time was left before the Job's deadline: raise execution.activeDeadlineSeconds, or lower "
    "benchmark.load.budgetSeconds"
)


def check_load(plan: MeasurePlan) -> None:
    """Check that load can be measured as it is asked for.

    Raises:
        SpecError: Scenario Server without a latency to keep.
    """
    load = plan.benchmark.load
    if load is None or load.scenario is not LoadScenario.SERVER:
        return
    if not load_bounds(plan.objective, plan.benchmark):
        raise SpecError(
            "benchmark.load.scenario Server needs a latency to keep: add a constraint on "
            "LatencyP50, LatencyP90 or LatencyP99 to objective.constraints, or set Offline"
        )


class UnderLoad:
    """The searches of one target."""

    def __init__(self, job: Job, bench: Bench, load: Load) -> None:
        self._job = job
        self._bench = bench
        plan = job.plan
        self._limits = Limits(
            cpus=bench.facts.hardware.threads or 1,
            batches=batch_sizes(plan.inputs, plan.dimensions, load.maximum_batch),
            scenario=load.scenario,
            duration_seconds=load.duration_seconds,
            budget_seconds=load.budget_seconds,
            bound=Bound.of(load_bounds(plan.objective, plan.benchmark)),
        )
        self._fastest: dict[tuple[int, int, int], float] = {}

    def measured(
        self,
        trials: Sequence[Trial],
        results: Sequence[VariantResult],
        passed: Collection[str],
    ) -> list[VariantResult]:
        """Return results with the figures under load of those that passed.

        Args:
            trials: What was timed, the baseline among them.
            passed: Names of those that hold their gates.
        """
        if self._job.plan.kind is not TargetKind.CPU:
            self._job.log("load", "load is not measured: it is on CPUs only, for now")
            return list(results)
        forms = {trial.name: _form(trial) for trial in trials}
        requests = self._requests()
        found: dict[str, VariantResult] = {}
        for result in sorted(results, key=self._turn):
            found[result.name] = result
            if result.name in passed and result.name in forms:
                found[result.name] = self._with_load(result, forms[result.name], requests)
        return [found[result.name] for result in results]

    def _turn(self, result: VariantResult) -> tuple[bool, float]:
        """Sort by: the baseline first, then by the latency of a call."""
        plan = self._job.plan
        point = result.at(objective_point(plan.objective, plan.benchmark))
        return result.name != BASELINE, point.latency_ms.p50 if point else float("inf")

    def _requests(self) -> Requests:
        plan, samples = self._job.plan, self._bench.facts.samples
        wanted = objective_point(plan.objective, plan.benchmark)
        points = benchmark_points(plan.benchmark, plan.dimensions)
        sizes = next(p.dimensions for p in points if p.name == wanted)
        sizes = sample_sizes(sizes, plan.dimensions)
        folder = self._job.workdir / "load"
        saved: list[Mapping[str, Path]] = []
        taken = 0
        inputs = samples.inputs if samples else ()
        for start in range(max(1, min(_MOST_SAMPLES, len(inputs)))):
            feeds = benchmark_feeds(plan.inputs, sizes, inputs[start:])
            taken += sum(array.nbytes for array in feeds.values())
            if saved and taken > _MOST_BYTES:
                break
            saved.append(save_arrays(feeds, folder / str(start)))
        return Requests(saved, folder, joined_axes(plan.inputs), self._limits.batches)

    def _with_load(self, result: VariantResult, form: Form, requests: Requests) -> VariantResult:
        started = time.monotonic()
        working = () if form.name == BASELINE else (form.name,)
        with self._bench.attempts.working(*working):
            found, searched = self._searched(form, requests)
        words = searched.message or "nothing"
        if found is not None:
            words = f"{found.throughput:.4g} samples/s with {worded(found.serving)}"
        self._job.log(
            "load",
            f"{form.name}: {words}, after {len(searched.trials)} trials in "
            f"{searched.seconds:.3g} s",
            variant=form.name,
            throughput=found and found.throughput,
        )
        seconds = (result.seconds or 0) + time.monotonic() - started
        return result.model_copy(
            update={"load": found, "load_search": searched, "seconds": round(seconds, 3)}
        )

    def _place(self) -> Place:
        folder = self._job.workdir / "processes"
        folder.mkdir(parents=True, exist_ok=True)
        return Place(
            workdir=folder,
            environ=self._job.environ,
            memory_share=self._bench.attempts.watching(self._job.system.memory_share),
            cpu_stat=self._job.system.cpu_stat,
            log=self._job.log,
        )

    def _searched(self, form: Form, requests: Requests) -> tuple[LoadFigures | None, LoadSearch]:
        """Search for a form's best configuration; in half of the time left, since the trials whose
        figures count come after."""
        left = self._job.time_left.seconds() - _REST_SECONDS
        budget = min(self._limits.budget_seconds, left / 2)
        if budget < _LEAST_SECONDS:
            return None, LoadSearch(stopped=LoadStop.BUDGET, seconds=0, message=_NO_TIME)
        limits = replace(self._limits, budget_seconds=budget, most_seconds=left)
        if form.name != BASELINE:
            limits = replace(limits, rival=lambda serving: self._fastest.get(key_of(serving)))
        started = time.monotonic()
        with LoadTrials(form, requests, limits, self._place()) as trying:
            found = trying.run()
            trials = trying.trials
        for trial in trials:
            if trial.offered is None:
                key = key_of(trial.serving)
                self._fastest[key] = max(trial.throughput, self._fastest.get(key, 0.0))
        return _figures(found, limits), LoadSearch(
            trials=trials,
            stopped=found.stopped,
            seconds=round(time.monotonic() - started, 3),
            message=found.message[:256] or None,
        )


def _form(trial: Trial) -> Form:
    variant = trial.variant
    return Form(
        trial.name,
        Opening(
            runtime=variant.runtime,
            precision=variant.precision,
            float_precision=variant.float_precision,
            path=trial.path,
            threads=1,
            compiled=variant.compiled,
            provider=variant.execution_provider,
        ),
    )


def _figures(found: Found, limits: Limits) -> LoadFigures | None:
    if found.best is None:
        return None
    return LoadFigures(
        scenario=limits.scenario,
        serving=found.best.serving,
        throughput=found.best.throughput,
        latency_ms=found.best.latency_ms,
        queries=found.best.queries,
    )
