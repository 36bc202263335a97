"""Times variants beside the baseline: a short probe of each first, then rounds side by side, until
the best of those that may win is certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mopt_api.benchmark import BenchmarkPoint
from mopt_api.enums import Precision
from mopt_api.figures import VariantReason
from mopt_api.verdict import Compared
from mopt_optimizer.errors import VariantFailure
from mopt_optimizer.progress import step
from mopt_optimizer.timing.deciding import Contest
from mopt_optimizer.timing.disturbance import measure_steadily
from mopt_optimizer.timing.interleave import (
    Rounds,
    batch_size,
    point_result,
    pooled,
    take_rounds,
)
from mopt_optimizer.timing.probe import PROBE_CALLS, Best, best_of, hopeless_because

from .participants import Participants, alive
from .setup import save_arrays
from .trial import Trial


@dataclass(frozen=True)
class Taken:
    """The rounds of a group at a point, and how its forms compare by them."""

    rounds: Rounds
    compared: Mapping[str, list[Compared]]


class Benchmark:
    """The timing of a run's groups, one after the other."""

    def __init__(self, participants: Participants) -> None:
        self._all = participants
        self._setup = participants.setup
        self._best: dict[str, Best] = {}

    def prune(self, group: Sequence[Trial]) -> None:
        """Fail what a few calls show to be hopeless at every point."""
        baseline, suspects = self._all.baseline, alive(group)
        objections: dict[str, str] = {}
        for point in self._setup.timing.points:
            if not suspects:
                return
            fp32 = [t for t in alive(group) if t.variant.precision is Precision.FP32]
            fastest = self._probe([baseline, *fp32, *(t for t in suspects if t not in fp32)], point)
            known = {t.name: fastest[t.name] for t in (baseline, *fp32) if t.name in fastest}
            # The baseline at least: where it fails, it all ends.
            bar = best_of(self._best.get(point.name), known)
            self._best[point.name] = bar
            found = {
                trial.name: words
                for trial in alive(suspects)
                if (words := hopeless_because(fastest[trial.name], bar, point.name)) is not None
            }
            objections = found | objections
            suspects = [trial for trial in suspects if trial.name in found]
        for trial in suspects:
            self._all.fail(trial, VariantFailure(VariantReason.TOO_SLOW, objections[trial.name]))

    def _probe(self, trials: Sequence[Trial], point: BenchmarkPoint) -> dict[str, int]:
        """Return the fastest of a few calls, nanoseconds, of those that do not fail."""
        setup = self._setup
        feeds = setup.sampling.feeds(point)
        files = save_arrays(feeds, setup.sampling.workdir / "point")
        fastest: dict[str, int] = {}
        words = f"a few calls each at point {point.name}"
        with step(setup.log, "probe", words, end=f"{words}: done", point=point.name):
            for trial in trials:
                with self._all.attempt(trial):
                    self._bind(trial, point, files)
                    times = trial.running.take_turn(point.name, seconds=0, calls=PROBE_CALLS)
                    trial.running.release(point.name)
                    fastest[trial.name] = min(times)
        return fastest

    def _bind(self, trial: Trial, point: BenchmarkPoint, files: Mapping[str, Path]) -> None:
        variant = () if trial is self._all.baseline else (trial.name,)
        with self._setup.attempts.working(*variant):
            trial.running.bind(point.name, files)

    def time(self, group: Sequence[Trial], *, several: bool = False) -> None:
        """Time the group and the baseline at every point.

        Args:
            several: There are other groups, which this one's best is compared with.
        """
        setup = self._setup
        everyone = [self._all.baseline, *group]
        for point in setup.timing.points:
            feeds = setup.sampling.feeds(point)
            files = save_arrays(feeds, setup.sampling.workdir / "point")
            for trial in alive(everyone):
                with self._all.attempt(trial):
                    self._bind(trial, point, files)
                    self._note_compiling(trial)
            words, end = (f"{how} at point {point.name}" for how in ("measuring", "measured"))
            slowed = setup.slowed_by()
            with step(setup.log, "benchmark", words, end=end, point=point.name):
                taken, disturbed = measure_steadily(
                    partial(self._rounds, everyone, point, several=several),
                    setup.timing.counters,
                    setup.log,
                    repetitions=setup.timing.repetitions,
                )
            if slowed := slowed | setup.slowed_by():
                words = f"the GPU was slowed down: {', '.join(sorted(slowed))}"
                setup.log("benchmark", f"disturbed ({words}): unstable")
                disturbed = words if disturbed is None else f"{disturbed}; {words}"
            for trial in alive(everyone):
                if disturbed is not None:
                    trial.disturbed.setdefault(point.name, disturbed)
                with self._all.attempt(trial):
                    self._finish_point(trial, point, taken)

    def _rounds(self, everyone: Sequence[Trial], point: BenchmarkPoint, *, several: bool) -> Taken:
        timing, baseline = self._setup.timing, self._all.baseline
        running = alive(everyone)
        contest = Contest(
            [trial.name for trial in running],
            baseline.name,
            [t.name for t in running if t is not baseline and t.may_win(timing.gates)],
            timing.figure,
            timing.budget,
            narrow=several,
        )
        rounds = take_rounds(
            running,
            point.name,
            contest.schedule,
            warmup_seconds=timing.warmup_seconds,
            drop=self._all.fail,
            failures=VariantFailure,
            after=contest.after,
        )
        self._setup.log("benchmark", contest.words(rounds), point=point.name)
        return Taken(rounds, contest.compared(rounds))

    def _note_compiling(self, trial: Trial) -> None:
        """Log what compiling took so far: evaluating and binding did it, before the first turn."""
        if not trial.variant.compiled:
            return
        trial.compile_seconds = trial.running.compile_seconds()
        self._setup.log(
            "compile",
            f"{trial.name}: PyTorch compiled for {trial.compile_seconds:.3g} s, "
            "which no latency includes",
            variant=trial.name,
            seconds=round(trial.compile_seconds, 3),
        )

    def _finish_point(self, trial: Trial, point: BenchmarkPoint, taken: Taken) -> None:
        turns, name = taken.rounds[trial.name], point.name
        trial.times_ns.setdefault(name, []).extend(pooled(turns))
        trial.rounds[name] = trial.rounds.get(name, 0) + len(turns)
        trial.compared[name] = taken.compared.get(trial.name, [])
        trial.running.release(name)
        trial.peak_memory_bytes = trial.running.peak_memory_bytes()
        batch = batch_size(self._setup.sampling.inputs, point.dimensions)
        measured = point_result(point, trial.times_ns[name], batch)
        self._setup.log(
            "benchmark",
            f"{trial.name}: p50 {measured.latency_ms.p50:.4g} ms at {name}",
            variant=trial.name,
            point=name,
            p50=measured.latency_ms.p50,
            runs=measured.runs,
            coefficientOfVariation=measured.coefficient_of_variation,
        )
