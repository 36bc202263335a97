"""Tries variants beside the baseline: opened, compared on real data, timed side by side.

Processes stay open from the comparison to the end of the timing, so that nothing is built twice.
As many variants as the memory budget allows form a group; usually that is all of them. The
baseline takes part in every group, and its figures pool all of them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from mopt_api.enums import Runtime, TorchMode
from mopt_api.inputs import InputSpec
from mopt_api.result import (
    Artifact,
    PointResult,
    QualityResult,
    VariantReason,
    VariantResult,
    VariantState,
)
from mopt_api.spec import BenchmarkPoint, Variant

from ._errors import BaselineError
from ._progress import Log
from .arrays import load_array, save_array
from .benchmarking import batch_size, benchmark_feeds, interleave, point_result, schedule
from .crops import Gallery
from .isolation import Opening, VariantFailure
from .quality import Comparison, NonFiniteOutput, ShapeMismatch, check_comparable
from .references import Reference, check_reference

Inputs = Mapping[str, NDArray[Any]]
Outputs = list[NDArray[Any]]


class Process(Protocol):
    """An open variant, as isolation.VariantProcess has it. Every call may raise VariantFailure."""

    def evaluate(self, feeds: Mapping[str, Path], output: Path) -> list[Path]: ...

    def bind(self, point: str, feeds: Mapping[str, Path]) -> None: ...

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]: ...

    def release(self, point: str) -> None: ...

    def peak_memory_bytes(self) -> int: ...

    def compile_seconds(self) -> float: ...

    def close(self) -> None: ...


Start = Callable[[Opening], Process]


@dataclass
class Trial:
    """One form of the model on its way to a result.

    Attributes:
        variant: What is tried.
        artifact: The file that would be served.
        path: That file on the local disk.
        comparison: With the baseline's outputs.
        truth: With ground truth; None where there is none.
        times_ns: Call times by point.
        seconds: Time spent on it, from opening to the last turn.
        compile_seconds: Of these, on compiling at first calls.
    """

    variant: Variant
    artifact: Artifact
    path: Path
    comparison: Comparison
    truth: Comparison | None = None
    process: Process | None = None
    failure: VariantFailure | None = None
    peak_memory_bytes: int | None = None
    times_ns: dict[str, list[int]] = field(default_factory=dict)
    seconds: float = 0.0
    compile_seconds: float = 0.0

    @property
    def name(self) -> str:
        return self.variant.name

    @property
    def running(self) -> Process:
        """The open process."""
        if self.process is None:
            raise VariantFailure(VariantReason.CRASHED, f"{self.name} is not running")
        return self.process

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:
        """As benchmarking.Participant."""
        with self.clocked():
            return self.running.take_turn(point, seconds=seconds, calls=calls)

    @contextmanager
    def clocked(self) -> Iterator[None]:
        """Count the time of the block as spent on this trial."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started

    def compare(self, baseline: Outputs, outputs: Outputs, truth: Reference | None) -> None:
        """Compare a sample's outputs with the baseline's and, where there is one, with the truth.

        Raises:
            ComparisonError
        """
        self.comparison.add(baseline, outputs)
        if self.truth is not None and truth is not None:
            self.truth.add_truth(truth.outputs, outputs)

    def quality(self) -> list[QualityResult]:
        """Return what gates judge: by ground truth where there is one."""
        if self.failure is not None:
            return []
        return (self.comparison if self.truth is None else self.truth).results()

    def _agreement(self) -> list[QualityResult] | None:
        by_truth = self.truth is not None and self.failure is None
        return (self.comparison.results() or None) if by_truth else None

    def close(self) -> None:
        """End the process, if it runs."""
        if self.process is not None:
            self.process.close()
            self.process = None

    def result(
        self, points: Sequence[BenchmarkPoint], inputs: Sequence[InputSpec]
    ) -> VariantResult:
        """Return what was found; a measured variant is Passed until gates judge it."""
        measured: list[PointResult] = []
        if self.failure is None:
            measured = [
                point_result(p, self.times_ns[p.name], batch_size(inputs, p.dimensions))
                for p in points
            ]
        return VariantResult(
            name=self.name,
            runtime=self.variant.runtime,
            precision=self.variant.precision,
            torch_mode=torch_mode(self.variant),
            state=VariantState.PASSED if self.failure is None else VariantState.FAILED,
            reason=None if self.failure is None else self.failure.reason,
            message=None if self.failure is None else str(self.failure),
            artifact=self.artifact,
            peak_memory_bytes=self.peak_memory_bytes,
            quality=self.quality(),
            agreement=self._agreement(),
            points=measured,
            seconds=round(self.seconds, 3),
            compile_seconds=round(self.compile_seconds, 3) or None,
        )


def torch_mode(variant: Variant) -> TorchMode | None:
    """Return how PyTorch runs a variant; None for another runtime."""
    if variant.runtime is not Runtime.PYTORCH:
        return None
    return TorchMode.COMPILED if variant.compiled else TorchMode.EAGER


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
        workdir: For arrays; holds one sample and the points' inputs at a time.
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
    workdir: Path
    log: Log
    truth: Callable[[int], Reference] | None = None
    gallery: Gallery | None = None


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
                self._compare(group)
                self._time(group)
                for trial in group:
                    trial.close()
                if not waiting:
                    break

    def _fail(self, trial: Trial, failure: VariantFailure) -> None:
        trial.close()
        if trial is self._baseline:
            raise BaselineError(f"the model as it came fails: {failure}") from failure
        trial.failure = failure
        self._setup.log(
            "variant",
            f"{trial.name} failed: {failure}",
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
            Opening(
                name=trial.name,
                runtime=trial.variant.runtime,
                precision=trial.variant.precision,
                path=trial.path,
                threads=setup.threads,
                compiled=trial.variant.compiled,
            )
        )
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
        while waiting:
            trial = waiting.popleft()
            with self._attempt(trial):
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

    def _time(self, group: Sequence[Trial]) -> None:
        """Time the group and the baseline at every point."""
        setup = self._setup
        everyone = [self._baseline, *group]
        for point in setup.points:
            feeds = benchmark_feeds(setup.inputs, point.dimensions, setup.samples)
            files = _save(feeds, setup.workdir / "point")
            for trial in _alive(everyone):
                with self._attempt(trial):
                    trial.running.bind(point.name, files)
                    self._note_compiling(trial)
            setup.log("benchmark", f"measuring at point {point.name}", point=point.name)
            times = interleave(
                _alive(everyone),
                point.name,
                schedule(setup.min_duration_seconds),
                warmup_seconds=setup.warmup_seconds,
                drop=self._fail,
                failures=VariantFailure,
            )
            for trial in _alive(everyone):
                with self._attempt(trial):
                    self._wind_up(trial, point, times[trial.name])

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
