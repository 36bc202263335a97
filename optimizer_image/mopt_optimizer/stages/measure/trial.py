"""One variant, from its file to its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mopt_api.artifacts import Artifact
from mopt_api.benchmark import BenchmarkPoint
from mopt_api.enums import Precision
from mopt_api.figures import QualityResult, VariantReason, VariantState
from mopt_api.inputs import InputSpec
from mopt_api.jobs.gates import gate_failure
from mopt_api.jobs.measure_result import OutputSpan, PointResult, VariantResult
from mopt_api.jobs.plan import effective_torch_mode
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_api.verdict import Compared
from mopt_optimizer.data.references import Reference
from mopt_optimizer.errors import VariantFailure
from mopt_optimizer.quality import Array, Comparison, Distance, Profile
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.timing.interleave import batch_size, point_result

from .messages import Explained

Inputs = Mapping[str, Array]
Outputs = list[Array]


class Process(Protocol):
    """An open variant, as process.VariantProcess has it. Every call may raise VariantFailure."""

    @property
    def engine(self) -> Path | None: ...

    @property
    def output_names(self) -> Sequence[str]: ...

    def evaluate(self, feeds: Mapping[str, Path]) -> Outputs: ...

    def bind(self, point: str, feeds: Mapping[str, Path]) -> None: ...

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]: ...

    def release(self, point: str) -> None: ...

    def peak_memory_bytes(self) -> int | None: ...

    def compile_seconds(self) -> float: ...

    def explain(
        self, points: Mapping[str, Mapping[str, Sequence[int]]], feeds: Mapping[str, Path]
    ) -> Explained: ...

    def close(self) -> None: ...


Start = Callable[[str, Opening], Process]


@dataclass
class Trial:
    """One variant, from its file to its result.

    Attributes:
        variant: What is tried.
        artifact: The file that would be served; an engine's once that is built.
        path: That file on the local disk.
        comparison: With the baseline's outputs.
        truth: With ground truth; None where there is none.
        times_ns: Call times by point.
        rounds: Turns that these are of, by point.
        compared: With the others of its group and the baseline, by point.
        rejection: Why it must not win, whatever the gates; it is measured all the same.
        alone: No other variant is open beside it.
        disturbed: By point, what disturbed its calls there; only where something did.
        seconds: Time spent on it, from opening to the last turn.
        compile_seconds: Of these, on compiling at first calls.
        distance: From the baseline's outputs, of a variant in FP32.
        explained: What its calls have to do, and what is executed.
    """

    variant: Variant
    artifact: Artifact
    path: Path
    comparison: Comparison
    truth: Comparison | None = None
    alone: bool = False
    process: Process | None = None
    failure: VariantFailure | None = None
    rejection: VariantFailure | None = None
    peak_memory_bytes: int | None = None
    times_ns: dict[str, list[int]] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)
    compared: dict[str, list[Compared]] = field(default_factory=dict)
    disturbed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    compile_seconds: float = 0.0
    distance: Distance = field(default_factory=Distance)
    explained: Explained = field(default_factory=Explained)

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

    def judge_by(self, profile: Profile) -> None:
        """Judge parts by what the baseline computes; before any sample is compared.

        Ground truth is compared by output and declared part alone: its scale is its own.
        """
        self.comparison.profile = profile
        if self.truth is not None:
            self.truth.names = profile.names

    def compare(self, baseline: Outputs, outputs: Outputs, truth: Reference | None) -> None:
        """Compare a sample's outputs with the baseline's and, where there is one, with the truth.

        Raises:
            ComparisonError
        """
        self.comparison.add(baseline, outputs)
        if self.variant.precision is Precision.FP32:
            self.distance.add(baseline, outputs)
        if self.truth is not None and truth is not None:
            self.truth.add_truth(truth.outputs, outputs)

    def quality(self) -> list[QualityResult]:
        """Return what gates judge: by ground truth where there is one."""
        if self.failure is not None:
            return []
        return (self.comparison if self.truth is None else self.truth).results()

    def may_win(self, gates: Sequence[QualityGate]) -> bool:
        """Return whether it can win by what is known before it is timed."""
        if self.failure is not None or self.rejection is not None:
            return False
        quality = self.quality()
        return not any(gate_failure(gate, quality) for gate in gates)

    def _agreement(self) -> list[QualityResult] | None:
        by_truth = self.truth is not None and self.failure is None
        return (self.comparison.results() or None) if by_truth else None

    def output_spans(self) -> list[OutputSpan]:
        """Return the ranges of the outputs that it is judged by: the baseline's."""
        profile = self.comparison.profile
        spans = profile.spans() if profile is not None else []
        return [OutputSpan(name=name, low=low, high=high) for name, low, high in spans]

    def close(self) -> None:
        """End the process, if it runs."""
        if self.process is not None:
            self.process.close()
            self.process = None

    def result(
        self, points: Sequence[BenchmarkPoint], inputs: Sequence[InputSpec]
    ) -> VariantResult:
        """Return the result; a measured variant is Passed until gates judge it."""
        measured: list[PointResult] = []
        if self.failure is None:
            measured = [self._measured(p, inputs) for p in points]
        objection = self.failure or self.rejection
        return VariantResult(
            name=self.name,
            runtime=self.variant.runtime,
            precision=self.variant.precision,
            float_precision=self.variant.float_precision,
            torch_mode=effective_torch_mode(self.variant),
            state=self._state(),
            reason=objection and objection.reason,
            message=objection and str(objection),
            artifact=self.artifact,
            peak_memory_bytes=self.peak_memory_bytes,
            quality=self.quality(),
            agreement=self._agreement(),
            points=measured,
            executed=self.explained.executed,
            seconds=round(self.seconds, 3),
            compile_seconds=round(self.compile_seconds, 3) or None,
        )

    def _measured(self, point: BenchmarkPoint, inputs: Sequence[InputSpec]) -> PointResult:
        batch = batch_size(inputs, point.dimensions)
        found = point_result(point, self.times_ns[point.name], batch)
        cause = self.disturbed.get(point.name)
        return found.model_copy(
            update={
                "unstable": cause is not None,
                "message": cause,
                "rounds": self.rounds.get(point.name),
                "compared": self.compared.get(point.name, []),
                "work": self.explained.work.get(point.name),
            }
        )

    def _state(self) -> VariantState:
        if self.failure is None:
            return VariantState.PASSED if self.rejection is None else VariantState.REJECTED
        # It works, and was not worth the time.
        too_slow = self.failure.reason is VariantReason.TOO_SLOW
        return VariantState.SKIPPED if too_slow else VariantState.FAILED
