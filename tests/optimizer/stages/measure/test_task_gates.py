"""Gates on what a model is for, through both stages: detections that come and go, neighbors."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import skimage.data
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mopt_api.artifacts import blob_key
from mopt_api.benchmark import Benchmark
from mopt_api.enums import Aggregate, ModelFormat, Precision, QualityMetric, Runtime
from mopt_api.figures import VariantState
from mopt_api.inputs import ImageTransform, InputSpec
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.plan import MeasurePlan, PlannedData, PlannedModel, PreparePlan
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.quality import detection_f1, neighbor_agreement
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.stages.prepare.stage import prepare

pytestmark = pytest.mark.optimizer

SIDE = 32
INT8 = Variant(name="int8", runtime=Runtime.ONNX_RUNTIME, precision=Precision.INT8)


def write_detector(path: Path) -> None:
    """Write 64 candidates of a picture, of which those with a score above 0.5 are left."""
    generator = np.random.default_rng(0)
    weights = {
        "w1": generator.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32),
        "w2": generator.normal(0, 0.5, (6, 8, 1, 1)).astype(np.float32),
        "columns": np.array([6, -1]),
        "half": np.array([0.5], np.float32),
        "none": np.array([0], np.float32),
        "axis": np.array([1]),
        **{f"i{n}": np.array([n]) for n in (0, 2, 4, 5)},
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w1"], ["a"], strides=[4, 4], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w2"], ["c"]),
        node("Reshape", ["c", "columns"], ["d"]),
        node("Transpose", ["d"], ["rows"], perm=[1, 0]),
        node("Slice", ["rows", "i0", "i2", "axis"], ["corner"]),
        node("Slice", ["rows", "i2", "i4", "axis"], ["raw_size"]),
        node("Abs", ["raw_size"], ["size"]),
        node("Add", ["corner", "size"], ["other_corner"]),
        node("Slice", ["rows", "i4", "i5", "axis"], ["raw_score"]),
        node("Sigmoid", ["raw_score"], ["score"]),
        node("Mul", ["score", "none"], ["label"]),
        node("Concat", ["corner", "other_corner", "score", "label"], ["all"], axis=1),
        node("Greater", ["score", "half"], ["sure"]),
        node("Squeeze", ["sure", "axis"], ["kept"]),
        node("Compress", ["all", "kept"], ["dets"], axis=0),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("dets", TensorProto.FLOAT, ["count", 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def write_pictures(folder: Path, seed: int, *, count: int = 8) -> list[NDArray[np.float32]]:
    folder.mkdir()
    generator = np.random.default_rng(seed)
    photograph = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    found = []
    for number, (top, left) in enumerate(generator.integers(0, 400, (count, 2))):
        tile = photograph[top : top + 3 * SIDE : 3, left : left + 3 * SIDE : 3]
        Image.fromarray(tile).save(folder / f"{number:02}.png")
        found.append((tile.astype(np.float32) / 255).transpose(2, 0, 1)[None])
    return found


def _data(folder: Path) -> PlannedData:
    return PlannedData(uri=f"file://{folder}", samples=64, images=ImageTransform())


def through_both_stages(path: Path, folder: Path, gates: list[QualityGate]) -> MeasureResult:
    """Prepare and measure a model of pictures in INT8; data and output lie in the folder."""
    common: dict[str, Any] = {
        "model": PlannedModel(
            uri=f"file://{path}",
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            format=ModelFormat.ONNX,
        ),
        "inputs": [InputSpec(name="image", shape=[1, 3, SIDE, SIDE])],
        "dimensions": {},
        "variants": [INT8],
        "quality": gates,
        "output_uri": f"file://{folder}/output",
    }
    for name in ("p", "m"):
        (folder / name).mkdir()
    _, prepared = prepare(
        PreparePlan(calibration=_data(folder / "calibration"), **common),
        dict(os.environ),
        folder / "p",
        lambda *_, **__: None,
    )
    result, _ = measure(
        MeasurePlan(
            target="default",
            prepared=prepared,
            evaluation=_data(folder / "evaluation"),
            objective=Objective(),
            benchmark=Benchmark(warmup_seconds=0, min_duration_seconds=0.1, threads=1),
            **common,
        ),
        dict(os.environ),
        folder / "m",
        lambda *_, **__: None,
    )
    return result


def _sessions(
    result: MeasureResult, path: Path, folder: Path
) -> tuple[VariantResult, list[onnxruntime.InferenceSession]]:
    """Return the variant, and what plain ONNX Runtime makes of the model and of its artifact."""
    (variant,) = result.variants
    assert variant.artifact is not None
    int8 = folder / "output" / blob_key(variant.artifact.digest)
    return variant, [onnxruntime.InferenceSession(str(file)) for file in (path, int8)]


def test_rows_that_come_and_go_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    write_detector(path)
    write_pictures(tmp_path / "calibration", 1)
    pictures = write_pictures(tmp_path / "evaluation", 2)
    gate = QualityGate(metric=QualityMetric.DETECTION_F1, minimum=0.3, aggregate=Aggregate.MEAN)
    variant, sessions = _sessions(through_both_stages(path, tmp_path, [gate]), path, tmp_path)
    assert variant.state is VariantState.PASSED, variant.message
    (quality,) = variant.quality

    found = [[s.run(None, {"image": picture})[0] for s in sessions] for picture in pictures]
    counts = {tuple(len(rows) for rows in pair) for pair in found}
    assert any(first != second for first, second in counts), counts
    assert quality.per_sample == pytest.approx([detection_f1(*pair) for pair in found])
    assert quality.worst < 1


def write_embedder(path: Path) -> None:
    """Write embeddings of pictures that differ by little beside what all of them share."""
    generator = np.random.default_rng(0)
    weights = {
        "w": generator.normal(0, 0.3, (16, 3, 3, 3)).astype(np.float32),
        "last": generator.normal(0, 0.3, (16, 32)).astype(np.float32),
        "shared": generator.normal(0, 8, (32,)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "last", "shared"], ["e"]),
        helper.make_node("LpNormalization", ["e"], ["embedding"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "embedder",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 32])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def test_neighbors_that_a_cosine_does_not_see_are_lost(tmp_path: Path) -> None:
    """Beside what all embeddings share their differences are small: INT8 rounds some away."""
    path = tmp_path / "embedder.onnx"
    write_embedder(path)
    write_pictures(tmp_path / "calibration", 1)
    pictures = write_pictures(tmp_path / "evaluation", 2, count=24)
    gates = [
        QualityGate(metric=QualityMetric.COSINE, minimum=0.99),
        QualityGate(metric=QualityMetric.NEIGHBOR_AGREEMENT, minimum=1, aggregate=Aggregate.MEAN),
    ]
    variant, sessions = _sessions(through_both_stages(path, tmp_path, gates), path, tmp_path)
    cosine, neighbors = variant.quality
    assert cosine.worst >= 0.99
    sets = [[s.run(None, {"image": picture})[0] for picture in pictures] for s in sessions]
    assert neighbors.per_sample == pytest.approx(neighbor_agreement(*sets))
    assert variant.state is VariantState.REJECTED
    assert "NeighborAgreement" in (variant.message or "")
