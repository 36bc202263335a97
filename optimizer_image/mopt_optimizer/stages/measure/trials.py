"""Tries variants beside the baseline: opened, compared on real data, timed side by side.

Processes stay open from the comparison to the end of the timing, so that nothing is built twice.
As many variants as the memory budget allows form a group; usually that is all of them. The
baseline takes part in every group, and its figures pool all of them. In between, where Auto chose
the variants, a short probe drops the hopeless.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mopt_api.artifacts import Artifact
from mopt_api.enums import Precision
from mopt_api.figures import VariantReason
from mopt_api.inputs import InputSpec
from mopt_api.spec import BenchmarkPoint
from mopt_optimizer.data.npy import load_array, save_array
from mopt_optimizer.data.references import Reference, check_reference
from mopt_optimizer.errors import BaselineError, VariantFailure
from mopt_optimizer.machine.system import Counters
from mopt_optimizer.progress import Log
from mopt_optimizer.quality import NonFiniteOutput, ShapeMismatch, check_comparable
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.shapes import ShapeRange
from mopt_optimizer.timing.disturbance import measure_steadily
from mopt_optimizer.timing.interleave import (
    batch_size,
    benchmark_feeds,
    interleave,
    point_result,
    schedule,
)
from mopt_optimizer.timing.probe import PROBE_CALLS, Bar, lower, objection

from .attempts import Attempts
from .gallery import Gallery
from .trial import Inputs, Outputs, Start, Trial


@dataclass(frozen=True)
class Setup:
    """What all trials share.

    Attributes:
        samples: Real inputs; empty without evaluation data.
        truth: From a sample's index to its ground truth; None without.
        points: Every dimension given a size.
        threads: Per runtime.
        memory_budget: Bytes that open processes may take together; None for no bound.
        start: Starts a process that has a model open.
        attempts: Told what is at work, in case the container is killed.
        counters: Reads what others had of the CPU.
        workdir: For arrays; holds one sample and the points' inputs at a time.
        prunes: Leave what a short probe shows to be hopeless out of the benchmark.
        gpu: All computes on the GPU; memory_budget is of its memory.
        shapes: The smallest, most frequent and largest of each input.
        put_engine: Stores an engine that was built when a variant was opened.
        throttling: Tells what slows the GPU down now; empty where nothing does.
        gallery: Collects pictures of the comparison; None for none.
    """

    inputs: Sequence[InputSpec]
    samples: Sequence[Inputs]
    points: Sequence[BenchmarkPoint]
    warmup_seconds: float
    min_duration_seconds: float
    threads: int
    memory_budget: int | None
    start: Start
    attempts: Attempts
    counters: Callable[[], Counters]
    workdir: Path
    log: Log
    truth: Callable[[int], Reference] | None = None
    gallery: Gallery | None = None
    prunes: bool = False
    gpu: bool = False
    shapes: Mapping[str, ShapeRange] = field(default_factory=dict)
    put_engine: Callable[[Path], Artifact] | None = None
    throttling: Callable[[], Sequence[str]] = tuple


def _save(arrays: Inputs, folder: Path) -> dict[str, Path]:
    """Write arrays as .npy files, named by position: a model's input names may be any text."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    for index, (name, array) in enumerate(arrays.items()):
        files[name] = folder / f"{index}.npy"
        save_array(files[name], array)
    return files


def _take(files: Sequence[Path]) -> Outputs:
    """Read arrays and delete their files."""
    arrays: Outputs = [load_array(file) for file in files]
    for file in files:
        file.unlink()
    return arrays


def _alive(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.failure is None]


class Trials:
    """Runs a baseline and its variants."""

    def __init__(self, setup: Setup, baseline: Trial, variants: Sequence[Trial]) -> None:
        self._setup = setup
        self._baseline = baseline
        self._variants = variants
        self._baseline_compared = False
        self._bars: dict[str, Bar] = {}

    def run(self) -> None:
        """Fill in all trials: comparison, times, memory, or failure.

        Raises:
            BaselineError: The baseline does not open, run or give finite numbers.
            DataError: Ground truth that does not fit the baseline's outputs.
        """
        waiting = deque(self._variants)
        with ExitStack() as stack:
            for trial in (self._baseline, *self._variants):
                stack.callback(trial.close)
            with self._attempt(self._baseline):
                self._open(self._baseline)
            while True:
                group = self._admit(waiting)
                with self._setup.attempts.working(*(trial.name for trial in group)):
                    self._compare(group)
                if self._setup.prunes:
                    self._prune(group)
                self._time(_alive(group))
                for trial in group:
                    trial.close()
                if not waiting:
                    break

    def _fail(self, trial: Trial, failure: VariantFailure) -> None:
        trial.close()
        if trial is self._baseline:
            raise BaselineError(f"the model as it came fails: {failure}") from failure
        trial.failure = failure
        how = "skipped" if failure.reason is VariantReason.TOO_SLOW else "failed"
        self._setup.log(
            "variant",
            f"{trial.name} {how}: {failure}",
            variant=trial.name,
            reason=failure.reason,
        )

    @contextmanager
    def _attempt(self, trial: Trial) -> Iterator[None]:
        """Let a failure in the block end the trial, not the others; count the block's time."""
        try:
            with trial.clocked():
                yield
        except VariantFailure as failure:
            self._fail(trial, failure)
        except NonFiniteOutput as error:
            self._fail(trial, VariantFailure(VariantReason.NON_FINITE_OUTPUT, str(error)))
        except ShapeMismatch as error:
            self._fail(trial, VariantFailure(VariantReason.BUILD_FAILED, str(error)))

    def _open(self, trial: Trial) -> None:
        """Start the process, and run it once so that its memory shows."""
        setup = self._setup
        trial.process = setup.start(
            trial.name,
            Opening(
                runtime=trial.variant.runtime,
                precision=trial.variant.precision,
                path=trial.path,
                threads=setup.threads,
                compiled=trial.variant.compiled,
                gpu=setup.gpu,
                provider=trial.variant.execution_provider,
                shapes=dict(setup.shapes) if setup.gpu else {},
            ),
        )
        if trial.process.engine is not None and setup.put_engine is not None:
            trial.artifact = setup.put_engine(trial.process.engine)
        first = (
            setup.samples[0]
            if setup.samples
            else benchmark_feeds(setup.inputs, setup.points[0].dimensions, [])
        )
        outputs = self._evaluate(trial, _save(first, setup.workdir / "first"))
        check_comparable(outputs, outputs)
        trial.peak_memory_bytes = trial.process.peak_memory_bytes()
        setup.log("open", f"{trial.name} is open", variant=trial.name)

    def _evaluate(self, trial: Trial, files: Mapping[str, Path]) -> Outputs:
        return _take(trial.running.evaluate(files, self._setup.workdir / f"{trial.name}-output"))

    def _admit(self, waiting: deque[Trial]) -> list[Trial]:
        """Open variants while the budget lasts; the first always gets in."""
        group: list[Trial] = []
        used = self._baseline.peak_memory_bytes or 0
        budget = self._setup.memory_budget
        while waiting and not (group and (group[-1].alone or waiting[0].alone)):
            trial = waiting.popleft()
            with self._attempt(trial), self._setup.attempts.working(trial.name):
                self._open(trial)
            if trial.failure is not None:
                continue
            used += trial.peak_memory_bytes or 0
            if group and budget is not None and used > budget:
                trial.close()
                waiting.appendleft(trial)
                break
            group.append(trial)
        return group

    def _compare(self, group: Sequence[Trial]) -> None:
        """Compare every sample's outputs with the baseline's and the truth, a sample at a time."""
        setup = self._setup
        for number, sample in enumerate(setup.samples, start=1):
            files = _save(sample, setup.workdir / "sample")
            with self._attempt(self._baseline):
                reference = self._evaluate(self._baseline, files)
                check_comparable(reference, reference)
            truth = self._truth(number - 1, reference)
            for trial in _alive(group):
                with self._attempt(trial):
                    outputs = self._evaluate(trial, files)
                    trial.compare(reference, outputs, truth)
                    if setup.gallery is not None:
                        setup.gallery.observe(number - 1, trial.name, sample, reference, outputs)
            total = len(setup.samples)
            setup.log("evaluate", f"compared sample {number} of {total}", done=number, total=total)
        self._baseline_compared = True
        if setup.gallery is not None:
            self._take_pictures(setup.gallery, group)
        for trial in _alive(group):
            for quality in trial.quality():
                setup.log(
                    "quality",
                    f"{trial.name}: worst {quality.metric} {quality.worst:.4g}",
                    variant=trial.name,
                    metric=quality.metric,
                    worst=quality.worst,
                    mean=quality.mean,
                )

    def _truth(self, index: int, outputs: Outputs) -> Reference | None:
        """Return a sample's ground truth; the first group's also compares the baseline with it."""
        own = self._baseline.truth
        if self._setup.truth is None or own is None:
            return None
        truth = self._setup.truth(index)
        check_reference(truth, outputs, own.ranges)
        if not self._baseline_compared:
            own.add_truth(truth.outputs, outputs)
        return truth

    def _take_pictures(self, gallery: Gallery, group: Sequence[Trial]) -> None:
        """Run the few samples that are worth showing once more."""
        for number in gallery.chosen():
            sample = self._setup.samples[number]
            files = _save(sample, self._setup.workdir / "sample")
            with self._attempt(self._baseline):
                gallery.keep_reference(number, sample, self._evaluate(self._baseline, files))
            for trial in _alive(group):
                with self._attempt(trial):
                    gallery.keep(number, trial.name, self._evaluate(trial, files))

    def _prune(self, group: Sequence[Trial]) -> None:
        """Fail what a few calls show to be hopeless at every point."""
        baseline, suspects = self._baseline, _alive(group)
        objections: dict[str, str] = {}
        for point in self._setup.points:
            if not suspects:
                return
            fp32 = [t for t in _alive(group) if t.variant.precision is Precision.FP32]
            fastest = self._probe([baseline, *fp32, *(t for t in suspects if t not in fp32)], point)
            known = {t.name: fastest[t.name] for t in (baseline, *fp32) if t.name in fastest}
            # The baseline at least: where it fails, it all ends.
            bar = lower(self._bars.get(point.name), known)
            self._bars[point.name] = bar
            found = {
                trial.name: words
                for trial in _alive(suspects)
                if (words := objection(fastest[trial.name], bar, point.name)) is not None
            }
            objections = found | objections
            suspects = [trial for trial in suspects if trial.name in found]
        for trial in suspects:
            self._fail(trial, VariantFailure(VariantReason.TOO_SLOW, objections[trial.name]))

    def _probe(self, trials: Sequence[Trial], point: BenchmarkPoint) -> dict[str, int]:
        """Return the fastest of a few calls, nanoseconds, of those that do not fail."""
        setup = self._setup
        feeds = benchmark_feeds(setup.inputs, point.dimensions, setup.samples)
        files = _save(feeds, setup.workdir / "point")
        setup.log("probe", f"a few calls each at point {point.name}", point=point.name)
        fastest: dict[str, int] = {}
        for trial in trials:
            with self._attempt(trial):
                self._bind(trial, point, files)
                times = trial.running.take_turn(point.name, seconds=0, calls=PROBE_CALLS)
                trial.running.release(point.name)
                fastest[trial.name] = min(times)
        return fastest

    def _bind(self, trial: Trial, point: BenchmarkPoint, files: Mapping[str, Path]) -> None:
        variant = () if trial is self._baseline else (trial.name,)
        with self._setup.attempts.working(*variant):
            trial.running.bind(point.name, files)

    def _time(self, group: Sequence[Trial]) -> None:
        """Time the group and the baseline at every point."""
        setup = self._setup
        everyone = [self._baseline, *group]
        for point in setup.points:
            feeds = benchmark_feeds(setup.inputs, point.dimensions, setup.samples)
            files = _save(feeds, setup.workdir / "point")
            for trial in _alive(everyone):
                with self._attempt(trial):
                    self._bind(trial, point, files)
                    self._note_compiling(trial)
            setup.log("benchmark", f"measuring at point {point.name}", point=point.name)
            slowed = set(setup.throttling())
            times, disturbed = measure_steadily(
                partial(self._rounds, everyone, point), setup.counters, setup.log
            )
            if slowed := slowed | set(setup.throttling()):
                words = f"the GPU was slowed down: {', '.join(sorted(slowed))}"
                setup.log("benchmark", f"disturbed ({words}): unstable")
                disturbed = words if disturbed is None else f"{disturbed}; {words}"
            for trial in _alive(everyone):
                if disturbed is not None:
                    trial.disturbed.setdefault(point.name, disturbed)
                with self._attempt(trial):
                    self._wind_up(trial, point, times[trial.name])

    def _rounds(self, everyone: Sequence[Trial], point: BenchmarkPoint) -> dict[str, list[int]]:
        setup = self._setup
        return interleave(
            _alive(everyone),
            point.name,
            schedule(setup.min_duration_seconds),
            warmup_seconds=setup.warmup_seconds,
            drop=self._fail,
            failures=VariantFailure,
        )

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

    def _wind_up(self, trial: Trial, point: BenchmarkPoint, times_ns: list[int]) -> None:
        trial.times_ns.setdefault(point.name, []).extend(times_ns)
        trial.running.release(point.name)
        trial.peak_memory_bytes = trial.running.peak_memory_bytes()
        batch = batch_size(self._setup.inputs, point.dimensions)
        measured = point_result(point, trial.times_ns[point.name], batch)
        self._setup.log(
            "benchmark",
            f"{trial.name}: p50 {measured.latency_ms.p50:.4g} ms at {point.name}",
            variant=trial.name,
            point=point.name,
            p50=measured.latency_ms.p50,
            runs=measured.runs,
            coefficientOfVariation=measured.coefficient_of_variation,
        )
