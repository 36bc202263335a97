"""Compares a server with the source model on this machine, by the code of the measure stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mopt_api.benchmark import BenchmarkPoint
from mopt_api.enums import TargetKind
from mopt_api.figures import QualityResult, VariantState
from mopt_api.jobs.measure_result import MeasureResult, PointResult, VariantResult
from mopt_api.jobs.plan import MeasurePlan, benchmark_points, objective_point
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.variants import Variant
from mopt_optimizer.data.process import DecodingProcess
from mopt_optimizer.errors import DataError, SpecError, VariantFailure
from mopt_optimizer.progress import Log
from mopt_optimizer.proofs.again import Places, file_uri
from mopt_optimizer.proofs.again import plan_of as moved_plan
from mopt_optimizer.proofs.checks import Check
from mopt_optimizer.quality import check_sample_count, data_ranges, declared_figures
from mopt_optimizer.runtimes import Opening
from mopt_optimizer.serving.form import plan_of
from mopt_optimizer.stages.measure.field import Field
from mopt_optimizer.stages.measure.inputs import Fetching
from mopt_optimizer.stages.measure.job import Bench, Facts, Job
from mopt_optimizer.stages.measure.lineup import Lineup
from mopt_optimizer.stages.measure.setup import save_arrays
from mopt_optimizer.stages.measure.trial import Process, Trial
from mopt_optimizer.stages.watching import memory_watch
from mopt_optimizer.timing.interleave import batch_size, benchmark_feeds, point_result

from .client import Client
from .process import EndpointProcess
from .verdict import Overhead, data_check, gate_checks, model_check, overhead, speed_check

_LEAST_CALLS = 10


@dataclass(frozen=True)
class Asked:
    """What is to be verified.

    Attributes:
        result: The measurement, and its form that the server is expected to have.
        model: What the server calls it.
        source, data, references: Local files in place of those that the result names.
        speed: By which share the median latency may be longer; None does not judge it.
    """

    result: MeasureResult
    measured: VariantResult
    model: str
    source: Path | None = None
    data: Path | None = None
    references: Path | None = None
    speed: float | None = None

    @property
    def point(self) -> PointResult | None:
        """The measured speed that the server's is held against."""
        return self.measured.at(self.result.objective_point)


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        point: Speed at the objective's point; None where the comparison ended before.
    """

    checks: Sequence[Check]
    quality: Sequence[QualityResult] = field(default_factory=list)
    point: PointResult | None = None
    overhead: Overhead | None = None

    @property
    def holds(self) -> bool:
        """Whether all that is judged holds."""
        return all(check.holds for check in self.checks)

    def to_api(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "holds": self.holds,
            "checks": [check.to_api() for check in self.checks],
            "quality": [each.to_api() for each in self.quality],
            "speed": self.point and self.point.to_api(),
            "overhead": self.overhead and self.overhead.to_api(),
        }


def verify_endpoint(
    client: Client, asked: Asked, environ: Mapping[str, str], workdir: Path, log: Log
) -> Report:
    """Return what holds of a server.

    Args:
        environ: Holds the keys of the stores that the result names.
        workdir: Exists, empty, ours.

    Raises:
        EndpointError: It does not answer, or not for this model.
        SpecError, DataError: The result names no evaluation data, or what it names is not there.
        BaselineError: The source model does not run here.
        StoreError, DiskError, ModelError, DimensionError.
    """
    metadata = client.metadata(asked.model)
    plan = _plan(asked, workdir)
    first = model_check(asked.model, metadata, plan.inputs)
    if not first.holds:
        return Report([first])
    process = EndpointProcess(client, asked.model, metadata)
    return _Comparison(asked, plan, process, Job(plan, environ, workdir, log)).report(first)


def _plan(asked: Asked, workdir: Path) -> MeasurePlan:
    """Return the plan of the measurement, on this machine's CPU and with local files."""
    planned = plan_of(asked.result)
    if planned.evaluation is None:
        raise SpecError("the result was measured without evaluation data: nothing can be compared")
    output = workdir / "output"
    output.mkdir()
    truth = planned.references.uri if planned.references else None
    places = Places(
        source=_uri(asked.source, planned.model.uri),
        data=_uri(asked.data, planned.evaluation.uri),
        output=file_uri(output),
        references=file_uri(asked.references) if asked.references else truth,
    )
    moved = {"kind": TargetKind.CPU.value, "search": None}
    return moved_plan({"measurement": planned.to_api() | moved}, planned.prepared, places)


def _uri(path: Path | None, default: str) -> str:
    return default if path is None else file_uri(path)


class _Comparison:
    """One comparison, with what the measure stage is made of."""

    def __init__(self, asked: Asked, plan: MeasurePlan, process: EndpointProcess, job: Job) -> None:
        self._asked = asked
        self._plan = plan
        self._process = process
        self._job = job

    def report(self, first: Check) -> Report:
        """Return what holds, after what was found of the model."""
        with DecodingProcess(
            self._job.workdir,
            environ=self._job.environ,
            watch=memory_watch(self._job.system, "the process that reads data"),
        ) as decoding:
            bench = self._bench(decoding)
            checks = [first]
            samples = bench.facts.samples
            if samples is None:
                raise DataError("there is no evaluation data")
            checks.append(data_check(samples.digest, self._asked.result.evaluation_digest))
            found = self._compared(bench)
            checks += self._judged(found)
            if found.state is VariantState.FAILED:
                return Report(checks)
            try:
                point = self._timed(samples.inputs)
            except VariantFailure as failure:
                return Report([*checks, Check("answers", False, str(failure))], found.quality)
        if self._asked.speed is not None and self._asked.point is not None:
            checks.append(speed_check(point, self._asked.point, self._asked.speed))
        where = overhead(point.latency_ms.p50, self._process.times)
        return Report(checks, found.quality, point, where)

    def _bench(self, decoding: DecodingProcess) -> Bench:
        plan, job = self._plan, self._job
        fetching = Fetching(plan, job.blobs, job.environ, job.workdir, job.timings, decoding)
        manifest = PrepareResult(
            source=self._asked.result.source, artifacts=[], artifacts_by_kind={}
        )
        samples = fetching.samples()
        if samples is not None:
            check_sample_count(plan.quality, len(samples.inputs))
        none = Field([], {}, [], prunes=False)
        facts = Facts(
            manifest=manifest,
            hardware=job.system.hardware(job.environ),
            software={},
            ranges=data_ranges(plan.quality),
            samples=samples,
            truth=fetching.references(samples),
            declared=declared_figures(plan.quality),
        )
        return Bench(
            facts=facts,
            field=none,
            files=fetching.files(manifest, none),
            gallery=None,
            attempts=job.attempts(),
            gated=bool(plan.quality),
        )

    def _compared(self, bench: Bench) -> VariantResult:
        """Return the server's outputs compared with the source model's, sample by sample."""
        measured = self._asked.measured
        variant = Variant(
            name=measured.name, runtime=measured.runtime, precision=measured.precision
        )
        trial = Trial(
            variant,
            bench.files.source,
            bench.files.source_path,
            bench.comparison(),
            bench.comparison() if bench.facts.truth else None,
        )
        here = Lineup(self._job, bench)

        def start(name: str, opening: Opening) -> Process:
            return self._process if name == variant.name else here.start(name, opening)

        Lineup(self._job, bench, start).run({variant.name: trial}, [])
        return trial.result([], self._plan.inputs)

    def _judged(self, found: VariantResult) -> Iterator[Check]:
        if found.state is not VariantState.PASSED:
            yield Check("answers", False, found.message or found.state)
        if found.state is not VariantState.FAILED:
            yield from gate_checks(self._plan.quality, found.quality, self._asked.measured)

    def _timed(self, samples: Sequence[Mapping[str, Any]]) -> PointResult:
        """Return the speed of the server alone, one request at a time."""
        plan, benchmark = self._plan, self._plan.benchmark
        point = _objective_point(plan)
        feeds = benchmark_feeds(plan.inputs, point.dimensions, samples)
        self._process.bind(point.name, save_arrays(feeds, self._job.workdir / "point"))
        self._process.take_turn(point.name, seconds=benchmark.warmup_seconds, calls=1)
        self._process.times.clear()
        times = self._process.take_turn(
            point.name, seconds=benchmark.min_duration_seconds, calls=_LEAST_CALLS
        )
        return point_result(point, times, batch_size(plan.inputs, point.dimensions))


def _objective_point(plan: MeasurePlan) -> BenchmarkPoint:
    name = objective_point(plan.objective, plan.benchmark)
    points = benchmark_points(plan.benchmark, plan.dimensions)
    return next((point for point in points if point.name == name), points[0])
