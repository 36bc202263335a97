"""The measure stage of a BuildOnly target: TensorRT engines for GPUs elsewhere.

Nothing is timed, and no engine is run. Its quality is known all the same: ONNX Runtime computes on
the CPU what the engine computes, from the typed ONNX file that it is built from, so gates are
judged by that. An engine that misses one is built too: other gates may take it, without a Job.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mopt_api.auto.unsupported import unsupported_on_gpu
from mopt_api.enums import ExecutionProvider, Runtime
from mopt_api.figures import VariantReason, VariantState
from mopt_api.jobs.measure_result import (
    QUALITY_OF_ENGINE,
    MeasureResult,
    OutputSpan,
    VariantResult,
)
from mopt_api.jobs.plan import MeasurePlan
from mopt_api.variants import Variant
from mopt_optimizer.errors import (
    DiskError,
    EngineOutOfMemory,
    OptimizerError,
    SpecError,
    TensorRTNotInstalled,
    VariantFailure,
)
from mopt_optimizer.forms.form import FP32
from mopt_optimizer.progress import Log
from mopt_optimizer.runtimes.tensorrt.backends import Backend, BackendName, find_backend
from mopt_optimizer.runtimes.tensorrt.plan import engine_shapes
from mopt_optimizer.sandbox import ChildDied, answered, run_child
from mopt_optimizer.stages.artifacts import identity, made_engine, model_files, put_engine
from mopt_optimizer.stages.measure.field import without_figures
from mopt_optimizer.stages.measure.job import Bench, Job, Results
from mopt_optimizer.stages.measure.lineup import Lineup
from mopt_optimizer.stages.measure.process import exit_failure, memory_failure
from mopt_optimizer.stages.measure.stage import MeasureStage
from mopt_optimizer.stages.measure.trial import Trial
from mopt_optimizer.stages.step_keys import REQUESTED_AT_VARIABLE, engine_key, software_versions
from mopt_optimizer.stages.steps import EngineEntry, StepCache

from .worker import ENGINE_FILE, EngineAnswer, EngineRequest

_CHILD = "mopt_optimizer.stages.engines.worker"
BUILD_SECONDS = 1800.0
"""Longest build of one engine: the builder measures nothing here, and is done within a minute or
so for each GPU."""


def build_engines(
    plan: MeasurePlan, environ: Mapping[str, str], workdir: Path, log: Log
) -> tuple[MeasureResult, str]:
    """Build a target's engines; store result.json after everything that it names, then its page.

    Args:
        plan: Of kind BuildOnly.
        environ: Holds the stores' credentials; the processes that build get none of them.
        workdir: Exists, empty, ours.

    Returns:
        The result, and the digest of result.json in the output store.

    Raises:
        SpecError: There is no TensorRT for RTX here, or it does not build for these GPUs.
        As measure.
    """
    job = Job(plan, environ, workdir, log)
    return MeasureStage(job, Engines(job)).run()


class Engines:
    """Builds engines and compares what they compute, in ONNX Runtime. See stage.Work."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._plan = job.plan
        self._backend = _backend(job.plan.compute_capabilities)
        self._cache = StepCache(job.blobs, job.log, stage="build")

    @property
    def software(self) -> Mapping[str, str]:
        return {self._backend.name.value: self._backend.version}

    def outcome(self, result: MeasureResult) -> str:
        built = sum(variant.state is VariantState.BUILT for variant in result.variants)
        return f"{built} engines are built and miss no gate"

    def results(self, bench: Bench) -> Results:
        targets = {v.name: self._targets(v) for v in bench.field.variants}
        beyond = {
            v.name: without_figures(
                v, VariantState.SKIPPED, unsupported.reason, unsupported.message
            )
            for v in bench.field.variants
            if not targets[v.name]
            and (unsupported := unsupported_on_gpu(v, self._plan.compute_capabilities)) is not None
        }
        field = replace(bench.field, known=bench.field.known | beyond)
        lineup = Lineup(self._job, replace(bench, field=field))
        trials, known = lineup.trials()
        outputs: list[OutputSpan] = []
        if bench.facts.samples is not None:
            stand_ins = [replace(t, variant=_on_cpu(t.variant)) for t in trials.values()]
            trials = {trial.name: trial for trial in stand_ins}
            outputs = lineup.run(trials, points=[]).output_spans()
        for variant in field.variants:
            if (trial := trials.get(variant.name)) is not None:
                known[variant.name] = self._built(variant, trial, targets[variant.name], bench)
        return Results(None, [known[variant.name] for variant in field.variants], outputs)

    def _targets(self, variant: Variant) -> list[str]:
        """Return those of the plan's compute capabilities that have a variant's precision."""
        wanted = self._plan.compute_capabilities
        return [one for one in wanted if unsupported_on_gpu(variant, [one]) is None]

    def _built(
        self, variant: Variant, trial: Trial, targets: list[str], bench: Bench
    ) -> VariantResult:
        """Return the outcome of a variant whose outputs have been compared."""
        computed = trial.result([], self._plan.inputs).model_copy(
            update={"runtime": variant.runtime, "artifact": None, "peak_memory_bytes": None}
        )
        failure = trial.failure
        if failure is not None and failure.reason is VariantReason.NON_FINITE_OUTPUT:
            return computed
        started = time.monotonic()
        try:
            entry = self._engine(variant, trial, targets, bench)
        except VariantFailure as error:
            self._job.log("variant", f"{variant.name} failed: {error}", reason=error.reason)
            return without_figures(variant, VariantState.FAILED, error.reason, str(error))
        judged = {
            "state": VariantState.BUILT,
            "reason": None,
            "message": self._message(bench, failure, targets),
        }
        return computed.model_copy(
            update={
                **({} if trial.rejection is not None else judged),
                "artifact": entry.artifact,
                "layer_datatypes": entry.layer_datatypes,
                "seconds": round(trial.seconds + time.monotonic() - started, 3),
            }
        )

    def _message(self, bench: Bench, failure: VariantFailure | None, targets: list[str]) -> str:
        message = QUALITY_OF_ENGINE
        if bench.facts.samples is None:
            message = "its quality is not known: there is no data.evaluation"
        elif failure is not None:
            message = f"its quality is not known, ONNX Runtime does not run its file: {failure}"
        if targets != self._plan.compute_capabilities:
            message = f"for {', '.join(targets)} only; {message}"
        return message[:1024]

    def _engine(
        self, variant: Variant, trial: Trial, targets: list[str], bench: Bench
    ) -> EngineEntry:
        """Return the engine of a prepared file: the stored one, or one that is built now.

        Raises:
            VariantFailure: TensorRT refuses the model, or its process fails.
        """
        plan = self._plan
        key = engine_key(
            identity(trial.artifact),
            precision=variant.precision,
            shapes=engine_shapes(plan.inputs, plan.dimensions),
            compute_capabilities=targets,
            tensorrt=str(self._backend),
            software=software_versions(),
            requested_at=self._job.environ.get(REQUESTED_AT_VARIABLE),
        )
        entry = self._cache.engine(key)
        if entry is None:
            with self._job.timings.step(variant.name, f"building for {', '.join(targets)}"):
                entry = self._build(key, variant, trial, targets, bench)
        if entry.error is not None:
            raise VariantFailure(VariantReason.BUILD_FAILED, entry.error)
        return entry

    def _build(
        self, key: str, variant: Variant, trial: Trial, targets: list[str], bench: Bench
    ) -> EngineEntry:
        plan = self._plan
        fp32 = [made.artifact for made in bench.facts.manifest.artifacts if made.name == FP32]
        request = EngineRequest(
            onnx=str(trial.path),
            source_digest=(*fp32, trial.artifact)[0].digest,
            precision=variant.precision,
            inputs=plan.inputs,
            dimensions=plan.dimensions,
            compute_capabilities=targets,
        )
        folder = self._job.workdir / "engines" / variant.name
        folder.mkdir(parents=True)
        share = bench.attempts.watching(self._job.system.memory_share)

        def watch() -> None:
            if (full := memory_failure(share())) is not None:
                raise full

        try:
            with bench.attempts.working(variant.name):
                answer = answered(
                    EngineAnswer,
                    run_child(
                        _CHILD,
                        request.to_api(),
                        folder,
                        read=model_files(trial.path),
                        timeout=BUILD_SECONDS,
                        environ=self._job.environ,
                        log=self._job.log,
                        watch=watch,
                    ),
                )
        except ChildDied as error:
            if error.timed_out:
                raise VariantFailure(
                    VariantReason.TIMED_OUT, f"no engine within {BUILD_SECONDS:g} s"
                ) from error
            raise exit_failure(error.returncode, error.ended) from error
        except DiskError:
            raise
        except EngineOutOfMemory as error:
            raise VariantFailure(VariantReason.OUT_OF_MEMORY, str(error)) from error
        except OptimizerError as error:
            refused = EngineEntry(key=key, name=variant.name, seconds=0.0, error=str(error))
            return self._cache.put(refused)
        for warning in answer.warnings:
            self._job.log("build", f"{variant.name}: {warning}", variant=variant.name)
        return self._cache.put(
            EngineEntry(
                key=key,
                name=variant.name,
                artifact=put_engine(self._job.blobs, made_engine(folder, ENGINE_FILE)),
                seconds=answer.seconds,
                layer_datatypes=answer.layer_datatypes,
            )
        )


def _backend(compute_capabilities: list[str]) -> Backend:
    """Return TensorRT for RTX.

    Raises:
        SpecError: It is not here, or does not build for one of the GPUs.
    """
    try:
        backend = find_backend(BackendName.TENSORRT_RTX)
    except TensorRTNotInstalled as error:
        raise SpecError(f"the image of the target's profile builds no engines: {error}") from error
    if unknown := [one for one in compute_capabilities if one not in backend.targets]:
        raise SpecError(
            f"computeCapabilities {', '.join(unknown)} of the target's profile: {backend} builds "
            f"for {', '.join(backend.targets)}"
        )
    return backend


def _on_cpu(variant: Variant) -> Variant:
    """Return what computes on the CPU as the engine of a variant does on its GPU."""
    return variant.model_copy(
        update={
            "runtime": Runtime.ONNX_RUNTIME,
            "execution_provider": ExecutionProvider.CPU,
            "quantization": None,
        }
    )
