from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mopt_api.spec import Calibrator, Quantization
from mopt_optimizer.images import Inputs
from mopt_optimizer.quantizing import QuantizationError, artifact_name, quantize
from mopt_optimizer.verifying import OnnxSession

pytestmark = pytest.mark.optimizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two convolutions around a PRelu, weights of very unequal channels, dynamic sizes."""
    generator = np.random.default_rng(0)
    first = generator.standard_normal((8, 3, 3, 3)).astype(np.float32)
    first[0] *= 0.001
    weights = {
        "w1": first,
        "b1": generator.standard_normal(8).astype(np.float32),
        "slope": np.full((8, 1, 1), 0.25, np.float32),
        "w2": generator.standard_normal((3, 8, 3, 3)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("PRelu", ["a", "slope"], ["b"]),
            helper.make_node("Conv", ["b", "w2"], ["result"], pads=[1, 1, 1, 1]),
        ],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    path = tmp_path / "model.onnx"
    imports = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


@pytest.fixture
def samples() -> list[Inputs]:
    """Images of different sizes: nothing may need them to be equal."""
    generator = np.random.default_rng(1)
    return [{"image": generator.random((1, 3, 16 + 8 * n, 24), dtype=np.float32)} for n in range(3)]


ALL_OPTIONS = [
    Quantization(calibrator=calibrator, per_channel=per_channel)
    for calibrator in Calibrator
    for per_channel in (True, False)
]


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=artifact_name)
def test_result_is_smaller_in_explicit_int8_and_close(
    model: Path, samples: list[Inputs], tmp_path: Path, options: Quantization
) -> None:
    quantized = tmp_path / "quantized.onnx"
    quantize(model, quantized, options, samples)
    graph = onnx.load(quantized).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Conv") == 2
    assert "QuantizeLinear" in kinds
    assert sum(t.data_type == TensorProto.INT8 and len(t.dims) == 4 for t in graph.initializer) == 2
    expected = OnnxSession(model).run(samples[0])[0]
    found = OnnxSession(quantized).run(samples[0])[0]
    noise = float(np.mean((found - expected) ** 2))
    signal = float(np.mean(expected**2))
    assert 10 * np.log10(signal / noise) > 25
    # More batch and another size than any sample.
    batch = np.concatenate([samples[0]["image"]] * 3)
    assert OnnxSession(quantized).run({"image": batch})[0].shape == (3, 3, 16, 24)


def test_weights_get_a_scale_per_channel_only_where_asked(
    model: Path, samples: list[Inputs], tmp_path: Path
) -> None:
    counts = {}
    for per_channel in (True, False):
        path = tmp_path / f"{per_channel}.onnx"
        quantize(model, path, Quantization(per_channel=per_channel), samples)
        (scale,) = [t for t in onnx.load(path).graph.initializer if t.name == "w1_scale"]
        counts[per_channel] = numpy_helper.to_array(scale).size
    assert counts == {True: 8, False: 1}


def test_percentile_drops_outliers_that_min_max_keeps(model: Path, tmp_path: Path) -> None:
    # One outlier in 27,648 values: fewer than the 0.01 % that are dropped.
    image = np.random.default_rng(1).random((1, 3, 96, 96), dtype=np.float32)
    image[0, 0, 0, 0] = 1000
    samples: list[Inputs] = [{"image": image}]
    scales = {}
    for calibrator in Calibrator:
        path = tmp_path / f"{calibrator}.onnx"
        quantize(model, path, Quantization(calibrator=calibrator), samples)
        (scale,) = [t for t in onnx.load(path).graph.initializer if t.name == "image_scale"]
        scales[calibrator] = float(numpy_helper.to_array(scale))
    assert scales[Calibrator.MIN_MAX] == pytest.approx(1000 / 255, rel=1e-3)
    assert scales[Calibrator.PERCENTILE] < 10 / 255


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=artifact_name)
def test_same_samples_give_the_same_bytes(
    model: Path, samples: list[Inputs], tmp_path: Path, options: Quantization
) -> None:
    for name in ("a.onnx", "b.onnx"):
        quantize(model, tmp_path / name, options, samples)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("options", ALL_OPTIONS[1:3], ids=artifact_name)
def test_one_sample_is_in_memory_at_a_time(
    model: Path, samples: list[Inputs], tmp_path: Path, options: Quantization
) -> None:
    class Lazy(list[Inputs]):
        """Gives copies, and counts how many of them are still held."""

        def __iter__(self) -> Iterator[Inputs]:
            return (self[index] for index in range(len(self)))

        def __getitem__(self, index: Any) -> Any:
            asked.append(index)
            gc.collect()
            alive.append(sum(reference() is not None for reference in references))
            values = super().__getitem__(index)["image"].copy()
            references.append(weakref.ref(values))
            return {"image": values}

    asked: list[int] = []
    alive: list[int] = []
    references: list[weakref.ref[np.ndarray]] = []
    lazy = Lazy(samples * 3)
    quantize(model, tmp_path / "q.onnx", options, lazy)
    assert asked[:9] == list(range(9))
    assert max(alive) <= 1


@pytest.mark.parametrize(
    "inputs",
    [
        {"other": np.zeros((1, 3, 8, 8), np.float32)},
        {"image": np.zeros((1, 4, 8, 8), np.float32)},
    ],
    ids=["name", "channels"],
)
def test_calibration_that_fails_says_why(model: Path, tmp_path: Path, inputs: Inputs) -> None:
    message = r"cannot be quantized: calibration sample 1.*input"
    with pytest.raises(QuantizationError, match=message):
        quantize(model, tmp_path / "q.onnx", Quantization(), [inputs])


def test_names_tell_options_apart() -> None:
    assert [artifact_name(options) for options in ALL_OPTIONS] == [
        "int8-minmax-perchannel",
        "int8-minmax-pertensor",
        "int8-percentile-perchannel",
        "int8-percentile-pertensor",
    ]
