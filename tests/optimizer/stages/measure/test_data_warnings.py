"""Warnings on data go from both stages to the log, result.json, its summary and the page."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime
from mopt_api.inputs import ImageTransform, InputSpec
from mopt_api.jobs.data_statistics import DataFault
from mopt_api.jobs.plan import MeasurePlan, PlannedData, PlannedModel, PreparePlan
from mopt_api.jobs.termination import summarize_measure
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.stages.prepare.stage import prepare
from mopt_optimizer.stages.verdict import rejudged

pytestmark = pytest.mark.optimizer

SIDE = 32
INT8 = Variant(name="int8", runtime=Runtime.ONNX_RUNTIME, precision=Precision.INT8)
INPUTS = [InputSpec(name="image", shape=[1, 3, SIDE, SIDE])]


def exported(path: Path, photographs: Path) -> PlannedModel:
    """Write a network whose BatchNormalization has seen photographs from 0 to 1."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=None))
    network.append(nn.Conv2d(8, 3, 1)).append(nn.Sigmoid())
    tiles = []
    for file in sorted(photographs.iterdir()):
        with Image.open(file) as picture:
            small = picture.convert("RGB").resize((SIDE, SIDE))
        tiles.append(torch.from_numpy(np.asarray(small, np.float32) / 255).permute(2, 0, 1))
    network(torch.stack(tiles))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(network.eval(), (torch.rand(1, 3, SIDE, SIDE),))
        torch.export.save(program, path)
    return PlannedModel(
        uri=f"file://{path}",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        format=ModelFormat.EXPORTED_PROGRAM,
    )


def test_slips_are_said_everywhere(tmp_path: Path, photographs: Path) -> None:
    said: list[str] = []

    def log(step: str, message: str, **_: object) -> None:
        if step == "data":
            said.append(message)

    bytes_ = ImageTransform(resize=[SIDE, SIDE], scale=1)
    scaled = ImageTransform(resize=[SIDE, SIDE])
    common = {
        "model": exported(tmp_path / "model.pt2", photographs),
        "inputs": [INPUTS[0].model_copy(update={"name": "input"})],
        "dimensions": {},
        "variants": [INT8],
        "output_uri": f"file://{tmp_path}/output",
    }
    uri = f"file://{photographs}"
    for name in ("p", "m"):
        (tmp_path / name).mkdir()
    made, digest = prepare(
        PreparePlan(calibration=PlannedData(uri=uri, samples=4, images=bytes_), **common),
        dict(os.environ),
        tmp_path / "p",
        log,
    )
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=1, data_range=255)
    plan = MeasurePlan(
        target="default",
        prepared=digest,
        evaluation=PlannedData(uri=uri, samples=4, images=scaled),
        quality=[gate],
        objective=Objective(),
        benchmark=Benchmark(warmup_seconds=0, min_duration_seconds=0.1, threads=1),
        **common,
    )
    result, digest = measure(plan, dict(os.environ), tmp_path / "m", log)

    assert [w.fault for w in made.warnings] == [DataFault.FEW_SAMPLES, DataFault.SCALE]
    assert made.first_layers[0].input == "input"
    assert [w.fault for w in result.warnings] == [
        DataFault.FEW_SAMPLES,
        DataFault.SCALE,
        DataFault.DATA_RANGE,
        DataFault.TRANSFORMS_DIFFER,
    ]
    assert said == [f"warning: {w.text}" for w in result.warnings]
    assert summarize_measure(result, digest).warnings == [
        "calibration:FewSamples",
        "calibration:Scale",
        "quality:DataRange",
        "calibration:TransformsDiffer",
    ]
    (page,) = (tmp_path / "output").rglob("*.html")
    text = page.read_text()
    assert all(w.fault in text for w in result.warnings)
    assert "Data to look at" in text


def test_a_gate_of_another_range_is_judged_anew(tmp_path: Path) -> None:
    from mopt_api.figures import Hardware, SourceInfo
    from mopt_api.jobs.measure_result import MeasureResult, OutputSpan
    from mopt_api.jobs.plan import ReportPlan
    from mopt_optimizer.quality import range_warnings

    gate = QualityGate(metric=QualityMetric.PSNR, minimum=1, data_range=255)
    spans = [OutputSpan(name="y", low=0, high=1)]
    result = MeasureResult(
        target="default",
        source=SourceInfo(sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=1),
        prepared=f"sha256:{'0' * 64}",
        hardware=Hardware(),
        software={},
        variants=[],
        outputs=spans,
        warnings=range_warnings([gate], spans),
    )

    def judged(quality: list[QualityGate]) -> list[DataFault]:
        plan = ReportPlan(
            target="default",
            result=f"sha256:{'1' * 64}",
            quality=quality,
            objective=Objective(),
            benchmark=Benchmark(),
            output_uri=f"file://{tmp_path}",
        )
        return [w.fault for w in rejudged(result, plan).warnings]

    assert judged([gate]) == [DataFault.DATA_RANGE]
    assert judged([gate.model_copy(update={"data_range": 1.0})]) == []
    assert judged([]) == []
