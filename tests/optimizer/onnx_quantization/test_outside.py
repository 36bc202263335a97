"""Static INT8 of models whose weights lie in another file: the same numbers, in less memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from mopt_api.enums import QualityMetric
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import ModelError, QuantizationError
from mopt_optimizer.onnx_files import files as graph_files
from mopt_optimizer.onnx_files.files import data_files, place_model
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import (
    Calibration,
    FloatType,
    Scheme,
    StaticOptions,
    analyze_sensitivity,
    convert_float,
    quantize_onnx_dynamic,
    quantize_onnx_static,
)

pytestmark = pytest.mark.optimizer

Samples = list[dict[str, NDArray[np.float32]]]
U8S8 = StaticOptions(scheme=Scheme.U8S8)


@pytest.fixture
def layers(save: Callable[..., Path]) -> Path:
    """Every kind of weight: MatMul, Gemm both ways with bias, Conv, ConvTranspose, Gather."""
    generator = np.random.default_rng(0)

    def weight(*shape: int) -> NDArray[np.float32]:
        return generator.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(shape[-1]))

    weights: dict[str, NDArray[np.float32]] = {
        "conv": weight(8, 3, 3, 3),
        "conv_bias": weight(8),
        "up": weight(8, 8, 2, 2),
        "plain": weight(8, 70),
        "gemm": weight(70, 72),
        "gemm_bias": weight(72),
        "transposed": weight(8, 72),
        "table": weight(90, 8),
    }
    # Adding 0.1 to each makes rounding errors that a wrong order of operations would show.
    shifted = {name: values + np.float32(0.1) for name, values in weights.items()}
    indices = {"rows": np.arange(8, dtype=np.int64), "axes": np.array([2, 3], np.int64)}
    nodes = [
        helper.make_node("Conv", ["image", "conv", "conv_bias"], ["a"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("ConvTranspose", ["b", "up"], ["c"], "up", strides=[2, 2]),
        helper.make_node("ReduceMean", ["c", "axes"], ["d"], "mean", keepdims=0),
        helper.make_node("MatMul", ["d", "plain"], ["e"], "plain"),
        helper.make_node("Gemm", ["e", "gemm", "gemm_bias"], ["f"], "gemm"),
        helper.make_node("Gemm", ["f", "transposed"], ["g"], "transposed", transB=1),
        helper.make_node("Gather", ["table", "rows"], ["h"], "gather"),
        helper.make_node("MatMul", ["g", "h"], ["result"], "last"),
    ]
    return save(nodes, shifted | indices, rank=2)


@pytest.fixture
def split(layers: Path, tmp_path: Path) -> Path:
    path = tmp_path / "split" / "model.onnx"
    place_model(layers, path, external=True)
    return path


def constants(path: Path) -> dict[str, NDArray[Any]]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


@pytest.mark.parametrize(
    "options",
    [
        U8S8,
        replace(U8S8, per_channel=False),
        replace(U8S8, exclude=("gemm", "up")),
        replace(U8S8, layer_outputs=False, calibration=Calibration.BEST),
        replace(U8S8, scheme=Scheme.S8S8),
        replace(U8S8, scheme=Scheme.U8S8_REDUCED),
    ],
)
def test_same_weights_and_nodes_as_from_one_file(
    layers: Path, split: Path, samples: Samples, tmp_path: Path, options: StaticOptions
) -> None:
    expected = quantize_onnx_static(layers, tmp_path / "one.onnx", samples, options)
    found = quantize_onnx_static(split, tmp_path / "two.onnx", samples, options)
    assert found == replace(expected, path=found.path)
    wanted, given = constants(expected.path), constants(found.path)
    assert wanted.keys() == given.keys()
    for name, values in wanted.items():
        assert values.dtype == given[name].dtype
        np.testing.assert_array_equal(values, given[name], err_msg=name)
    nodes = [onnx.load(path).graph.node for path in (expected.path, found.path)]
    assert nodes[0] == nodes[1]
    # It fits into one file again, and nothing is left beside it.
    assert sorted(p.name for p in tmp_path.glob("*.onnx*")) == [
        "model.onnx",
        "one.onnx",
        "two.onnx",
    ]
    assert not list(tmp_path.rglob(".*"))


def test_gate_is_searched_without_the_weights_in_memory(
    layers: Path, split: Path, samples: Samples, tmp_path: Path
) -> None:
    gate = QualityGate(metric=QualityMetric.SQNR, minimum=36)
    options = replace(U8S8, gates=(gate,), search_samples=2)
    expected = quantize_onnx_static(layers, tmp_path / "one.onnx", samples, options)
    found = quantize_onnx_static(split, tmp_path / "two.onnx", samples, options)
    assert found == replace(expected, path=found.path)
    assert found.sensitivity
    assert found.sensitivity.exclude
    assert analyze_sensitivity(split, samples, options) == analyze_sensitivity(
        layers, samples, options
    )


def test_what_is_too_large_for_one_file_goes_into_two(
    split: Path, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "out" / "one.onnx", tmp_path / "out" / "two.onnx"
    quantize_onnx_static(split, one, samples, U8S8)
    monkeypatch.setattr(graph_files, "MAX_INLINE_BYTES", 1000)
    quantize_onnx_static(split, two, samples, U8S8)
    assert data_files(one) == []
    assert data_files(two) == [tmp_path / "out" / "two.onnx.data"]
    assert two.stat().st_size < one.stat().st_size
    found, expected = (OnnxSession(p).run(dict(samples[0]))[0] for p in (two, one))
    np.testing.assert_array_equal(found, expected)


def test_weights_that_are_not_finite_are_named(split: Path, samples: Samples) -> None:
    data = split.with_name("model.onnx.data")
    data.write_bytes(np.full(data.stat().st_size // 4, np.nan, np.float32).tobytes())
    with pytest.raises(ModelError, match=r"holds \d+ values of \d+ that are NaN"):
        quantize_onnx_static(split, split.with_name("int8.onnx"), samples, U8S8)
    assert sorted(p.name for p in split.parent.iterdir()) == ["model.onnx", "model.onnx.data"]


def test_old_opset_says_what_to_do(split: Path, samples: Samples) -> None:
    model = onnx.load(split, load_external_data=False)
    model.opset_import[0].version = 11
    del model.graph.node[3:]
    model.graph.output[0].name = "c"
    split.write_bytes(model.SerializeToString())
    with pytest.raises(Exception, match="opset 11 cannot be converted where weights lie"):
        quantize_onnx_static(split, split.with_name("int8.onnx"), samples, U8S8)


def test_other_ways_say_that_they_do_not_take_it(split: Path) -> None:
    target = split.with_name("other.onnx")
    with pytest.raises(QuantizationError, match="only static INT8 and quantize_weights take such"):
        quantize_onnx_dynamic(split, target)
    with pytest.raises(QuantizationError, match="keeps weights in another file"):
        convert_float(split, target, FloatType.FP16)
    assert not target.exists()


def test_large_weights_of_other_nodes_are_refused(
    split: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mopt_optimizer.onnx_quantization import outside

    monkeypatch.setattr(outside, "MAX_ONNX_BYTES", 4000)
    with pytest.raises(QuantizationError, match="read by other nodes than Conv, Gemm and MatMul"):
        quantize_onnx_static(split, split.with_name("int8.onnx"), samples, U8S8)
