"""A rewrite is exact or is not made: numbers near those of a pattern, signatures, what trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from mopt_api.jobs.prepare_result import PassOutcome
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.passes import named_passes
from mopt_optimizer.passes.running import optimize
from mopt_optimizer.progress import Log

if TYPE_CHECKING:
    from .conftest import Cases, Run, Weights, Write

pytestmark = pytest.mark.optimizer

ROWS = "g (float[n,3] x) => (float[n,3] y) "


def _scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def _ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{ a = Relu(x) b = Add(a, c) y = Log(b) }", _scalar(1e-10)),
        ("{ a = Relu(x) b = Add(c, a) y = Log(b) }", _scalar(1e-40)),
        ("{ a = Relu(x) b = Sub(a, c) y = Relu(b) }", _scalar(-1e-9)),
        ("{ a = Relu(x) b = Mul(a, c) y = Relu(b) }", _scalar(1.000009)),
        ("{ a = Relu(x) b = Div(a, c) y = Relu(b) }", _scalar(0.999995)),
        ("{ a = Relu(x) b = Pow(a, c) y = Relu(b) }", _scalar(1.000001)),
        ("{ a = Relu(x) b = Add(a, c) y = Relu(b) }", np.array([0, 1e-10, 0], np.float32)),
        ("{ a = Relu(x) b = Add(x, c) y = Div(a, b) }", _scalar(0.0)),
    ],
)
def test_what_is_almost_nothing_stays(run: Run, text: str, value: np.ndarray) -> None:
    (one,) = named_passes(["eliminate_noop"])
    report, model = run(one, ROWS + text, {"c": value})
    assert report.outcome == PassOutcome.NO_CHANGE
    assert len(_ops(model)) == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{ a = Add(x, c) y = Relu(a) }", _scalar(0.0)),
        ("{ a = Add(c, x) y = Reciprocal(a) }", _scalar(-0.0)),
        ("{ a = Sub(x, c) y = Reciprocal(a) }", np.zeros((1, 3), np.float32)),
        ("{ a = Mul(c, x) y = Relu(a) }", np.ones(3, np.float32)),
        ("{ a = Div(x, c) y = Relu(a) }", np.ones(1, np.float32)),
        ("{ a = Pow(x, c) y = Relu(a) }", _scalar(1.0)),
    ],
)
def test_what_is_exactly_nothing_goes(run: Run, text: str, value: np.ndarray) -> None:
    (one,) = named_passes(["eliminate_noop"])
    report, model = run(one, ROWS + text, {"c": value})
    assert report.outcome == PassOutcome.KEPT, report.message
    assert len(_ops(model)) == 1


def test_dropout_that_trains_stays(run: Run) -> None:
    weights = {"ratio": _scalar(0.0), "on": np.array(True), "off": np.array(False)}
    text = ROWS + "{ a = Dropout(x, ratio, on) b = Dropout(a, ratio, off) y = Relu(b) }"
    (one,) = named_passes(["eliminate_noop"])
    report, model = run(one, text, weights)
    assert report.outcome == PassOutcome.KEPT, report.message
    assert _ops(model) == ["Dropout", "Relu"]


@pytest.mark.parametrize(
    ("name", "text", "weights"),
    [
        (
            "fuse_hard_swish",
            "{ a = Add(x, b) c = Clip(a, z, s) y = Div(c, s) }",
            {"b": _scalar(3.0002), "z": _scalar(0), "s": _scalar(6)},
        ),
        (
            "fuse_hard_swish",
            "{ a = HardSigmoid <alpha = 0.1666675, beta = 0.5> (x) y = Mul(a, x) }",
            {},
        ),
        (
            "fuse_layer_norm",
            "{ m = ReduceMean(x, last) d = Sub(x, m) s = Pow(d, two) v = ReduceMean(s, last) "
            "e = Add(v, eps) r = Sqrt(e) q = Div(d, r) y = Mul(q, w) }",
            {
                "last": np.array([-1]),
                "two": _scalar(2.00001),
                "eps": _scalar(1e-5),
                "w": np.ones(3, np.float32),
            },
        ),
        (
            "fuse_consecutive_casts",
            "{ f = Cast <to = 11> (x) a = Cast <to = 1> (f) h = Cast <to = 10> (a) "
            "y = Cast <to = 1> (h) }",
            {},
        ),
        (
            "fuse_bn_into_conv",
            "{ i = Unsqueeze(x, last) c = Conv(i, k) "
            "b, rm, rv = BatchNormalization <training_mode = 1> (c, s, o, m, v) "
            "y = Squeeze(b, last) }",
            {
                "last": np.array([2]),
                "k": np.eye(3, dtype=np.float32)[:, :, None],
                "s": np.ones(3, np.float32),
                "o": np.zeros(3, np.float32),
                "m": np.zeros(3, np.float32),
                "v": np.ones(3, np.float32),
            },
        ),
    ],
)
def test_pattern_is_compared_exactly(run: Run, name: str, text: str, weights: Weights) -> None:
    (one,) = named_passes([name])
    report, _ = run(one, ROWS + text, weights)
    assert report.outcome == PassOutcome.NO_CHANGE, report.message


@pytest.mark.parametrize(
    "text",
    [
        "g (float[n,3] x) => (float[n,3] y, float[n,3] z) { y = Relu(x) z = Identity(y) }",
        "g (float[n,3] x) => (float[n,3] y, float[n,3] z) "
        "{ r = Relu(x) y = Identity(r) z = Identity(r) }",
        "g (float[n,3] x) => (float[n,3] y, float[n,3] z) { y = Identity(x) z = Add(x, zero) }",
        "g (float[n,3] x) => (float[n,3] y, float[n,3] z) { y = Relu(x) z = Relu(x) }",
        "g (float[n,3] x, float[n,3] unused) => (float[n,3] y) { a = Identity(x) y = Relu(a) }",
    ],
)
def test_signature_stays(write: Write, cases: Cases, log: Log, text: str) -> None:
    path = write(text, {"zero": _scalar(0)})
    before = onnx.load(path).graph
    expected = cases(path)
    for report in optimize(path, named_passes(), expected, log):
        assert report.outcome != PassOutcome.ROLLED_BACK, report.message
    after = onnx.load(path).graph
    assert [v.name for v in after.output] == [v.name for v in before.output]
    assert [v.name for v in after.input] == [v.name for v in before.input]
    found = OnnxSession(path).run(expected[1].inputs)
    for array, wanted in zip(found, expected[1].expected, strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_logarithm_of_silence_is_the_source_models(write: Write, cases: Cases, log: Log) -> None:
    text = ROWS + "{ a = MatMul(x, w) b = Relu(a) c = Add(b, eps) y = Log(c) }"
    path = write(text, {"w": np.eye(3, dtype=np.float32), "eps": _scalar(1e-10)})
    optimize(path, named_passes(), cases(path), log)
    (found,) = OnnxSession(path).run({"x": np.zeros((2, 3), np.float32)})
    np.testing.assert_allclose(found, np.log(np.float32(1e-10)), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "text", "weights"),
    [
        (
            "fuse_add_into_conv",
            "{ i = Unsqueeze(x, last) c = Conv(i, k, one) s = Add(c, e) y = Squeeze(s, last) }",
            {"e": _scalar(1e-10)},
        ),
        (
            "fuse_mul_into_conv",
            "{ i = Unsqueeze(x, last) c = Conv(i, k) s = Mul(c, e) y = Squeeze(s, last) }",
            {"e": _scalar(1e-40)},
        ),
    ],
)
def test_constant_that_the_weights_cannot_hold_stays(
    run: Run, name: str, text: str, weights: Weights
) -> None:
    shared = {
        "last": np.array([2]),
        "k": np.eye(3, dtype=np.float32)[:, :, None],
        "one": np.ones(3, np.float32),
    }
    (one,) = named_passes([name])
    report, _ = run(one, ROWS + text, shared | weights)
    assert report.outcome == PassOutcome.NO_CHANGE, report.message
