"""Prepare and measure as one: a model of several inputs, integers among them, and array files."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mopt_api.benchmark import Benchmark
from mopt_api.enums import DType, ModelFormat, Precision, QualityMetric, Runtime, TargetKind
from mopt_api.figures import VariantReason, VariantState
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import MeasurePlan, PlannedData, PlannedModel, PreparePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.errors import BaselineError, DimensionError, SpecError
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.stages.prepare.stage import prepare

pytestmark = pytest.mark.optimizer

VOCABULARY, CLASSES = 50, 7
INPUTS = [
    InputSpec(name="tokens", dtype=DType.INT64, shape=["batch", "length"]),
    InputSpec(name="weights", shape=["batch", "length"]),
]
DIMENSIONS = {
    "batch": DimensionRange(min=1, opt=2, max=4),
    "length": DimensionRange(min=2, opt=6, max=16),
}
VARIANTS = [
    Variant(name="torch", runtime=Runtime.PYTORCH, precision=Precision.FP32),
    Variant(name="ort", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32),
    Variant(name="ort-int8", runtime=Runtime.ONNX_RUNTIME, precision=Precision.INT8),
    Variant(name="ov-int8", runtime=Runtime.OPENVINO, precision=Precision.INT8),
]
GATES = [
    QualityGate(metric=QualityMetric.SQNR, minimum=10),
    QualityGate(metric=QualityMetric.COSINE, minimum=0.9),
    QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=1.5),
    QualityGate(metric=QualityMetric.TOP1_AGREEMENT, minimum=0.5),
]


@dataclass(frozen=True)
class Bench:
    """A model and its data in folders, and the two stages' plans for them."""

    root: Path
    prepare_plan: PreparePlan
    measure_plan: MeasurePlan

    def prepare(self, workdir: Path) -> tuple[PrepareResult, str]:
        return prepare(self.prepare_plan, dict(os.environ), workdir, lambda *_, **__: None)

    def measure(self, prepared: str, workdir: Path, **changes: object) -> MeasureResult:
        plan = self.measure_plan.model_copy(update={"prepared": prepared} | changes)
        workdir.mkdir()
        return measure(plan, dict(os.environ), workdir, lambda *_, **__: None)[0]


def classifier(path: Path) -> None:
    """Write a bag of weighted word vectors with two layers on top."""
    import torch

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(VOCABULARY, 16)
            self.body = torch.nn.Sequential(
                torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, CLASSES)
            )

        def forward(self, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.body((self.words(tokens) * weights[..., None]).sum(1))
            return result

    torch.manual_seed(0)
    dynamic = torch.export.Dim.DYNAMIC
    axes = {0: dynamic, 1: dynamic}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(
            Classifier().eval(),
            (torch.randint(0, VOCABULARY, (2, 5)), torch.rand(2, 5)),
            dynamic_shapes={"tokens": axes, "weights": axes},
        )
        torch.export.save(program, path)


def texts(folder: Path, seed: int) -> None:
    folder.mkdir()
    random = np.random.default_rng(seed)
    for number in range(4):
        shape = (1 + number % 2, 4 + number)
        np.savez(
            folder / f"{number}.npz",
            tokens=random.integers(0, VOCABULARY, shape),
            weights=random.random(shape, np.float32),
        )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    root = tmp_path_factory.mktemp("texts")
    path = root / "model.pt2"
    classifier(path)
    for seed, name in enumerate(("calibration", "evaluation")):
        texts(root / name, seed)
    model = PlannedModel(
        uri=f"file://{path}",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        format=ModelFormat.EXPORTED_PROGRAM,
    )

    def data(name: str) -> PlannedData:
        return PlannedData(uri=f"file://{root / name}", samples=8, images=ImageTransform())

    output = f"file://{root}/output"
    return Bench(
        root,
        PreparePlan(
            model=model,
            inputs=INPUTS,
            dimensions=DIMENSIONS,
            calibration=data("calibration"),
            variants=VARIANTS,
            output_uri=output,
        ),
        MeasurePlan(
            target="default",
            model=model,
            prepared=f"sha256:{'0' * 64}",
            inputs=INPUTS,
            dimensions=DIMENSIONS,
            evaluation=data("evaluation"),
            variants=VARIANTS,
            quality=GATES,
            objective=Objective(),
            benchmark=Benchmark(warmup_seconds=0, min_duration_seconds=0.1, threads=1),
            output_uri=output,
        ),
    )


@pytest.fixture(scope="module")
def prepared(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[PrepareResult, str]:
    return bench.prepare(tmp_path_factory.mktemp("prepare"))


@pytest.fixture(scope="module")
def measured(
    bench: Bench, prepared: tuple[PrepareResult, str], tmp_path_factory: pytest.TempPathFactory
) -> MeasureResult:
    return bench.measure(prepared[1], tmp_path_factory.mktemp("measure") / "w")


def test_two_inputs_are_exported_verified_and_calibrated(
    prepared: tuple[PrepareResult, str],
) -> None:
    result, _ = prepared
    assert result.skipped_on(TargetKind.CPU) == []
    assert result.calibration_samples == 4
    assert all(v.passed for v in result.verifications)
    assert {v.dimensions["length"] for v in result.verifications} >= {2, 6}
    assert result.artifacts_on(TargetKind.CPU)["ort-int8"].startswith("int8")


def test_every_form_is_compared_by_every_metric(measured: MeasureResult) -> None:
    assert measured.evaluation_samples == 4
    for variant in measured.variants:
        assert (variant.name, variant.state, variant.message) == (
            variant.name,
            VariantState.PASSED,
            None,
        )
        values = {q.metric: q for q in variant.quality}
        assert set(values) == {gate.metric for gate in GATES}
        errors = values[QualityMetric.MAX_ABS_ERROR]
        assert errors.per_sample is not None
        assert errors.worst == max(errors.per_sample)
        sqnr = values[QualityMetric.SQNR]
        assert sqnr.per_sample is not None
        assert sqnr.worst == min(sqnr.per_sample)
        assert variant.points[0].dimensions == {"batch": 2, "length": 6}
    by_name = {v.name: v for v in measured.variants}
    assert by_name["torch"].quality[0].exact
    for name in ("ort-int8", "ov-int8"):
        int8 = {q.metric: q for q in by_name[name].quality}
        assert int8[QualityMetric.MAX_ABS_ERROR].worst > 1e-4
        assert 10 < int8[QualityMetric.SQNR].worst < 80


def test_a_maximum_rejects_what_is_above_it(
    bench: Bench, prepared: tuple[PrepareResult, str], tmp_path: Path
) -> None:
    gate = QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=1e-4)
    result = bench.measure(prepared[1], tmp_path / "w", quality=[gate])
    states = {v.name: (v.state, v.reason) for v in result.variants}
    assert states["ort"] == (VariantState.PASSED, None)
    assert states["ort-int8"] == (VariantState.REJECTED, VariantReason.QUALITY_GATE)
    message = next(v.message for v in result.variants if v.name == "ort-int8")
    assert message is not None
    assert message.startswith("worst MaxAbsError 0.")
    assert message.endswith(" is above 0.0001")


def test_without_data_integers_are_made_up(
    bench: Bench, prepared: tuple[PrepareResult, str], tmp_path: Path
) -> None:
    result = bench.measure(prepared[1], tmp_path / "w", evaluation=None, quality=[])
    assert result.evaluation_digest is None
    assert {v.state for v in result.variants} == {VariantState.PASSED}
    assert all(v.points and not v.quality for v in result.variants)


def test_ssim_needs_images(
    bench: Bench, prepared: tuple[PrepareResult, str], tmp_path: Path
) -> None:
    gate = QualityGate(metric=QualityMetric.SSIM, minimum=0.5)
    with pytest.raises(SpecError, match="leave SSIM out"):
        bench.measure(prepared[1], tmp_path / "w", quality=[gate])


def test_a_token_outside_the_vocabulary_is_told(
    bench: Bench, prepared: tuple[PrepareResult, str], tmp_path: Path
) -> None:
    folder = tmp_path / "strange"
    folder.mkdir()
    np.savez(
        folder / "a.npz",
        tokens=np.full((1, 4), VOCABULARY + 1, np.int64),
        weights=np.ones((1, 4), np.float32),
    )
    data = PlannedData(uri=f"file://{folder}", samples=1, images=ImageTransform())
    with pytest.raises(BaselineError, match="index out of range"):
        bench.measure(prepared[1], tmp_path / "w", evaluation=data)


def test_a_declared_type_that_the_model_lacks_is_told(bench: Bench, tmp_path: Path) -> None:
    inputs = [INPUTS[0].model_copy(update={"dtype": DType.INT32}), INPUTS[1]]
    plan = bench.prepare_plan.model_copy(update={"inputs": inputs, "calibration": None})
    with pytest.raises(DimensionError, match="tokens is int32 in the spec, int64 in the model"):
        prepare(plan, dict(os.environ), tmp_path, lambda *_, **__: None)


def mixed(path: Path) -> None:
    """Write a model of one input of each other type."""
    import torch

    class Mixed(torch.nn.Module):
        def forward(
            self, keep: torch.Tensor, half: torch.Tensor, shift: torch.Tensor
        ) -> torch.Tensor:
            return torch.where(keep, half.float() * 2 + shift.float(), torch.zeros(()))

    dynamic = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(
            Mixed(),
            (
                torch.ones(3, 4, dtype=torch.bool),
                torch.rand(3, 4).half(),
                torch.ones(3, 4, dtype=torch.int32),
            ),
            dynamic_shapes={name: {0: dynamic} for name in ("keep", "half", "shift")},
        )
        torch.export.save(program, path)


def test_every_other_type_runs_in_every_runtime(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "mixed.pt2"
    mixed(path)
    inputs = [
        InputSpec(name=name, dtype=dtype, shape=["batch", 4])
        for name, dtype in {
            "keep": DType.BOOL,
            "half": DType.FLOAT16,
            "shift": DType.INT32,
        }.items()
    ]
    (tmp_path / "data").mkdir()
    np.savez(
        tmp_path / "data" / "a.npz",
        keep=np.array([[True, False, True, True]]),
        half=np.array([[0.5, 1, 2, 3]], np.float16),
        shift=np.array([[1, 2, -3, 100_000]], np.int32),
    )
    common = {
        "model": PlannedModel(
            uri=f"file://{path}",
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            format=ModelFormat.EXPORTED_PROGRAM,
        ),
        "inputs": inputs,
        "dimensions": {"batch": DIMENSIONS["batch"]},
        "variants": [
            *VARIANTS[:2],
            Variant(name="ov", runtime=Runtime.OPENVINO, precision=Precision.FP32),
        ],
    }
    prepare_plan = bench.prepare_plan.model_copy(update=common | {"calibration": None})
    (tmp_path / "p").mkdir()
    _, digest = prepare(prepare_plan, dict(os.environ), tmp_path / "p", lambda *_, **__: None)
    result = bench.measure(
        digest,
        tmp_path / "w",
        evaluation=PlannedData(
            uri=f"file://{tmp_path / 'data'}", samples=1, images=ImageTransform()
        ),
        quality=[QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=0)],
        **common,
    )
    assert [(v.name, v.state, v.message) for v in result.variants] == [
        (name, VariantState.PASSED, None) for name in ("torch", "ort", "ov")
    ]
