"""A constant that FP16 cannot hold keeps its reader, and the division behind it, in FP32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import (
    FloatType,
    Scheme,
    StaticOptions,
    convert_float,
    quantize_onnx_static,
)
from mopt_optimizer.quality import cosine

pytestmark = pytest.mark.optimizer

NORMALIZED = "g (float[n,8] x) => (float[n,8] y) { e = MatMul(x, w) p = Mul(e, e) "


@pytest.mark.parametrize(
    "body",
    [
        "s = ReduceSum(p, last) n = Sqrt(s) d = Clip(n, tiny) y = Div(e, d) }",
        "s = ReduceSum(p, last) n = Sqrt(s) c = Max(n, tiny) d = Expand(c, size) y = Div(e, d) }",
        "s = ReduceSum(p, last) n = Sqrt(s) c = Max(n, tiny) d = Reciprocal(c) y = Mul(e, d) }",
        "s = ReduceSum(p, last) a = Add(s, tiny) d = Sqrt(a) y = Div(e, d) }",
        "a = Add(p, tiny) y = Log(a) }",
    ],
)
def test_black_image_gives_what_fp32_gives(tmp_path: Path, body: str) -> None:
    text = '<ir_version: 9, opset_import: ["" : 18]>\n' + NORMALIZED + body
    model = onnx.parser.parse_model(text)
    weights = {
        "w": np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32),
        "tiny": np.array(1e-12, np.float32),
        "last": np.array([-1]),
        "size": np.array([1, 8]),
    }
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(v, k) for k, v in weights.items() if k in text
    )
    path, half = tmp_path / "model.onnx", tmp_path / "half.onnx"
    onnx.save(model, path)
    noise = np.random.default_rng(1).random((2, 8), np.float32)
    report = convert_float(path, half, FloatType.FP16, [{"x": noise}])
    assert any("tiny holds 1e-12" in reason for reason in report.kept.values())
    assert report.converted > 0
    for feed, tolerance in ((noise, 0.02), (np.zeros((2, 8), np.float32), 1e-3)):
        (expected,) = OnnxSession(path).run({"x": feed})
        (found,) = OnnxSession(half).run({"x": feed})
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_batch_normalization_that_trains_stays_fp32(tmp_path: Path) -> None:
    text = (
        '<ir_version: 9, opset_import: ["" : 18]>\n'
        "g (float[n,3,4] x) => (float[n,3,4] y, float[3] rm, float[3] rv) { a = Relu(x) "
        "y, rm, rv = BatchNormalization <training_mode = 1> (a, s, s, s, s) }"
    )
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "s"))
    path, half = tmp_path / "model.onnx", tmp_path / "half.onnx"
    onnx.save(model, path)
    feed = {"x": np.random.default_rng(1).random((2, 3, 4), np.float32)}
    report = convert_float(path, half, FloatType.FP16, [feed])
    assert any("training mode" in reason for reason in report.kept.values())
    for found, expected in zip(
        OnnxSession(half).run(feed), OnnxSession(path).run(feed), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("variance", [0.0, 1e-3])
def test_batch_normalization_by_less_than_fp16_holds_stays_fp32(
    tmp_path: Path, variance: float
) -> None:
    """A channel that was constant in training: 1 / sqrt(1e-8) of what is left of it."""
    text = (
        '<ir_version: 9, opset_import: ["" : 18]>\n'
        "g (float[n,3,4] x) => (float[n,3,4] y) { a = Relu(x) "
        "y = BatchNormalization <epsilon = 1e-8> (a, s, s, m, v) }"
    )
    model = onnx.parser.parse_model(text)
    weights = {"s": np.ones(3), "m": np.zeros(3), "v": np.array([1, variance, 1])}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()
    )
    path, half = tmp_path / "model.onnx", tmp_path / "half.onnx"
    onnx.save(model, path)
    feed = {"x": np.random.default_rng(1).random((2, 3, 4), np.float32)}
    report = convert_float(path, half, FloatType.FP16, [feed])
    assert [*report.kept.values()] == (
        [] if variance else ["the variance in v with its epsilon is 1e-08"]
    )
    ((found,), (expected,)) = (OnnxSession(file).run(feed) for file in (half, path))
    np.testing.assert_allclose(found, expected, rtol=0.01)


@pytest.mark.parametrize(
    "body",
    [
        "s = ReduceMean(p, last) a = Add(s, tiny) d = Sqrt(a) y = Div(e, d) }",
        "s = ReduceMean(p, last) a = Add(s, tiny) r = Sqrt(a) d = Reciprocal(r) y = Mul(e, d) }",
        "s = ReduceSum(p, last) n = Sqrt(s) d = Max(n, tiny) y = Div(e, d) }",
        "s = ReduceMean(p, last) m = ReduceMean(e, last) q = Mul(m, m) v = Sub(s, q) "
        "a = Add(v, tiny) d = Sqrt(a) y = Div(e, d) }",
    ],
)
def test_dim_image_is_normalized_in_int8_as_in_fp32(tmp_path: Path, body: str) -> None:
    """Beside a bright one its squares are less than a step of 8 bits."""
    text = '<ir_version: 9, opset_import: ["" : 18]>\n' + NORMALIZED + body
    model = onnx.parser.parse_model(text)
    weights = {
        "w": np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32),
        "tiny": np.array(1e-6, np.float32),
        "last": np.array([-1]),
    }
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in weights.items())
    path, form = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    onnx.save(model, path)
    bright = np.random.default_rng(1).standard_normal((16, 8)).astype(np.float32)
    options = StaticOptions(scheme=Scheme.U8S8_REDUCED)
    report = quantize_onnx_static(path, form, [{"x": bright}], options)
    assert any("tiny keeps a divisor from 0" in reason for reason in report.kept.values())
    feed = {"x": bright[:1] / 16}
    ((found,), (expected,)) = (OnnxSession(file).run(feed) for file in (form, path))
    assert cosine(expected, found) > 0.98
    assert 0.9 < np.linalg.norm(found) / np.linalg.norm(expected) < 1.1
