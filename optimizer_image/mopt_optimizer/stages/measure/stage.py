"""The measure stage: build, compare, time and judge on the hardware at hand.

The baseline's FP32 outputs on the evaluation data are the reference of every comparison. With
ground truth, gates are judged by that instead, and the baseline too. Without evaluation data
nothing is compared, and times are taken on seeded noise: a result with an evaluationDigest was
measured on real inputs, one without on noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from mopt_api.artifacts import Artifact
from mopt_api.figures import Hardware, QualityReference, VariantState
from mopt_api.jobs.prepare_result import PrepareResult

from mopt_api.enums import QualityMetric, TargetKind
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.plan import (
    Credentials,
    MeasurePlan,
    baseline_variant,
    benchmark_points,
    objective_point,
)
from mopt_api.jobs.selection import select
from mopt_api.spec import BenchmarkPoint
from mopt_api.variants import Variant
from mopt_optimizer.data.images import Samples
from mopt_optimizer.data.references import References
from mopt_optimizer.errors import SpecError
from mopt_optimizer.forms.form import SOURCE
from mopt_optimizer.machine.nvidia import required_gpu, serious_throttling
from mopt_optimizer.machine.system import System, disturbance
from mopt_optimizer.progress import Log, Timings
from mopt_optimizer.quality import Comparison, ConflictingRange, Metric, data_ranges, fitting_gates
from mopt_optimizer.runtimes.tensorrt.plan import engine_shapes
from mopt_optimizer.stages.artifacts import put_engine
from mopt_optimizer.stages.report.page import publish
from mopt_optimizer.stages.report.stage import result_bytes
from mopt_optimizer.store.base import open_store
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.timing.disturbance import judged_counters

from .attempts import JOB_UID_VARIABLE, Attempts
from .field import Field, field_of, without_figures
from .gallery import Gallery
from .inputs import Fetching, Files
from .key import content_key, runtime_versions
from .lookup import measured_before
from .process import Opening, VariantProcess
from .trial import Trial
from .trials import Setup, Trials

REQUESTED_AT_VARIABLE = "MOPT_REQUESTED_AT"

# What is left holds the parent, the arrays of one sample and the runtimes' scratch memory.
_MEMORY_SHARE = 0.6


@dataclass(frozen=True)
class Bench:
    """What the trials of a run are made of.

    Attributes:
        ranges: Quality metrics to compute, each with its data range.
        gallery: Collects pictures; None for none.
    """

    field: Field
    manifest: PrepareResult
    files: Files
    samples: Samples | None
    truth: References | None
    hardware: Hardware
    ranges: Mapping[QualityMetric, float]
    gallery: Gallery | None
    attempts: Attempts


class Measurement:
    """One run of the stage; also what build_only.EngineBuilding does otherwise."""

    def __init__(
        self, plan: MeasurePlan, environ: Mapping[str, str], workdir: Path, log: Log
    ) -> None:
        self._plan = plan
        self._environ = environ
        self._workdir = workdir
        self._log = log
        self._timings = Timings(log)
        store, prefix = open_store(plan.output_uri, Credentials.OUTPUT, environ)
        self._blobs = Blobs(store, prefix)
        self._fetching = Fetching(plan, self._blobs, environ, workdir, self._timings)
        self._attempts = partial(Attempts, store, prefix, environ.get(JOB_UID_VARIABLE), log)
        self._system = System()
        self._on_gpu = plan.kind is TargetKind.GPU

    def run(self) -> tuple[MeasureResult, str]:
        """Return the result and the digest it is stored under."""
        plan, timings = self._plan, self._timings
        # At once: without it all else would be for nothing.
        gpu = required_gpu(plan.target, self._environ) if self._on_gpu else None
        try:
            ranges = data_ranges(plan.quality)
        except ConflictingRange as error:
            raise SpecError(str(error)) from error
        with timings.step("manifest", "reading what prepare made"):
            manifest = self._fetching.manifest()
        hardware = self._system.hardware(self._environ).model_copy(update={"gpu": gpu})
        if plan.benchmark.threads is not None:
            hardware = hardware.model_copy(update={"threads": plan.benchmark.threads})
        software = self._software()
        samples = self._fetching.samples()
        truth = self._fetching.references(samples)
        key = content_key(
            plan,
            evaluation_digest=samples.digest if samples else None,
            references_digest=truth.digest if truth else None,
            hardware=hardware,
            software=software,
            requested_at=self._environ.get(REQUESTED_AT_VARIABLE),
        )
        if known := measured_before(self._blobs, key, plan, self._log):
            return known

        field = field_of(plan, manifest, hardware, software)
        with timings.step("fetch", "fetching the model and its prepared forms"):
            files = self._fetching.files(manifest, field)
        before = self._system.counters()
        with timings.step("trials", "opening, comparing and timing"):
            gallery = self._gallery(ranges)
            self._tell(field)
            bench = Bench(
                field=field,
                manifest=manifest,
                files=files,
                samples=samples,
                truth=truth,
                hardware=hardware,
                ranges=ranges,
                gallery=gallery,
                attempts=self._attempts(),
            )
            baseline, variants = self._try(bench)
        disturbed = disturbance(before, self._system.counters())
        reference = None
        if samples:
            reference = QualityReference.GROUND_TRUTH if truth else QualityReference.BASELINE
        selection = select(
            baseline,
            variants,
            gates=plan.quality,
            objective=plan.objective,
            benchmark=plan.benchmark,
            reference=reference,
        )
        result = MeasureResult(
            target=plan.target,
            source=manifest.source,
            prepared=plan.prepared,
            hardware=hardware,
            software=software,
            baseline=selection.baseline,
            variants=selection.variants,
            selected=selection.selected,
            objective_point=objective_point(plan.objective, plan.benchmark) if baseline else None,
            evaluation_digest=samples.digest if samples else None,
            evaluation_samples=len(samples.inputs) if samples else None,
            reference=reference,
            references_digest=truth.digest if truth else None,
            search=field.search,
            disturbance=disturbed,
            seconds=timings.seconds,
            evaluation_names=samples.names if samples else [],
            crops=self._stored(gallery),
            measured_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            plan=plan.to_api(),
        )
        digest = self._blobs.put_bytes(result_bytes(result))
        self._blobs.index_put(key, digest)
        # After the index: a page that fails does not cost the measurement.
        publish(self._blobs, digest, plan, self._log)
        self._log("measure", self._outcome(result), digest=digest)
        return result, digest

    def _software(self) -> dict[str, str]:
        return runtime_versions()

    def _outcome(self, result: MeasureResult) -> str:
        return f"selected {result.selected}"

    def _tell(self, field: Field) -> None:
        for entry in field.search:
            how = "tried" if entry.taken else "not tried"
            self._log("search", f"{entry.variant} is {how}: {entry.reason}", taken=entry.taken)

    def _gallery(self, ranges: Mapping[QualityMetric, float]) -> Gallery | None:
        if self._plan.evaluation is None:
            return None
        spans = [span for metric, span in ranges.items() if Metric(metric.value).needs_range]
        return Gallery(spans[0] if spans else 1.0, self._plan.evaluation.images)

    def _stored(self, gallery: Gallery | None) -> str | None:
        """Store the pictures, if there are any; return their digest."""
        crops = gallery.crops() if gallery else None
        return (
            self._blobs.put_bytes(crops.model_dump_json(by_alias=True).encode()) if crops else None
        )

    def _file_of(
        self, variant: Variant, manifest: PrepareResult, files: Files
    ) -> tuple[Artifact, Path]:
        name = manifest.artifacts_on(self._plan.kind).get(variant.name)
        if name == SOURCE:
            return files.source, files.source_path
        if name is None or name not in files.prepared:
            raise SpecError(f"variant {variant.name} is not among those that prepare made")
        return files.prepared[name]

    def _try(self, bench: Bench) -> tuple[VariantResult | None, list[VariantResult]]:
        """Return the results of the baseline and, in the plan's order, of the variants."""
        inputs = self._plan.inputs
        trials, known = self._trials(bench)
        points = benchmark_points(self._plan.benchmark, self._plan.dimensions)
        baseline = self._run_trials(bench, trials, points=points, prunes=bench.field.prunes)
        known |= {name: trial.result(points, inputs) for name, trial in trials.items()}
        return baseline.result(points, inputs), [known[v.name] for v in bench.field.variants]

    def _trials(self, bench: Bench) -> tuple[dict[str, Trial], dict[str, VariantResult]]:
        """Return who is tried, and the results of the others by name."""
        known, trials = dict(bench.field.known), dict[str, Trial]()
        for variant in bench.field.variants:
            name = variant.name
            if name in known:
                continue
            if (failure := bench.attempts.failure(name)) is not None:
                known[name] = without_figures(
                    variant, VariantState.FAILED, failure.reason, str(failure)
                )
                continue
            artifact, path = self._file_of(variant, bench.manifest, bench.files)
            trials[name] = Trial(
                variant,
                artifact,
                path,
                self._comparison(bench),
                self._comparison(bench) if bench.truth else None,
                # Which kernels TensorRT takes depends on the memory that is free.
                alone=self._on_gpu or bench.attempts.alone(name),
            )
        return trials, known

    def _comparison(self, bench: Bench) -> Comparison:
        return Comparison(bench.ranges, required=bool(self._plan.quality))

    def _run_trials(
        self,
        bench: Bench,
        trials: Mapping[str, Trial],
        *,
        points: list[BenchmarkPoint],
        prunes: bool = False,
    ) -> Trial:
        """Compare with the model as it came, and time at the points, if there are any.

        Returns:
            The model as it came.
        """
        plan, files, samples, truth = self._plan, bench.files, bench.samples, bench.truth
        baseline = Trial(
            baseline_variant(plan.model.format),
            files.source,
            files.source_path,
            Comparison({}),
            self._comparison(bench) if truth else None,
        )
        scratch = self._workdir / "arrays"
        scratch.mkdir(parents=True, exist_ok=True)
        memory = bench.hardware.memory_bytes
        setup = Setup(
            inputs=plan.inputs,
            samples=samples.inputs if samples else [],
            points=points,
            warmup_seconds=plan.benchmark.warmup_seconds,
            min_duration_seconds=plan.benchmark.min_duration_seconds,
            threads=bench.hardware.threads or 1,
            memory_budget=int(memory * _MEMORY_SHARE) if memory else None,
            start=self._starter(bench.attempts),
            attempts=bench.attempts,
            counters=judged_counters(
                self._system.counters, bench.hardware.threads or 1, self._system.usable_cpus()
            ),
            workdir=scratch,
            log=self._log,
            truth=truth.read if truth else None,
            gallery=bench.gallery,
            prunes=prunes,
            gpu=self._on_gpu,
            shapes=engine_shapes(plan.inputs, plan.dimensions),
            put_engine=partial(put_engine, self._blobs),
            throttling=serious_throttling if self._on_gpu else tuple,
        )
        with fitting_gates():
            Trials(setup, baseline, list(trials.values())).run()
        return baseline

    def _starter(self, attempts: Attempts) -> Callable[[Opening], VariantProcess]:
        folder = self._workdir / "processes"
        folder.mkdir(parents=True, exist_ok=True)
        memory_share = attempts.watching(self._system.memory_share)

        def start(opening: Opening) -> VariantProcess:
            return VariantProcess(
                opening,
                workdir=folder,
                environ=self._environ,
                memory_share=memory_share,
            )

        return start


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
        BaselineError: The model as it came does not run at the sizes asked for.
        SpecError: Gates that do not fit the model's outputs; a variant that was not prepared.
        DataError, DimensionError: Evaluation data or ground truth that cannot be used.
        StoreError, DiskError
    """
    return Measurement(plan, environ, workdir, log).run()
