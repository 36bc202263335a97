"""Every supported runtime and precision through both Jobs' entry point, on a real small model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from present import present

from mopt_api.enums import Precision, Runtime
from mopt_api.figures import VariantReason
from mopt_api.jobs.plan import PLAN_VARIABLE, JobPlan, measure_plan, prepare_plan
from mopt_api.jobs.termination import MeasureSummary, PrepareSummary, decode
from mopt_api.runtimes import RUNTIMES
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.variants import Variant
from mopt_optimizer.machine.compilers import compiler_version
from mopt_optimizer.machine.system import System, has_native_bf16

pytestmark = pytest.mark.optimizer

NATIVE_BF16 = has_native_bf16(System().hardware({}).cpu_features)
COMPILER = compiler_version()
RUNS_ON_CPUS = [
    variant
    for runtime, info in RUNTIMES.items()
    for precision in info.precisions
    # PyTorch FP32 is the baseline; the spec holds twelve.
    if (runtime, precision) != (Runtime.PYTORCH, Precision.FP32)
    and not (
        variant := Variant(
            name=f"{runtime}-{precision}".lower(), runtime=runtime, precision=precision
        )
    ).gpu_only
]
VARIANTS: list[dict[str, Any]] = [
    *(variant.to_api() for variant in RUNS_ON_CPUS),
    {"name": "engine", "runtime": "TensorRT", "precision": "INT8"},
    {
        "name": "nncf",
        "runtime": "OpenVINO",
        "precision": "INT8",
        "quantization": {"method": "NNCF"},
    },
    {
        "name": "int8-bf16",
        "runtime": "OpenVINO",
        "precision": "INT8",
        "quantization": {"floatPrecision": "BF16"},
    },
    {
        "name": "compiled",
        "runtime": "PyTorch",
        "precision": "FP32",
        "torchMode": "Compiled",
    },
]


@pytest.fixture(scope="module")
def spec(upscaler_pt2: Path, photographs: Path) -> ModelOptimizationSpec:
    data = {"uri": "s3://data/x/", "samples": 2}
    return ModelOptimizationSpec.model_validate(
        {
            "model": {
                "uri": "s3://models/model.pt2",
                "sha256": hashlib.sha256(upscaler_pt2.read_bytes()).hexdigest(),
                "format": "ExportedProgram",
            },
            "inputs": [{"name": "image", "shape": ["batch", 3, "height", "width"]}],
            "dimensions": {
                "batch": {"min": 1, "opt": 1, "max": 4},
                "height": {"min": 16, "opt": 48, "max": 64},
                "width": {"min": 16, "opt": 64, "max": 64},
            },
            "data": {"calibration": data, "evaluation": data},
            "variants": VARIANTS,
            "quality": [{"metric": "PSNR", "minimum": 25}],
            "benchmark": {"warmupSeconds": 0, "minDurationSeconds": 0.1, "threads": 1},
        }
    )


def run(plan: JobPlan, model: Path, data: Path, folder: Path) -> tuple[Any, list[dict[str, Any]]]:
    """Run a stage as its Job does, on local files; return its summary and its log."""
    wire = plan.to_api()
    wire["model"]["uri"] = f"file://{model}"
    for name in {"calibration", "evaluation"} & wire.keys():
        wire[name]["uri"] = f"file://{data}"
    work, message = folder / "work", folder / "message"
    work.mkdir(exist_ok=True)
    environ = os.environ | {
        PLAN_VARIABLE: json.dumps(wire),
        "MOPT_TERMINATION_LOG": str(message),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mopt_optimizer.main", plan.stage.lower()),
            *("--workdir", str(work)),
        ],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(work.iterdir()) == []
    return decode(message.read_text()), [json.loads(line) for line in done.stdout.splitlines()]


def test_every_variant_is_built_compared_and_timed(
    spec: ModelOptimizationSpec, upscaler_pt2: Path, photographs: Path, tmp_path: Path
) -> None:
    uri = f"file://{tmp_path / 'out'}"
    made, _ = run(prepare_plan(spec, uri), upscaler_pt2, photographs, tmp_path)
    assert isinstance(made, PrepareSummary)
    plan = measure_plan(spec, target="default", prepared=made.result, output_uri=uri)
    measured, log = run(plan, upscaler_pt2, photographs, tmp_path)
    assert isinstance(measured, MeasureSummary)
    found = {v.name: v for v in measured.variants}
    assert list(found) == [v["name"] for v in VARIANTS]
    compiled = {"pytorch-int8", "compiled"}
    for name, variant in found.items():
        if name == "engine":
            assert (variant.state, variant.reason) == ("Skipped", VariantReason.NO_ACCELERATOR)
            continue
        if (variant.precision == "BF16" or name == "int8-bf16") and not NATIVE_BF16:
            assert variant.reason == "NoNativeBF16"
            continue
        if name in compiled and COMPILER is None:
            assert variant.reason == "NoCompiler"
            continue
        assert (variant.state, variant.message) == ("Passed", None), name
        assert variant.latency_ms is not None
        exact = variant.precision == "FP32"
        assert (variant.quality[0].worst > 120) == exact, name
        program = variant.runtime == "PyTorch"
        assert variant.artifact_format == ("ExportedProgram" if program else "ONNX")
    assert found["compiled"].artifact_digest == present(measured.baseline).artifact_digest
    assert found["pytorch-int8"].artifact_digest != present(measured.baseline).artifact_digest
    mixed = found["int8-bf16"]
    assert mixed.float_precision == "BF16"
    if NATIVE_BF16:
        # The same file; of this network nothing else is left to compute in BF16.
        assert mixed.artifact_digest == found["openvino-int8"].artifact_digest
    if COMPILER is not None:
        assert measured.software["g++"] == COMPILER
        assert {line["variant"] for line in log if line["step"] == "compile"} == compiled
    stored = tmp_path / "out" / "blobs" / measured.result.replace(":", "/")
    result = json.loads(stored.read_text())
    modes = {v["name"]: v.get("torchMode") for v in [result["baseline"], *result["variants"]]}
    assert {name for name, mode in modes.items() if mode == "Compiled"} == compiled
    assert modes["pytorch-bf16"] == modes["baseline"] == "Eager"
