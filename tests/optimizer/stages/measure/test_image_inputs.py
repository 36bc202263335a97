"""Prepare and measure on images as the resource declares them: cropped, gray, channels last."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime, TargetKind
from mopt_api.figures import VariantState
from mopt_api.inputs import ImageTransform, InputSpec
from mopt_api.jobs.plan import MeasurePlan, PlannedData, PlannedModel, PreparePlan
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.errors import SpecError
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.stages.prepare.stage import prepare

pytestmark = pytest.mark.optimizer

SIDE = 16
TRANSFORM = ImageTransform.model_validate(
    {
        "resize": [24, 32],
        "crop": [SIDE, SIDE],
        "color": "Gray",
        "layout": "NHWC",
        "mean": [0.5],
        "std": [0.25],
    }
)
EAGER = Variant(name="eager", runtime=Runtime.PYTORCH, precision=Precision.FP32)
INT8 = Variant(name="int8", runtime=Runtime.ONNX_RUNTIME, precision=Precision.INT8)


def exported(path: Path, classes: int) -> PlannedModel:
    """Write a network that looks at gray images, channels last, and gives scores."""
    import torch

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 8, 3, stride=2)
            self.last = torch.nn.Linear(8, classes)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            features = self.conv(image.permute(0, 3, 1, 2)).relu().mean((2, 3))
            result: torch.Tensor = self.last(features)
            return result

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(Scores().eval(), (torch.rand(1, SIDE, SIDE, 1),))
        torch.export.save(program, path)
    return PlannedModel(
        uri=f"file://{path}",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        format=ModelFormat.EXPORTED_PROGRAM,
    )


def plans(
    root: Path, photographs: Path, *, classes: int, variants: list[Variant], gate: QualityGate
) -> tuple[PreparePlan, MeasurePlan]:
    model = exported(root / "model.pt2", classes)
    data = PlannedData(uri=f"file://{photographs}", samples=4, images=TRANSFORM)
    inputs = [InputSpec(name="image", shape=[1, SIDE, SIDE, 1])]
    output = f"file://{root}/output"
    return (
        PreparePlan(
            model=model,
            inputs=inputs,
            dimensions={},
            calibration=data,
            variants=variants,
            output_uri=output,
        ),
        MeasurePlan(
            target="default",
            model=model,
            prepared=f"sha256:{'0' * 64}",
            inputs=inputs,
            dimensions={},
            evaluation=data,
            variants=variants,
            quality=[gate],
            objective=Objective(),
            benchmark=Benchmark(warmup_seconds=0, min_duration_seconds=0.1, threads=1),
            output_uri=output,
        ),
    )


def test_the_declared_transform_reaches_calibration_and_evaluation(
    tmp_path: Path, photographs: Path
) -> None:
    import onnx

    gate = QualityGate(metric=QualityMetric.TOP1_AGREEMENT, minimum=0)
    first, second = plans(tmp_path, photographs, classes=5, variants=[EAGER, INT8], gate=gate)
    (tmp_path / "p").mkdir()
    (tmp_path / "m").mkdir()
    made, digest = prepare(first, dict(os.environ), tmp_path / "p", lambda *_, **__: None)
    assert (made.skipped_on(TargetKind.CPU), made.calibration_samples) == ([], 4)
    result, _ = measure(
        second.model_copy(update={"prepared": digest}),
        dict(os.environ),
        tmp_path / "m",
        lambda *_, **__: None,
    )
    assert [v.state for v in result.variants] == [VariantState.PASSED] * 2
    (quality,) = result.variants[1].quality
    assert quality.per_sample is not None
    assert len(quality.per_sample) == 4
    assert set(quality.per_sample) <= {0.0, 1.0}

    # The ranges in the file are those of images that went the declared way.
    values = []
    for path in sorted(photographs.iterdir()):
        with Image.open(path) as picture:
            gray = picture.convert("RGB").convert("L").resize((32, 24), Image.Resampling.LANCZOS)
        values.append((np.asarray(gray, np.float64)[4:20, 8:24] / 255 - 0.5) / 0.25)
    artifact = next(a.artifact for a in made.artifacts if a.name.startswith("int8"))
    assert artifact.uri is not None
    graph = onnx.load(artifact.uri.removeprefix("file://")).graph
    first_q = next(n for n in graph.node if n.op_type == "QuantizeLinear")
    scale = next(i for i in graph.initializer if i.name == first_q.input[1])
    span = max(v.max() for v in values) - min(v.min() for v in values)
    assert float(onnx.numpy_helper.to_array(scale)) == pytest.approx(span / 255, rel=0.02)


def test_agreement_of_predictions_needs_classes(tmp_path: Path, photographs: Path) -> None:
    gate = QualityGate(metric=QualityMetric.TOP1_AGREEMENT, minimum=0.9)
    first, second = plans(tmp_path, photographs, classes=1, variants=[EAGER], gate=gate)
    (tmp_path / "p").mkdir()
    (tmp_path / "m").mkdir()
    _, digest = prepare(first, dict(os.environ), tmp_path / "p", lambda *_, **__: None)
    with pytest.raises(SpecError, match=r"two classes at axis -1.*leave Top1Agreement out"):
        measure(
            second.model_copy(update={"prepared": digest}),
            dict(os.environ),
            tmp_path / "m",
            lambda *_, **__: None,
        )
