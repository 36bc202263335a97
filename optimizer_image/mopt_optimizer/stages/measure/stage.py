"""The measure stage: build, compare, time and judge on this hardware.

The baseline's FP32 outputs on the evaluation data are the reference of every comparison. With
ground truth, gates are judged by that instead, and the baseline too. Without evaluation data
nothing is compared, and times are taken on seeded noise: a result with an evaluationDigest was
measured on real inputs, one without on noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from mopt_api.auto.int8 import CpuClass, cpu_class
from mopt_api.enums import QualityMetric
from mopt_api.figures import Hardware, VariantState
from mopt_api.jobs.data_statistics import DataWarning
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import MeasurePlan, benchmark_points, objective_point
from mopt_api.jobs.selection import Selection, select
from mopt_api.metrics import METRICS
from mopt_api.objective import Objective
from mopt_optimizer.data.process import DecodingProcess
from mopt_optimizer.data.review import Role, log_warnings, review, review_both
from mopt_optimizer.errors import SpecError
from mopt_optimizer.machine.system import Counters, disturbance
from mopt_optimizer.progress import Log
from mopt_optimizer.quality import (
    ConflictingRange,
    check_sample_count,
    data_ranges,
    declared_figures,
    range_warnings,
)
from mopt_optimizer.stages.history import remember
from mopt_optimizer.stages.report.page import publish
from mopt_optimizer.stages.step_keys import REQUESTED_AT_VARIABLE
from mopt_optimizer.stages.verdict import result_bytes
from mopt_optimizer.stages.watching import memory_watch

from .aiming import with_aims
from .field import field_of
from .gallery import Gallery
from .inputs import Fetching
from .job import Bench, Facts, Job, Results
from .key import content_key, runtime_versions
from .limits import with_limits
from .lineup import Lineup
from .lookup import measured_before
from .peaks import peaks_of
from .trial import Trial
from .under_load import UnderLoad, check_load


class Work(Protocol):
    """The work on the variants of a target."""

    @property
    def software(self) -> Mapping[str, str]:
        """Software that it uses beside the runtimes: names and versions."""
        ...

    def results(self, bench: Bench) -> Results:
        """Return the outcomes of the variants.

        Raises:
            BaselineError: The source model does not run at the sizes asked for.
            SpecError, DataError, StoreError, DiskError
        """
        ...

    def outcome(self, result: MeasureResult) -> str:
        """Return the last log message of the stage."""
        ...


class SideBySide:
    """Compares variants with the source model and times all of them side by side."""

    software: Mapping[str, str] = {}

    def __init__(self, job: Job) -> None:
        self._job = job

    def results(self, bench: Bench) -> Results:
        plan = self._job.plan
        lineup = Lineup(self._job, bench)
        trials, known = lineup.trials()
        points = benchmark_points(plan.benchmark, plan.dimensions)
        baseline = lineup.run(trials, points)
        known |= {name: trial.result(points, plan.inputs) for name, trial in trials.items()}
        results = Results(
            baseline.result(points, plan.inputs),
            [known[v.name] for v in bench.field.variants],
            baseline.output_spans(),
        )
        results = with_limits(results, bench.peaks)
        return self._under_load(bench, [baseline, *trials.values()], results)

    def _under_load(self, bench: Bench, trials: Sequence[Trial], found: Results) -> Results:
        """Return results with figures under load, of all that hold their gates, if asked for."""
        plan = self._job.plan
        if (load := plan.benchmark.load) is None or found.baseline is None:
            return found
        # Not by the constraints: they judge what is measured now.
        gates = plan.model_copy(update={"objective": Objective()})
        judged = _selection(gates, bench.facts, found)
        everyone = [*filter(None, [judged.baseline]), *judged.variants]
        passed = {result.name for result in everyone if result.state is VariantState.PASSED}
        with self._job.timings.step("load", "measuring under load"):
            baseline, *variants = UnderLoad(self._job, bench, load).measured(
                trials, [found.baseline, *found.variants], passed
            )
        return replace(found, baseline=baseline, variants=variants)

    def outcome(self, result: MeasureResult) -> str:
        return f"selected {result.selected}"


class MeasureStage:
    """One run of the stage."""

    def __init__(self, job: Job, work: Work) -> None:
        self._job = job
        self._work = work
        self._decoding = DecodingProcess(
            job.workdir,
            environ=job.environ,
            watch=memory_watch(job.system, "the process that reads data"),
        )
        self._fetching = Fetching(
            job.plan, job.blobs, job.environ, job.workdir, job.timings, self._decoding
        )

    def run(self) -> tuple[MeasureResult, str]:
        """Return the result and the digest it is stored under."""
        with self._decoding:
            return self._run()

    def _run(self) -> tuple[MeasureResult, str]:
        job = self._job
        check_load(job.plan)
        facts = self._facts()
        key = self._key(facts) if job.effort.lasting else None
        if key is not None and (known := measured_before(job.blobs, key, job.plan, job.log)):
            return known[0].model_copy(update={"served_from_store": True}), known[1]
        bench, before = self._bench(facts), job.system.counters()
        with job.timings.step("trials", "opening, comparing and timing"):
            for entry in bench.field.search:
                how = "tried" if entry.taken else "not tried"
                job.log("search", f"{entry.variant} is {how}: {entry.reason}", taken=entry.taken)
            found = self._work.results(bench)
        result = self._result(bench, found, before)
        digest = job.blobs.put_bytes(result_bytes(result))
        if key is not None:
            job.blobs.index_put(key, digest)
            # After the index: a page that fails does not cost the measurement.
            publish(job.blobs, digest, job.plan, job.log)
            remember(job.blobs, facts.manifest, digest, result)
        job.log("measure", self._work.outcome(result), digest=digest)
        return result, digest

    def _key(self, facts: Facts) -> str:
        job = self._job
        return content_key(
            job.plan,
            evaluation_digest=facts.samples.digest if facts.samples else None,
            references_digest=facts.truth.digest if facts.truth else None,
            hardware=facts.hardware,
            software=facts.software,
            requested_at=job.environ.get(REQUESTED_AT_VARIABLE),
        )

    def _facts(self) -> Facts:
        hardware = self._hardware()
        ranges = _ranges(self._job.plan)
        with self._job.timings.step("manifest", "reading what prepare made"):
            manifest = self._fetching.manifest()
        samples = self._fetching.samples()
        if samples is not None:
            check_sample_count(self._job.plan.quality, len(samples.inputs))
        return Facts(
            manifest=manifest.on_cpu(_class_of(hardware)),
            hardware=hardware,
            software={**runtime_versions(), **self._work.software},
            ranges=ranges,
            samples=samples,
            truth=self._fetching.references(samples),
            declared=declared_figures(self._job.plan.quality),
        )

    def _hardware(self) -> Hardware:
        """Return the hardware; this comes first, since nothing else works without the GPU.

        Raises:
            GpuNotFound: The target is of kind GPU, and there is none.
        """
        job = self._job
        accelerator = job.accelerator
        gpu = accelerator and accelerator.required_gpu(job.plan.target, job.environ)
        hardware = job.system.hardware(job.environ, threads=job.plan.benchmark.threads)
        return hardware.model_copy(update={"gpu": gpu})

    def _bench(self, facts: Facts) -> Bench:
        job = self._job
        field = field_of(job.plan, facts.manifest, facts.hardware, facts.software)
        with job.timings.step("fetch", "fetching the model and its prepared forms"):
            files = self._fetching.files(facts.manifest, field)
        return Bench(
            facts=facts,
            field=field,
            files=files,
            gallery=_gallery(job.plan, facts.ranges) if job.effort.lasting else None,
            attempts=job.attempts(),
            gated=bool(job.plan.quality),
            peaks=peaks_of(job, facts.hardware),
        )

    def _result(self, bench: Bench, found: Results, before: Counters) -> MeasureResult:
        plan, facts = self._job.plan, bench.facts
        disturbed = disturbance(before, self._job.system.counters())
        selection = _selection(plan, facts, found)
        samples, truth = facts.samples, facts.truth
        return MeasureResult(
            target=plan.target,
            source=facts.manifest.source,
            prepared=plan.prepared,
            hardware=facts.hardware,
            software=facts.software,
            baseline=selection.baseline,
            variants=with_aims(selection.variants, facts.manifest, plan.kind, plan.quality),
            selected=selection.selected,
            verdict=selection.verdict,
            objective_point=(
                objective_point(plan.objective, plan.benchmark) if found.baseline else None
            ),
            evaluation_digest=samples.digest if samples else None,
            evaluation_samples=len(samples.inputs) if samples else None,
            reference=facts.reference,
            references_digest=truth.digest if truth else None,
            calibration_digest=facts.manifest.calibration_digest,
            search=bench.field.search,
            warnings=self._warnings(facts, found),
            outputs=found.outputs,
            peaks=bench.peaks,
            disturbance=disturbed,
            seconds=self._job.timings.seconds,
            evaluation_names=samples.names if samples else [],
            crops=self._stored(bench.gallery),
            measured_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            plan=plan.to_api(),
        )

    def _warnings(self, facts: Facts, found: Results) -> list[DataWarning]:
        """Return what looks wrong with the data; log what prepare has not logged."""
        fresh = range_warnings(self._job.plan.quality, found.outputs)
        if (samples := facts.samples) is not None:
            layers = facts.manifest.first_layers
            fresh += review(Role.EVALUATION, samples.statistics, samples.patches, layers)
            if (calibration := facts.manifest.calibration) is not None:
                fresh += review_both(calibration, samples.statistics)
        log_warnings(fresh, self._job.log)
        return [*facts.manifest.warnings, *fresh]

    def _stored(self, gallery: Gallery | None) -> str | None:
        """Store the pictures, if there are any; return their digest."""
        crops = gallery.crops() if gallery else None
        if crops is None:
            return None
        return self._job.blobs.put_bytes(crops.model_dump_json(by_alias=True).encode())


def _class_of(hardware: Hardware) -> CpuClass:
    return cpu_class(hardware.architecture or "", hardware.cpu_features)


def _ranges(plan: MeasurePlan) -> Mapping[QualityMetric, float]:
    try:
        return data_ranges(plan.quality)
    except ConflictingRange as error:
        raise SpecError(str(error)) from error


def _gallery(plan: MeasurePlan, ranges: Mapping[QualityMetric, float]) -> Gallery | None:
    if plan.evaluation is None:
        return None
    spans = [span for metric, span in ranges.items() if METRICS[metric].needs_range]
    return Gallery(spans[0] if spans else 1.0, plan.evaluation.images)


def _selection(plan: MeasurePlan, facts: Facts, found: Results) -> Selection:
    return select(
        found.baseline,
        found.variants,
        gates=plan.quality,
        objective=plan.objective,
        benchmark=plan.benchmark,
        reference=facts.reference,
    )


def measure(
    plan: MeasurePlan, environ: Mapping[str, str], workdir: Path, log: Log
) -> tuple[MeasureResult, str]:
    """Measure a target; store result.json after everything that it names, then its page.

    An equal measurement that is in the store already is returned instead, unless
    MOPT_REQUESTED_AT in environ differs from its own.

    Args:
        environ: Holds the stores' credentials; variants' processes get none of them.
        workdir: Exists, empty, ours.

    Returns:
        The result, and the digest of result.json in the output store.

    Raises:
        GpuNotFound: The target is of kind GPU, and there is none.
        BaselineError: The source model does not run at the sizes asked for.
        SpecError: Gates that do not fit the model's outputs; a variant that was not prepared.
        DataError, DimensionError: Evaluation data or ground truth that cannot be used.
        StoreError, DiskError
    """
    job = Job(plan, environ, workdir, log)
    return MeasureStage(job, SideBySide(job)).run()
