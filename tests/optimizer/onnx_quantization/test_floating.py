"""FP16 and BF16 files: valid, close, FP32 where it must be, whatever the graph looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mopt_api.figures import EXACT_PSNR_DB
from mopt_optimizer.errors import CalibrationError, QuantizationError
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import FloatOptions, FloatType, convert_float
from mopt_optimizer.quality import sqnr

pytestmark = pytest.mark.optimizer

Samples = list[dict[str, NDArray[np.float32]]]
NARROW = {FloatType.FP16: TensorProto.FLOAT16, FloatType.BF16: TensorProto.BFLOAT16}


def checked(path: Path) -> onnx.ModelProto:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("kind", FloatType)
def test_weights_and_nodes_are_narrow_and_io_is_not(
    network: Path, samples: Samples, tmp_path: Path, kind: FloatType
) -> None:
    out = tmp_path / "narrow.onnx"
    report = convert_float(network, out, kind, samples)
    graph = checked(out).graph
    assert {t.data_type for t in graph.initializer} == {NARROW[kind]}
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert (report.path, report.converted, report.kept, report.casts) == (out, 6, {}, 2)
    assert report.sqnr_db is not None
    assert report.sqnr_db > (50 if kind is FloatType.FP16 else 30)
    assert out.stat().st_size < network.stat().st_size


def test_narrow_io(network: Path, samples: Samples, tmp_path: Path) -> None:
    out = tmp_path / "narrow.onnx"
    options = FloatOptions(keep_io=False)
    report = convert_float(network, out, FloatType.FP16, None, options)
    assert (report.casts, report.sqnr_db, report.verified_with) == (0, None, None)
    checked(out)
    half = {"image": samples[0]["image"].astype(np.float16)}
    found = OnnxSession(out).run(half)[0]
    assert found.dtype == np.float16
    assert sqnr(OnnxSession(network).run(samples[0])[0], found) > 50


def test_nodes_near_the_largest_value_stay_fp32(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    # Behind the swelling channel values reach some hundreds; times 100 they would not fit.
    bright = [{"image": sample["image"] * 100} for sample in samples]
    out = tmp_path / "narrow.onnx"
    report = convert_float(network, out, FloatType.FP16, bright)
    assert set(report.kept) >= {"swell", "third"}
    assert "first" not in report.kept
    assert report.kept["third"].startswith("b1 reaches")
    assert np.isfinite(OnnxSession(out).run(bright[0])[0]).all()
    assert convert_float(network, out, FloatType.BF16, bright).kept == {}


def test_weight_beyond_the_range_keeps_its_node_without_any_sample(
    save: Callable[..., Path], tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("Mul", ["image", "large"], ["a"], "large"),
        helper.make_node("Mul", ["a", "small"], ["result"], "small"),
    ]
    weights = {"large": np.array([1e5], np.float32), "small": np.array([[[1e-9]], [[0]], [[0.5]]])}
    weights["small"] = weights["small"].astype(np.float32)
    report = convert_float(save(nodes, weights), tmp_path / "n.onnx", FloatType.FP16)
    assert report.kept == {"large": "large reaches 1e+05"}
    assert report.flushed == pytest.approx(1 / 3)


def test_subgraph_gets_its_outer_tensors_in_fp32(
    save: Callable[..., Path], samples: Samples, tmp_path: Path
) -> None:
    def branch(operator: str) -> onnx.GraphProto:
        value = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [None] * 4)
        return helper.make_graph([helper.make_node(operator, ["a"], ["chosen"])], "b", [], [value])

    nodes = [
        helper.make_node("Neg", ["image"], ["a"], "outer"),
        helper.make_node("Relu", ["a"], ["other"], "reader"),
        helper.make_node(
            "If", ["yes"], ["c"], "if", then_branch=branch("Abs"), else_branch=branch("Neg")
        ),
        helper.make_node("Add", ["c", "other"], ["result"], "add"),
    ]
    path = save(nodes, {"yes": np.array(True)})
    out = tmp_path / "narrow.onnx"
    report = convert_float(path, out, FloatType.FP16, samples)
    checked(out)
    assert report.kept == {"if": "holds a subgraph"}
    assert report.sqnr_db is not None
    assert report.sqnr_db > 60


def test_fixed_float_parts_of_operators_stay(
    save: Callable[..., Path], samples: Samples, tmp_path: Path
) -> None:
    """Resize takes its scales, and Cast its target, as float and nothing else."""
    nodes = [
        helper.make_node("Resize", ["image", "", "scales"], ["a"], "resize", mode="nearest"),
        helper.make_node("Shape", ["a"], ["s"], "shape"),
        helper.make_node("Cast", ["s"], ["f"], "cast", to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["f"], ["m"], "max", keepdims=0),
        helper.make_node("Div", ["a", "m"], ["result"], "divide"),
    ]
    path = save(nodes, {"scales": np.array([1, 1, 2, 2], np.float32)})
    for kind in FloatType:
        out = tmp_path / "narrow.onnx"
        report = convert_float(path, out, kind, samples)
        checked(out)
        assert set(report.kept) == {"resize"}


def test_node_kept_on_request(network: Path, samples: Samples, tmp_path: Path) -> None:
    out = tmp_path / "narrow.onnx"
    report = convert_float(network, out, FloatType.FP16, samples, FloatOptions(keep=("second",)))
    assert report.kept == {"second": "asked for"}
    (weight,) = [t for t in checked(out).graph.initializer if t.name == "w2"]
    assert weight.data_type == TensorProto.FLOAT


def test_nothing_to_convert(save: Callable[..., Path], tmp_path: Path) -> None:
    path = save([helper.make_node("Exp", ["image"], ["result"], "exp")], {})
    with pytest.raises(QuantizationError, match="no node can be FP16: Exp is unsafe"):
        convert_float(path, tmp_path / "n.onnx", FloatType.FP16)


def test_model_without_floats_says_so(tmp_path: Path) -> None:
    text = '<ir_version: 9, opset_import: ["" : 18]> g (int64[n] x) => (int64[n] y) { y = Neg(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    with pytest.raises(QuantizationError, match="no node can be FP16: none computes in FP32"):
        convert_float(
            tmp_path / "model.onnx", tmp_path / "n.onnx", FloatType.FP16, [{"x": np.arange(3)}]
        )


def test_what_is_empty_is_as_close_as_can_be(save: Callable[..., Path], tmp_path: Path) -> None:
    """A Slice that starts behind the end, as of detections that a sample has not."""
    bounds = {"first": np.array([9]), "last": np.array([20]), "axis": np.array([3])}
    slices = helper.make_node("Slice", ["relu", "first", "last", "axis"], ["result"], "cut")
    nodes = [helper.make_node("Relu", ["image"], ["relu"], "relu"), slices]
    path = save(nodes, bounds)
    samples = [{"image": np.ones((1, 3, 8, 8), np.float32)}]
    report = convert_float(path, tmp_path / "n.onnx", FloatType.FP16, samples)
    assert report.sqnr_db == EXACT_PSNR_DB


def test_overflowing_fp32_model_and_no_samples(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    huge = [{"image": np.full((1, 3, 8, 8), 3e38, np.float32)}]
    with pytest.raises(CalibrationError, match="NaN or infinity"):
        convert_float(network, tmp_path / "n.onnx", FloatType.FP16, huge)
    with pytest.raises(CalibrationError, match="no calibration samples"):
        convert_float(network, tmp_path / "n.onnx", FloatType.FP16, [])
    with pytest.raises(ValueError, match="headroom"):
        FloatOptions(headroom=0.5)
