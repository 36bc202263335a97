"""A program above 2 GB through the Jobs' entry point: prepare, then measure, then what to serve."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present import present

from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime, TargetKind
from mopt_api.figures import VariantState
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import (
    PLAN_VARIABLE,
    Credentials,
    MeasurePlan,
    PlannedData,
    PlannedModel,
    PreparePlan,
)
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.jobs.termination import decode
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization, Variant
from mopt_optimizer.digests import file_digest
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.stages.artifacts import fetch_model
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

from .conftest import Record
from .make_program import WIDTH
from .watching import Watched

pytestmark = pytest.mark.large

SAMPLES = 4
GATE = QualityGate(metric=QualityMetric.SQNR, minimum=20)
ORT, OPENVINO = Runtime.ONNX_RUNTIME, Runtime.OPENVINO
VARIANTS = [
    Variant(name="ort-fp32", runtime=ORT, precision=Precision.FP32),
    Variant(name="ort-int8", runtime=ORT, precision=Precision.INT8, quantization=Quantization()),
    Variant(name="ov-fp32", runtime=OPENVINO, precision=Precision.FP32),
    Variant(
        name="ov-int8", runtime=OPENVINO, precision=Precision.INT8, quantization=Quantization()
    ),
]


def stage(plan: PreparePlan | MeasurePlan, folder: Path) -> tuple[Any, Watched]:
    """Run a stage as its Job does; return its summary, and what it took."""
    message, work = folder / "termination-log", folder / "work"
    work.mkdir(exist_ok=True)
    told = {PLAN_VARIABLE: json.dumps(plan.to_api()), "MOPT_TERMINATION_LOG": str(message)}
    name = plan.stage.lower()
    command = [sys.executable, "-m", "mopt_optimizer.main", name, "--workdir", str(work)]
    with (folder / f"{name}.log").open("wb") as errors:
        watched = Watched(command, os.environ | told, errors)
        status = watched.run()
    assert status == 0, (folder / f"{name}.log").read_text()[-4000:]
    assert not list(work.iterdir())
    return decode(message.read_text()), watched


def test_program_above_two_gigabytes(tmp_path: Path, record: Record) -> None:
    source = tmp_path / "model.pt2"
    maker = Path(__file__).with_name("make_program.py")
    subprocess.run([sys.executable, str(maker), str(source)], check=True)
    assert source.stat().st_size > 2.5e9
    (tmp_path / "data").mkdir()
    rows = np.random.default_rng(0).random((SAMPLES, 1, WIDTH), dtype=np.float32)
    for number, row in enumerate(rows):
        np.save(tmp_path / "data" / f"{number}.npy", row)
    data = PlannedData(uri=f"file://{tmp_path}/data", samples=SAMPLES, images=ImageTransform())
    prepare = PreparePlan(
        model=PlannedModel(
            uri=f"file://{source}",
            sha256=file_digest(source).removeprefix("sha256:"),
            format=ModelFormat.EXPORTED_PROGRAM,
        ),
        inputs=[InputSpec(name="input", shape=["batch", WIDTH])],
        dimensions={"batch": DimensionRange(min=1, opt=2, max=4)},
        calibration=data,
        variants=VARIANTS,
        quality=[GATE],
        output_uri=f"file://{tmp_path}/out",
    )
    summary, preparing = stage(prepare, tmp_path)
    blobs = Blobs(*open_store(prepare.output_uri, Credentials.OUTPUT, {}))
    prepared = PrepareResult.model_validate_json(blobs.read(summary.result))
    assert prepared.skipped_on(TargetKind.CPU) == []
    artifacts = {a.name: a.artifact for a in prepared.artifacts}
    fp32, int8 = artifacts["fp32"], artifacts["int8-minmax-perchannel-gated"]
    assert fp32.size_bytes > 2.5e9
    assert [data.path for data in fp32.external_data or ()] == ["model.onnx.data"]
    assert int8.size_bytes < 0.26 * fp32.size_bytes

    measure = MeasurePlan(
        target="default",
        model=prepare.model,
        prepared=summary.result,
        inputs=prepare.inputs,
        dimensions=prepare.dimensions,
        evaluation=data,
        variants=VARIANTS,
        quality=[GATE],
        objective=Objective(),
        benchmark=Benchmark(warmup_seconds=1, min_duration_seconds=5),
        output_uri=prepare.output_uri,
    )
    summary, measuring = stage(measure, tmp_path)
    result = MeasureResult.model_validate_json(blobs.read(summary.result))
    states = {v.name: v.state for v in result.variants}
    assert states == dict.fromkeys((v.name for v in VARIANTS), VariantState.PASSED)

    # What status names is enough to serve it.
    path = fetch_model(blobs, fp32, tmp_path / "served")
    session = OnnxSession(path)
    assert session.run({"input": rows[0]})[0].shape == (1, WIDTH)
    record.write("The Jobs", _report(preparing, measuring, result, int8.size_bytes))


def _report(preparing: Watched, measuring: Watched, result: MeasureResult, int8_bytes: int) -> str:
    lines = ["| Variant | p50, ms | SQNR, dB | Peak memory of its process, GB |"]
    lines += ["|---|---:|---:|---:|"]
    for entry in (present(result.baseline), *result.variants):
        quality = f"{entry.quality[0].worst:.1f}" if entry.quality else ""
        peak = (entry.peak_memory_bytes or 0) / 1e9
        p50 = entry.points[0].latency_ms.p50
        lines.append(f"| {entry.name} | {p50:.0f} | {quality} | {peak:.1f} |")
    return (
        f"`mopt-optimizer prepare` and `measure` of a `.pt2`, from and to a folder; {SAMPLES} "
        "samples, static INT8 with a gate of 20 dB SQNR. Memory is the largest sum over the "
        "stage's processes of what only memory can hold; files that are mapped (weights) count "
        "in the last column, twice where two processes map them.\n\n"
        f"Prepare:\n\n{preparing.table()}\n\nMeasure:\n\n{measuring.table()}\n\n"
        + "\n".join(lines)
        + f"\n\nINT8 artifact: {int8_bytes / 1e9:.2f} GB. Load average in the last quarter of an "
        f"hour, that of other work included: {os.getloadavg()[2]:.0f} on {os.cpu_count()} CPUs."
    )
