"""Weights alone as integers: what is taken, how close it stays, what runtimes make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from runners import opened

from mopt_api.enums import Precision, QualityMetric, Runtime
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization
from mopt_optimizer.errors import ModelError, NonFiniteWeight, QuantizationError
from mopt_optimizer.forms.checking import Beside
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.make import make
from mopt_optimizer.forms.material import Material
from mopt_optimizer.forms.registry import FormKind
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import WeightOptions, quantize_weights
from mopt_optimizer.onnx_quantization.weight_integers import (
    block_of,
    channel_scales,
    in_eight_bits,
    in_four_bits,
    relative_error,
)
from mopt_optimizer.quality import sqnr

pytestmark = pytest.mark.optimizer

Floats = NDArray[np.float32]
IDS = {"ids": np.array([[3, 0, 59], [7, 7, 1]], np.int64)}
LAYERS = ("up", "down", "gemm", "head")


def write(path: Path, weights: dict[str, Floats]) -> Path:
    """An encoder in small: a table, MatMul, Gemm of either layout, a Conv, and a last layer."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["a"], "embed"),
        helper.make_node("MatMul", ["a", "up"], ["b"], "up"),
        helper.make_node("Relu", ["b"], ["c"], "relu"),
        helper.make_node("MatMul", ["c", "down"], ["d"], "down"),
        helper.make_node("Reshape", ["d", "rows"], ["e"], "flat"),
        helper.make_node("Gemm", ["e", "gemm"], ["f"], "gemm", transB=1),
        helper.make_node("MatMul", ["f", "head"], ["result"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["words", 40])],
        [
            *(numpy_helper.from_array(values, name) for name, values in weights.items()),
            numpy_helper.from_array(np.array([-1, 64], np.int64), "rows"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def random_weights() -> dict[str, Floats]:
    generator = np.random.default_rng(0)
    shapes = {
        "table": (80, 64),
        "up": (64, 128),
        "down": (128, 64),
        "gemm": (128, 64),
        "head": (128, 40),
    }
    return {
        name: (generator.standard_normal(shape) / 8).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write(tmp_path / "model.onnx", random_weights())


def kinds(path: Path) -> dict[str, str]:
    """Return the element type of each weight of two axes."""
    return {
        tensor.name: TensorProto.DataType.Name(tensor.data_type)
        for tensor in onnx.load(path).graph.initializer
        if len(tensor.dims) == 2 and not tensor.name.endswith("_scale")
    }


def quality(path: Path, form: Path, runtime: Runtime = Runtime.ONNX_RUNTIME) -> float:
    expected = OnnxSession(path).run(IDS)[0]
    with opened(runtime, Precision.INT8, form, 1) as runner:
        return sqnr(expected, runner.run(IDS)["result"])


RUNTIMES = (Runtime.ONNX_RUNTIME, Runtime.OPENVINO)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_eight_bits_of_every_large_weight(encoder: Path, tmp_path: Path, runtime: Runtime) -> None:
    out = tmp_path / "out.onnx"
    report = quantize_weights(encoder, out)
    assert kinds(out) == {f"{name}_int8": "INT8" for name in ("table", *LAYERS)}
    assert (report.weights, report.kept) == (5, {})
    assert report.bytes_after < 0.27 * report.bytes_before
    assert out.stat().st_size < 0.3 * encoder.stat().st_size
    assert quality(encoder, out, runtime) > 33


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_four_bits_of_what_loses_least(encoder: Path, tmp_path: Path, runtime: Runtime) -> None:
    out = tmp_path / "out.onnx"
    report = quantize_weights(encoder, out, WeightOptions(bits=4))
    found = kinds(out)
    assert found.pop("table_int8") == found.pop("head_int8") == "INT8"
    assert sorted(found.values()) == ["INT4", "INT4", "INT8"]
    assert report.kept["head"] == "8 bits: the last layer"
    assert sorted(report.kept.values()) == ["8 bits: loses most in 4", "8 bits: the last layer"]
    eight = quantize_weights(encoder, tmp_path / "eight.onnx")
    assert report.bytes_after < 0.8 * eight.bytes_after
    onnx.checker.check_model(out)
    assert 12 < quality(encoder, out, runtime) < quality(encoder, tmp_path / "eight.onnx")


def test_what_loses_most_in_four_bits_keeps_eight(tmp_path: Path) -> None:
    weights = random_weights()
    # Beside one value of each block all others are less than half a step.
    weights["down"] = np.where(weights["down"] > 0, 0.06, -0.06).astype(np.float32)
    weights["down"][0] = 1
    path = write(tmp_path / "model.onnx", weights)
    report = quantize_weights(path, tmp_path / "out.onnx", WeightOptions(bits=4))
    assert report.kept["down"] == "8 bits: loses most in 4"


def test_a_table_is_restored_row_by_row(encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    quantize_weights(encoder, out)
    nodes = [node.op_type for node in onnx.load(out).graph.node]
    assert nodes.count("Gather") == 2
    assert nodes.count("DequantizeLinear") == len(LAYERS)
    minus = {"ids": np.array([[-1]], np.int64)}
    expected, found = (OnnxSession(path).run(minus)[0] for path in (encoder, out))
    assert sqnr(expected, found) > 33


def test_excluded_nodes_keep_their_weights(encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert quantize_weights(encoder, out, WeightOptions(exclude=("embed", "gemm"))).weights == 3
    assert {kinds(out)["table"], kinds(out)["gemm"]} == {"FLOAT"}


def test_a_weight_that_two_nodes_read_stays(encoder: Path, tmp_path: Path) -> None:
    model = onnx.load(encoder)
    model.graph.node.append(helper.make_node("ReduceSum", ["up"], ["other"], "sum"))
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 1]))
    onnx.save(model, encoder)
    quantize_weights(encoder, tmp_path / "out.onnx")
    assert kinds(tmp_path / "out.onnx")["up"] == "FLOAT"


def test_nothing_in_four_bits_is_refused(tmp_path: Path) -> None:
    weights = random_weights()
    path = write(tmp_path / "model.onnx", weights)
    options = WeightOptions(bits=4, exclude=("up", "down", "gemm"))
    with pytest.raises(QuantizationError, match="but the last would be in 4 bits; use 8"):
        quantize_weights(path, tmp_path / "out.onnx", options)
    assert not (tmp_path / "out.onnx").exists()
    with pytest.raises(ValueError, match="bits 3 is neither 8 nor 4"):
        WeightOptions(bits=3)


def test_what_is_not_finite_is_named_in_four_bits_too(tmp_path: Path) -> None:
    weights = random_weights()
    weights["up"][0, 0] = np.inf
    path = write(tmp_path / "model.onnx", weights)
    with pytest.raises(ModelError, match="'up' holds"):
        quantize_weights(path, tmp_path / "out.onnx", WeightOptions(bits=4))


def made(encoder: Path, target: Path, **options: object) -> Path:
    quantization = Quantization.model_validate({"mode": "WeightOnly"} | options)
    form = Form(kind=FormKind.WEIGHT_ONLY, quantization=quantization)
    gates = [QualityGate(metric=QualityMetric.SQNR, minimum=90)]
    material = Material(encoder, encoder, [IDS], gates, [], Beside(IDS, [IDS]))
    report = make(form, material, target)
    assert report.name == form.name(gates)
    assert report.fallbacks == []
    return target


def test_the_form_is_made_alike_each_time_and_checked(encoder: Path, tmp_path: Path) -> None:
    for options in ({}, {"weightBits": 4}, {"exclude": ["Gather"]}):
        first = made(encoder, tmp_path / "a.onnx", **options)
        again = made(encoder, tmp_path / "b.onnx", **options)
        assert first.read_bytes() == again.read_bytes()


def test_a_model_without_large_weights_has_no_form(network: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    with pytest.raises(QuantizationError, match="large enough to gain"):
        made(network, target)
    assert not target.exists()


@st.composite
def weights(draw: st.DrawFn) -> tuple[Floats, int, int]:
    block = draw(st.sampled_from([32, 64]))
    shape = [draw(st.integers(1, 3)) * block, draw(st.integers(1, 5))]
    axis = draw(st.integers(0, 1))
    if axis:
        shape.reverse()
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = 10.0 ** draw(st.integers(-6, 6))
    values = (generator.standard_normal(shape) * spread).astype(np.float32)
    if draw(st.booleans()):
        values[0 if axis else slice(None), slice(None) if axis else 0] = 0
    return values, axis, block


@settings(deadline=None)
@given(weights())
def test_four_bits_are_within_half_a_step_or_cut(case: tuple[Floats, int, int]) -> None:
    weight, axis, block = case
    found = in_four_bits(weight, axis, block)
    assert found.steps.min() >= -8
    assert found.steps.max() <= 7
    assert (found.scales > 0).all()
    scales = np.repeat(found.scales, block, axis=axis)
    error = np.abs(found.steps * scales - weight)
    cut = np.abs(weight) > 7 * scales
    assert (error[~cut] <= scales[~cut] * 0.5 * (1 + 1e-5)).all()
    # The largest magnitude is cut by a fifth at most.
    assert (error <= 0.2 * np.abs(weight) + 0.5 * scales * (1 + 1e-5)).all()
    assert 0 <= relative_error(weight, axis, block) < 0.1


@settings(deadline=None)
@given(weights())
def test_eight_bits_are_within_half_a_step(case: tuple[Floats, int, int]) -> None:
    weight, axis, _ = case
    scales = channel_scales(weight, axis, "w")
    restored = in_eight_bits(weight, axis, scales) * (scales[:, None] if axis == 0 else scales)
    step = scales[:, None] if axis == 0 else scales
    assert (np.abs(restored - weight) <= 0.5 * step * (1 + 1e-5)).all()


@pytest.mark.parametrize(
    ("values", "block"), [(384, 128), (64, 64), (96, 32), (33, None), (16, None)]
)
def test_blocks_divide_what_is_added_up(values: int, block: int | None) -> None:
    assert block_of(values) == block


def test_scales_of_what_is_not_finite_are_refused() -> None:
    with pytest.raises(NonFiniteWeight, match="'w' holds NaN or infinity"):
        channel_scales(np.array([[1, np.nan]], np.float32), 0, "w")
