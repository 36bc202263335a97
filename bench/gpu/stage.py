"""A GPU target's Jobs on this machine: prepare, then measure, with their own report."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mopt_api.enums import TargetKind
from mopt_api.jobs.plan import MeasurePlan, PreparePlan, measure_plan, prepare_plan
from mopt_api.spec import ModelOptimizationSpec
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.stages.prepare.stage import prepare

from .models import Bundle
from .rows import Writer

# Of the store and the folders that plans name here; the API's schema takes s3:// alone.
_STAND_IN = "s3://local"

_VARIANTS: list[dict[str, str]] = [
    {"name": "pytorch-fp16-compiled", "precision": "FP16", "torchMode": "Compiled"},
    {"name": "pytorch-bf16-compiled", "precision": "BF16", "torchMode": "Compiled"},
    {"name": "pytorch-fp32-compiled", "precision": "FP32", "torchMode": "Compiled"},
    {"name": "onnxruntime-fp32", "runtime": "ONNXRuntime", "precision": "FP32"},
    {"name": "onnxruntime-fp16", "runtime": "ONNXRuntime", "precision": "FP16"},
    {"name": "tensorrt-fp32", "runtime": "TensorRT", "precision": "FP32"},
    {"name": "tensorrt-fp16", "runtime": "TensorRT", "precision": "FP16"},
]
_LINEAR: list[dict[str, str]] = [
    {"name": "pytorch-fp8", "precision": "FP8"},
    {"name": "pytorch-int8", "precision": "INT8"},
]


Chosen = Callable[[str], bool]


def _every(_variant: str) -> bool:
    return True


def spec_of(
    name: str, bundle: Bundle, program: Path, only: Chosen = _every
) -> ModelOptimizationSpec:
    """Return the resource that a user would apply for a model.

    The variants are listed, not Auto's: making INT8 for TensorRT takes minutes that are not there.

    Args:
        only: Which of them, by name.
    """
    model = bundle.model(name)
    label, shape = model.input
    metric, minimum, span = model.gate
    axes = {
        axis: dict(zip(("min", "opt", "max"), s, strict=True)) for axis, s in model.sizes.items()
    }
    point = {"batch": 1} | {axis: sizes["opt"] for axis, sizes in axes.items()}
    large = point | {"batch": model.batches[1]}
    listed = _VARIANTS if model.images else [*_VARIANTS, *_LINEAR]
    data = {"uri": f"{_STAND_IN}/data/", "samples": 8}
    return ModelOptimizationSpec.model_validate(
        {
            "model": {
                "uri": f"{_STAND_IN}/{program.name}",
                "sha256": hashlib.sha256(program.read_bytes()).hexdigest(),
                "format": "ExportedProgram",
            },
            "inputs": [{"name": label, "shape": list(shape)}],
            "dimensions": {"batch": {"min": 1, "opt": 1, "max": model.batches[1]}, **axes},
            "data": {"evaluation": data},
            "variants": [{"runtime": "PyTorch"} | one for one in listed if only(one["name"])],
            "quality": [{"metric": metric, "minimum": minimum, "dataRange": span}],
            "benchmark": {
                "warmupSeconds": 0.5,
                "minDurationSeconds": 1,
                "points": [
                    {"name": "single", "dimensions": point},
                    {"name": "large", "dimensions": large},
                ],
            },
            "objective": {"metric": "LatencyP50", "point": "single"},
        }
    )


def plans_of(
    name: str,
    bundle: Bundle,
    workdir: Path,
    kind: TargetKind = TargetKind.GPU,
    only: Chosen = _every,
) -> tuple[PreparePlan, ModelOptimizationSpec, str]:
    """Return what the prepare Job is told, the spec, and the uri of the store."""
    program = bundle.program_file(name, workdir)
    spec = spec_of(name, bundle, program, only)
    output = f"file://{workdir}/{name}-output"
    plan = prepare_plan(spec, output, kinds=[kind])
    wire = plan.to_api()
    wire["model"]["uri"] = program.resolve().as_uri()
    wire["evaluation"]["uri"] = bundle.data(name, "evaluation", workdir).resolve().as_uri()
    return PreparePlan.model_validate(wire), spec, output


def run_stage(
    name: str,
    bundle: Bundle,
    workdir: Path,
    out: Path,
    write: Writer,
    kind: TargetKind = TargetKind.GPU,
    only: Chosen = _every,
) -> None:
    """Prepare and measure a model; write its result as a row, its report into OUT.

    Args:
        kind: GPU; the CPU in tests of what surrounds it.
        only: Which variants, by name; all but in tests.

    Raises:
        OptimizerError
    """
    pages: list[str] = []

    def log(step: str, message: str, **fields: object) -> None:
        print(f"{step}: {message}", flush=True)
        if step == "page":
            pages.append(str(fields["uri"]))

    told, spec, output = plans_of(name, bundle, workdir, kind, only)
    folder = workdir / f"{name}-work"
    folder.mkdir(exist_ok=True)
    manifest, digest = prepare(told, dict(os.environ), folder, log)
    write("prepared", model=name, seconds=manifest.seconds, software=manifest.software)
    plan = measure_plan(spec, target=name, prepared=digest, output_uri=output, kind=kind)
    wire = plan.to_api()
    wire["model"]["uri"] = told.model.uri
    wire["evaluation"]["uri"] = bundle.data(name, "evaluation", workdir).resolve().as_uri()
    plan = MeasurePlan.model_validate(wire)
    result, _ = measure(plan, dict(os.environ), folder, log)
    write("stage", model=name, result=_short(result.to_api()))
    for uri in pages:
        page = Path(unquote(urlsplit(uri).path))
        shutil.copyfile(page, out / f"report-{name.replace('_', '-')}.html")


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without what is in the report alone."""
    return {key: value for key, value in result.items() if key not in ("plan", "crops")}
