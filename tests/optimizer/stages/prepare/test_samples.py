"""The user's samples take the place of noise where a model is verified: ids, indices and sizes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from mopt_api.enums import ModelFormat, Precision, QuantizationMode, Runtime, TargetKind
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.plan import PlannedData, PlannedModel, PreparePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.variants import Quantization, Variant
from mopt_optimizer.errors import BaselineError
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.stages.prepare.stage import prepare
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

pytestmark = pytest.mark.optimizer

# Enlarged to sizes that are an input, as exporters write F.interpolate; noise is sizes of 0 and 1,
# and of places that a picture of 1 x 1 has not.
SIZED = """<ir_version: 9, opset_import: ["" : 18]>
g (float[1,2,h,w] x, int64[4] sizes, int64[n] rows) => (float[1,2,n,b] y) {
  large = Resize <mode = "linear"> (x, , , sizes)
  y = Gather <axis = 2> (large, rows)
}"""
INPUTS = [
    InputSpec.model_validate({"name": "x", "shape": [1, 2, "h", "w"]}),
    InputSpec.model_validate({"name": "sizes", "shape": [4], "dtype": "int64"}),
    InputSpec.model_validate({"name": "rows", "shape": ["n"], "dtype": "int64"}),
]
SIZES = {
    "h": DimensionRange(min=1, opt=3, max=8),
    "w": DimensionRange(min=1, opt=3, max=8),
    "n": DimensionRange(min=1, opt=2, max=4),
}
VARIANTS = [
    Variant(name="plain", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32),
    Variant(name="half", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP16),
]


def write_samples(folder: Path, *, seed: int = 0) -> PlannedData:
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for number in range(3):
        np.savez(
            folder / f"{number}.npz",
            x=generator.random((1, 2, 3, 4), np.float32),
            sizes=np.array([1, 2, 6, 8]),
            rows=np.array([5, 2]),
        )
    return PlannedData(uri=f"file://{folder}", samples=8, images=ImageTransform())


@pytest.fixture
def plan(tmp_path: Path) -> PreparePlan:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(SIZED), path)
    return PreparePlan(
        model=PlannedModel(
            uri=f"file://{path}",
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            format=ModelFormat.ONNX,
        ),
        inputs=INPUTS,
        dimensions=SIZES,
        variants=VARIANTS,
        output_uri=f"file://{tmp_path}/out",
    )


Run = Callable[[PreparePlan], tuple[PrepareResult, set[str]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what runs a plan, and says which steps were made."""

    def ran(plan: PreparePlan) -> tuple[PrepareResult, set[str]]:
        built: set[str] = set()

        def log(step: str, message: str, **fields: object) -> None:
            if fields.get("outcome") == "Built":
                built.add(str(fields["name"]))

        (work := tmp_path / "work").mkdir(exist_ok=True)
        result, _ = prepare(plan, dict(os.environ), work, log)
        return result, built

    return ran


def sized(result: PrepareResult) -> Sequence[int]:
    return [verified.dimensions["h"] for verified in result.verifications]


def test_noise_is_no_input_of_it_and_the_message_says_what_is(plan: PreparePlan, run: Run) -> None:
    with pytest.raises(BaselineError, match=r"are noise: samples of data\.calibration take its"):
        run(plan)


def test_calibration_data_is(plan: PreparePlan, run: Run, tmp_path: Path) -> None:
    data = write_samples(tmp_path / "data")
    result, built = run(plan.model_copy(update={"calibration": data}))
    assert built == {"fp32", "fp16"}
    assert all(verified.passed for verified in result.verifications)
    assert sized(result) == [1, 2, 3, 3, 3]
    artifact = next(a.artifact for a in result.artifacts if a.name == "fp32")
    store = Blobs(*open_store(plan.output_uri, None, {}))  # type: ignore[arg-type]
    store.fetch(artifact.digest, tmp_path / "fp32.onnx")
    feeds = dict(np.load(tmp_path / "data" / "2.npz"))
    (found,) = OnnxSession(tmp_path / "fp32.onnx").run(feeds)
    assert found.shape == (1, 2, 2, 8)
    assert run(plan.model_copy(update={"calibration": data}))[1] == set()
    other = write_samples(tmp_path / "other", seed=1)
    assert run(plan.model_copy(update={"calibration": other}))[1] == {"fp32", "fp16"}


def test_evaluation_data_is_where_there_is_no_other(
    plan: PreparePlan, run: Run, tmp_path: Path
) -> None:
    static = Variant(name="static", runtime=Runtime.ONNX_RUNTIME, precision=Precision.INT8)
    dynamic = static.model_copy(
        update={
            "name": "dynamic",
            "quantization": Quantization(mode=QuantizationMode.DYNAMIC),
        }
    )
    changes = {"evaluation": write_samples(tmp_path / "data"), "variants": [static, dynamic]}
    result, built = run(plan.model_copy(update=changes))
    assert "fp32" in built
    assert (result.calibration_digest, result.calibration, result.warnings) == (None, None, [])
    skipped = {one.name: one for one in result.skipped_on(TargetKind.CPU)}
    assert skipped["static"].reason == "NoCalibrationData", "it is not calibrated on it"
