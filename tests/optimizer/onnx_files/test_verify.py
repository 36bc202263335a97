"""NaN and infinity are compared by their places; other values by their distance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mopt_optimizer.errors import ComparisonError
from mopt_optimizer.onnx_files.verify import Case, OnnxSession, compare, difference, verify
from mopt_optimizer.quality.comparable import check_pair

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("found", "expected", "passed"),
    [
        ([-INF, 1.0, NAN], [-INF, 1.0, NAN], True),
        ([-INF, -INF], [-INF, -INF], True),
        ([-INF, 1.1], [-INF, 1.0], False),
        ([INF, 1.0], [-INF, 1.0], False),
        ([NAN, 1.0], [-INF, 1.0], False),
        ([1.0, NAN], [1.0, 1.0], False),
        ([1.0, 1.0], [1.0, -INF], False),
    ],
)
def test_same_places_are_equal(found: list[float], expected: list[float], passed: bool) -> None:
    arrays = [np.array(values, np.float32) for values in (found, expected)]
    assert difference("y", *arrays).passed is passed


@pytest.mark.parametrize(
    ("found", "expected", "passed"),
    [
        (np.zeros((0, 5)), np.zeros((0, 5)), True),
        (np.zeros((1, 5)), np.zeros((0, 5)), False),
        (np.array(["cat"]), np.array(["cat"]), True),
        (np.array(["dog"], object), np.array(["cat"], object), False),
        (np.array([3, 4]), np.array([3, 4]), True),
        (np.array([3, 5]), np.array([3, 4]), False),
        (np.array([True]), np.array([False]), False),
        (np.array([1e6 + 1]), np.array([1e6]), True),
    ],
    ids=["empty", "a row", "text", "other text", "integers", "other", "booleans", "rounding"],
)
def test_what_is_no_float_is_equal_or_not(
    found: NDArray[Any], expected: NDArray[Any], passed: bool
) -> None:
    assert difference("y", found, expected).passed is passed


@pytest.mark.parametrize("found", [[1.0, NAN], [-INF, NAN], [1.0, -INF], [[1.0, 2.0]], [NAN, NAN]])
@pytest.mark.parametrize("expected", [[1.0, NAN], [1.0, -INF], [1.0, 2.0], [NAN, NAN]])
def test_what_can_be_compared_is_what_a_measurement_compares(
    found: list[Any], expected: list[float]
) -> None:
    arrays = np.array(found), np.array(expected)
    result = difference("y", *arrays)
    message = None
    try:
        check_pair("output y", arrays[1], arrays[0])
    except ComparisonError as error:
        message = str(error)
    assert np.isfinite(result.max_abs_error) == (message is None)
    assert message in (None, result.message)
    assert message is None or not result.passed


def amplifier(path: Path, x: NDArray[Any]) -> None:
    """Write what leaves 0.002 of values around 50: their rounding is 0.4 % of that."""
    generator = np.random.default_rng(0)
    weights = {
        "w": generator.uniform(20, 40, (64, 3, 1, 1)).astype(np.float32),
        "c": generator.uniform(0.5, 1.5, (1, 64, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Mul", ["a", "c"], ["b"]),
    ]
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)

    def model(output: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            nodes,
            "amplifier",
            [shape],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, (1, 64, 1, 1))],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=9)

    (b,) = OnnxSession(model("b").SerializeToString(), optimized=False).run({"x": x})
    weights["most"] = b - np.float32(0.002)
    nodes.append(helper.make_node("Sub", ["b", "most"], ["y"]))
    onnx.save(model("y"), path)


@pytest.mark.optimizer
def test_rounding_that_a_model_amplifies_is_no_other_function(tmp_path: Path) -> None:
    """As basic-pitch's logarithm of what is nearly silent does on real samples."""
    x = np.random.default_rng(1).random((1, 3, 1, 1), np.float32)
    path = tmp_path / "model.onnx"
    amplifier(path, x)
    (expected,) = OnnxSession(path, optimized=False).run({"x": x})
    case = Case({}, {"x": x}, (expected,))
    (optimized,) = compare(OnnxSession(path), case)
    assert not optimized.passed, "ONNX Runtime no longer fuses the factor"
    assert optimized.max_abs_error < 1e-5
    assert verify(path, [case])[1] is None
    for off in (np.float32(1e-5), np.float32(1e-3)):
        other = Case({}, {"x": x}, (expected + off,))
        assert "output y differs by" in (verify(path, [other])[1] or "")
