"""Who is tried: a trial for each variant of the field, and the results of the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mopt_api.artifacts import Artifact
from mopt_api.benchmark import BenchmarkPoint
from mopt_api.enums import ObjectiveMetric
from mopt_api.figures import VariantState
from mopt_api.jobs.measure_result import VariantResult
from mopt_api.jobs.plan import baseline_variant
from mopt_api.jobs.winner import compared_figure
from mopt_api.variants import Variant
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.errors import SpecError
from mopt_optimizer.forms.form import SOURCE
from mopt_optimizer.machine.accelerators import Accelerator
from mopt_optimizer.quality import Comparison, fitting_gates
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.tensorrt.plan import engine_shapes
from mopt_optimizer.stages.artifacts import put_engine
from mopt_optimizer.timing.disturbance import judged_counters

from .field import without_figures
from .job import Bench, Job
from .process import VariantProcess
from .setup import OnGpu, Sampling, Setup, Timing
from .trial import Process, Start, Trial
from .trials import Trials

# What is left holds the parent, the arrays of one sample and the runtimes' scratch memory.
_MEMORY_SHARE = 0.6


class Lineup:
    """The trials of a run.

    Args:
        start: Starts what a trial computes with; None is a process on this machine.
    """

    def __init__(self, job: Job, bench: Bench, start: Start | None = None) -> None:
        self._job = job
        self._bench = bench
        self._started = start or self.start

    def trials(self) -> tuple[dict[str, Trial], dict[str, VariantResult]]:
        """Return who is tried, and the results of the others by name.

        Raises:
            SpecError: A variant that prepare made nothing for.
        """
        bench = self._bench
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
            artifact, path = self._file_of(variant)
            trials[name] = Trial(
                variant,
                artifact,
                path,
                bench.comparison(),
                bench.comparison() if bench.facts.truth else None,
                # Which kernels TensorRT takes depends on the memory that is free.
                alone=self._job.on_gpu or bench.attempts.alone(name),
            )
        return trials, known

    def run(self, trials: Mapping[str, Trial], points: list[BenchmarkPoint]) -> Trial:
        """Compare trials with the source model, and time them at the points, if there are any.

        Returns:
            The source model, which takes part.
        """
        bench, files = self._bench, self._bench.files
        baseline = Trial(
            baseline_variant(self._job.plan.model.format),
            files.source,
            files.source_path,
            Comparison({}),
            bench.comparison() if bench.facts.truth else None,
        )
        with fitting_gates():
            Trials(self._setup(points), baseline, list(trials.values())).run()
        return baseline

    def _file_of(self, variant: Variant) -> tuple[Artifact, Path]:
        files = self._bench.files
        name = self._bench.facts.manifest.artifacts_on(self._job.plan.kind).get(variant.name)
        if name == SOURCE:
            return files.source, files.source_path
        if name is None or name not in files.prepared:
            raise SpecError(f"variant {variant.name} is not among those that prepare made")
        return files.prepared[name]

    def _setup(self, points: list[BenchmarkPoint]) -> Setup:
        job, facts = self._job, self._bench.facts
        plan, threads = job.plan, facts.hardware.threads or 1
        scratch = job.workdir / "arrays"
        scratch.mkdir(parents=True, exist_ok=True)
        memory = facts.hardware.memory_bytes
        return Setup(
            sampling=Sampling(
                inputs=plan.inputs,
                samples=facts.samples.inputs if facts.samples else list[Inputs](),
                truth=facts.truth.read if facts.truth else None,
                names=facts.samples.names if facts.samples else (),
                workdir=scratch,
            ),
            timing=Timing(
                points=points,
                warmup_seconds=plan.benchmark.warmup_seconds,
                min_duration_seconds=plan.benchmark.min_duration_seconds,
                counters=judged_counters(job.system.counters, threads, job.system.usable_cpus()),
                prunes=bool(points) and self._bench.field.prunes,
                least_calls=job.effort.least_calls,
                repetitions=job.effort.repetitions,
                longest_duration_seconds=plan.benchmark.longest_duration_seconds,
                figure=compared_figure(plan.objective.metric, under_load=False)
                or ObjectiveMetric.LATENCY_P50,
                gates=plan.quality,
            ),
            gpu=self._gpu(job.accelerator) if job.accelerator else None,
            threads=threads,
            memory_budget=int(memory * _MEMORY_SHARE) if memory else None,
            start=self._started,
            attempts=self._bench.attempts,
            gallery=self._bench.gallery,
            log=job.log,
        )

    def _gpu(self, accelerator: Accelerator) -> OnGpu:
        plan, blobs = self._job.plan, self._job.blobs
        return OnGpu(
            shapes=engine_shapes(plan.inputs, plan.dimensions),
            put_engine=lambda engine: put_engine(blobs, engine),
            throttling=accelerator.serious_throttling,
        )

    def start(self, name: str, opening: Opening) -> Process:
        """Return a process of this machine that has a model open."""
        folder = self._job.workdir / "processes"
        folder.mkdir(parents=True, exist_ok=True)
        return VariantProcess(
            name,
            opening,
            workdir=folder,
            environ=self._job.environ,
            read=[self._job.workdir / "arrays"],
            memory_share=self._bench.attempts.watching(self._job.system.memory_share),
        )
