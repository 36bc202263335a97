"""Small public cases that once failed, rebuilt and taken through every step.

docs/coverage.md lists all such cases with their tests; here are those of several steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from mopt_optimizer.errors import ModelError
from mopt_optimizer.opening.loading import load_onnx

from .steps import Outcome, Result, run
from .suites import SuiteCase

pytestmark = pytest.mark.optimizer

Weights = dict[str, NDArray[Any]]


def through(
    tmp_path: Path, text: str, weights: Weights, fed: list[Any], expected: list[Any]
) -> Result:
    """Take a model, given as text, through every step, fed what its report feeds it."""
    model = onnx.parser.parse_model(text)
    tensors = (numpy_helper.from_array(value, name) for name, value in weights.items())
    model.graph.initializer.extend(tensors)
    return run(SuiteCase("cases", "case", model, [(fed, expected)]), tmp_path)


def header(opset: int) -> str:
    return f'<ir_version: 7, opset_import: ["" : {opset}]>\n'


def outcomes(result: Result) -> dict[str, Outcome]:
    return {step: outcome for step, (outcome, _) in result.steps.items()}


def test_logarithm_of_silence(tmp_path: Path) -> None:
    """ROCm/AMDMIGraphX#2659, tensorflow#52045: an eps that a rewrite deleted."""
    text = header(17) + (
        "g (float[n,4] x) => (float[n,4] y) "
        "{ a = MatMul(x, w) b = Relu(a) c = Add(b, eps) y = Log(c) }"
    )
    weights = {"w": np.eye(4, dtype=np.float32), "eps": np.array(1e-10, np.float32)}
    silence = np.zeros((2, 4), np.float32)
    result = through(tmp_path, text, weights, [silence], [np.full((2, 4), -23.0259, np.float32)])
    for step in ("export", "passes", "onnxruntime", "openvino"):
        assert result.steps[step][0] is Outcome.EQUAL, result.steps
    assert Outcome.WRONG not in outcomes(result).values()


def test_one_value_as_two_outputs(tmp_path: Path) -> None:
    """torch-mlir#4670: names, number and types of outputs are the source's in every artifact."""
    text = header(17) + (
        "g (float[n,4] x) => (float[n,4] last, float[n,4] hidden) "
        "{ a = MatMul(x, w) last = Relu(a) hidden = Identity(last) }"
    )
    w = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    x = np.random.default_rng(1).random((3, 4), np.float32)
    y = np.maximum(x @ w, 0)
    result = through(tmp_path, text, {"w": w}, [x], [y, y])
    assert set(outcomes(result).values()) == {Outcome.EQUAL}, "\n".join(
        map(str, result.steps.items())
    )


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(("opset", "operator"), [(7, ""), (9, "Upsample"), (10, "Resize")])
def test_resize_without_coordinate_modes(
    tmp_path: Path, opset: int, operator: str, mode: str
) -> None:
    """onnx#8480, #3326: onnx converts it to other coordinates; quantized, it computes the same."""
    last = f'y = {operator} <mode = "{mode}"> (a, scales)'
    if not operator:
        last = f'y = Upsample <mode = "{mode}", scales = [1.0, 1.0, 2.0, 2.0]> (a)'
    text = header(opset) + (
        "g (float[1,2,4,4] x) => (float[1,2,8,8] y) "
        f"{{ a = Conv <pads = [1, 1, 1, 1]> (x, w) {last} }}"
    )
    weights = {
        "w": np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype(np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    x = np.random.default_rng(1).random((1, 2, 4, 4), np.float32)
    result = through(tmp_path, text, weights, [x], [_source(text, weights, x)])
    assert set(outcomes(result).values()) == {Outcome.EQUAL}, "\n".join(
        map(str, result.steps.items())
    )


def _source(text: str, weights: Weights, x: NDArray[Any]) -> NDArray[Any]:
    """Return what ONNX Runtime itself makes of a model of one input and output."""
    import onnxruntime

    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in weights.items())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
    found: NDArray[Any] = session.run(None, {"x": x})[0]
    return found


def test_scan_of_opset_8(tmp_path: Path) -> None:
    """onnx's converter drops an axis of its inputs; the model stays at its opset."""
    text = header(8) + (
        "g (float[1,2] initial, float[1,3,2] x) => (float[1,2] y, float[1,3,2] z) "
        "{ y, z = Scan <num_scan_inputs = 1, body = b (float[2] s, float[2] next) "
        '=> (float[2] t, float[2] o) { t = Add(s, next) o = Identity(t) }> ("", initial, x) }'
    )
    x = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    sums = np.cumsum(x, axis=1)
    fed = [np.zeros((1, 2), np.float32), x]
    result = through(tmp_path, text, {}, fed, [sums[:, -1], sums])
    assert outcomes(result)["onnxruntime"] is Outcome.EQUAL, result.steps
    assert set(outcomes(result).values()) <= {Outcome.EQUAL, Outcome.REFUSED}, result.steps


def test_logits_of_suppressed_tokens(tmp_path: Path) -> None:
    """-inf where FP32 has -inf is no fault of a form."""
    text = header(17) + (
        "g (float[n,8] x) => (float[n,8] logits) { a = MatMul(x, w) logits = Where(keep, a, low) }"
    )
    w = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    keep = np.arange(8) % 3 > 0
    x = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)
    low = np.array(-np.inf, np.float32)
    expected = np.where(keep, x @ w, low).astype(np.float32)
    result = through(tmp_path, text, {"w": w, "keep": keep, "low": low}, [x], [expected])
    assert outcomes(result)["onnxruntime"] is Outcome.EQUAL, result.steps
    assert outcomes(result)["openvino"] is Outcome.EQUAL, result.steps
    assert set(outcomes(result).values()) <= {Outcome.EQUAL, Outcome.REFUSED}, result.steps


def test_picture_without_a_detection(tmp_path: Path) -> None:
    """torchvision#2251, mmcv#1689: (0, 3) against (0, 3) is exact."""
    text = header(17) + (
        "g (float[1,6,4] boxes, float[1,1,6] scores) => (int64[found,3] selected) "
        "{ selected = NonMaxSuppression(boxes, scores, most, overlap, least) }"
    )
    weights = {
        "most": np.array([5]),
        "overlap": np.array([0.5], np.float32),
        "least": np.array([0.9], np.float32),
    }
    boxes = np.random.default_rng(0).random((1, 6, 4), np.float32)
    scores = np.full((1, 1, 6), 0.1, np.float32)
    result = through(tmp_path, text, weights, [boxes, scores], [np.zeros((0, 3), np.int64)])
    assert outcomes(result)["onnxruntime"] is Outcome.EQUAL, result.steps
    assert outcomes(result)["openvino"] is Outcome.EQUAL, result.steps
    assert set(outcomes(result).values()) <= {Outcome.EQUAL, Outcome.REFUSED}, result.steps


def test_sequence_output_is_named(tmp_path: Path) -> None:
    text = header(17) + (
        "g (float[3,6] x) => (seq(float[]) parts) { parts = SplitToSequence <axis = 1> (x) }"
    )
    x = np.zeros((3, 6), np.float32)
    result = through(tmp_path, text, {}, [x], [[x[:, i : i + 1] for i in range(6)]])
    assert result.steps["init"][0] is Outcome.REFUSED
    assert "output parts is a sequence" in result.steps["init"][1]


def test_weights_listed_as_inputs_in_an_old_file(tmp_path: Path) -> None:
    """A constant that a pass makes of a node must not spoil a file of IR version 3."""
    text = '<ir_version: 3, opset_import: ["" : 7]>\n' + (
        "g (float[1,4] x, float[4,4] w) => (float[1,4] y) "
        "{ c = Constant <value = float[1,4] {1., 2., 3., 4.}> () a = MatMul(x, w) y = Add(a, c) }"
    )
    w = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    x = np.array([[1, -1, 0.5, 2]], np.float32)
    expected = x @ w + np.array([[1, 2, 3, 4]], np.float32)
    result = through(tmp_path, text, {"w": w}, [x], [expected])
    # In INT8 its one layer misses the gate.
    ended = {step: outcome for step, outcome in outcomes(result).items() if step != "int8"}
    assert set(ended.values()) == {Outcome.EQUAL}, "\n".join(map(str, result.steps.items()))


def test_weights_in_a_subfolder(tmp_path: Path) -> None:
    """What the error says to do works."""
    text = header(17) + "g (float[1,64] x) => (float[1,64] y) { y = MatMul(x, w) }"
    model = onnx.parser.parse_model(text)
    w = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(w, "w"))
    source, flat = tmp_path / "model.onnx", tmp_path / "flat.onnx"
    (tmp_path / "weights").mkdir()
    onnx.save(model, source, save_as_external_data=True, location="weights/w.bin", size_threshold=0)
    with pytest.raises(ModelError, match=r"onnx.save\(onnx.load\('model.onnx'\), 'flat.onnx'\)"):
        load_onnx(source)
    onnx.save(onnx.load(source), flat)
    assert len(load_onnx(flat).graph.initializer) == 1


def test_loop_that_ends_by_value(tmp_path: Path) -> None:
    """Newton's method until it is exact enough: what is fed ends it, and zeros never would."""
    text = (
        header(17)
        + """g (float[2] x) => (float[2] y) {
      go = Constant <value = bool {1}> ()
      most = Constant <value = int64 {9223372036854775807}> ()
      root = Loop (most, go, x) <
        body = b (int64 i, bool c, float[2] r) => (bool again, float[2] s) {
        half = Constant <value = float {0.5}> ()
        enough = Constant <value = float {0.0001}> ()
        q = Div(x, r)
        t = Add(r, q)
        s = Mul(t, half)
        square = Mul(s, s)
        off = Sub(square, x)
        far = Abs(off)
        worst = ReduceMax <keepdims = 0> (far)
        again = Less(enough, worst)
      }>
      m = Unsqueeze(root, axis)
      n = MatMul(m, w)
      y = Squeeze(n, axis)
    }"""
    )
    w = np.random.default_rng(0).standard_normal((2, 2)).astype(np.float32)
    x = np.array([2, 9], np.float32)
    expected = np.sqrt(x) @ w
    result = through(tmp_path, text, {"w": w, "axis": np.array([0])}, [x], [expected])
    for step in ("init", "source", "export", "passes", "onnxruntime"):
        assert result.steps[step][0] is Outcome.EQUAL, result.steps
    assert outcomes(result).keys() >= {"fp16", "int8"}, "each form is made or says why not"
    assert not {Outcome.WRONG, Outcome.FAULT} & {*outcomes(result).values()}, result.steps
