"""Only layers read INT8, and what is added to their output."""

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

from mopt_optimizer.errors import CalibrationError
from mopt_optimizer.onnx_files.layers import WEIGHTED
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import (
    Scheme,
    StaticOptions,
    quantize_onnx_static,
    quantize_onnx_with_ranges,
)

pytestmark = pytest.mark.optimizer

Save = Callable[..., Path]
Samples = list[dict[str, NDArray[np.float32]]]
OPTIONS = StaticOptions(
    scheme=Scheme.S8S8, layer_outputs=False, biases=False, layers_only=True, operators=WEIGHTED
)


def conv(name: str, source: str, result: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, "w", "bias"], [result], name, pads=[1, 1, 1, 1])


def add(first: str, second: str, result: str = "result") -> onnx.NodeProto:
    return helper.make_node("Add", [first, second], [result], f"add_{result}")


def relu(source: str, result: str) -> onnx.NodeProto:
    return helper.make_node("Relu", [source], [result], f"relu_{result}")


@pytest.fixture
def quantized(save: Save, samples: Samples, tmp_path: Path) -> Callable[..., onnx.GraphProto]:
    """Return what quantizes a graph of 3-channel layers and gives the result."""

    def run(nodes: list[onnx.NodeProto], options: StaticOptions = OPTIONS) -> onnx.GraphProto:
        generator = np.random.default_rng(2)
        weights: dict[str, NDArray[Any]] = {
            "w": generator.standard_normal((3, 3, 3, 3)).astype(np.float32) * 0.2,
            "bias": np.ones(3, np.float32),
            "k": np.ones((1, 3, 1, 1), np.float32),
        }
        out = tmp_path / "int8.onnx"
        quantize_onnx_static(save(nodes, weights), out, samples, options)
        graph: onnx.GraphProto = onnx.load(out).graph
        return graph

    return run


def sources(graph: onnx.GraphProto, name: str = "add_result") -> list[str]:
    """Return which operators compute an Add's inputs."""
    makers = {out: node.op_type for node in graph.node for out in node.output}
    (node,) = [node for node in graph.node if node.name == name]
    return [makers.get(source, "input") for source in node.input]


@pytest.mark.parametrize("swapped", [False, True])
def test_the_way_around_a_block_is_quantized(
    quantized: Callable[..., onnx.GraphProto], swapped: bool
) -> None:
    summands = ("relu", "second") if swapped else ("second", "relu")
    graph = quantized(
        [
            conv("a", "image", "first"),
            relu("first", "relu"),
            conv("b", "relu", "middle"),
            relu("middle", "inner"),
            conv("c", "inner", "second"),
            add(*summands),
        ]
    )
    expected = ["Conv", "DequantizeLinear"]
    assert sources(graph) == (expected[::-1] if swapped else expected)
    # The Conv behind reads the same INT8 tensor: one pair for both.
    readers = [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "relu"]
    assert len(readers) == 1


def test_a_tensor_that_no_layer_reads_gets_a_pair_of_its_own(
    quantized: Callable[..., onnx.GraphProto],
) -> None:
    graph = quantized([conv("a", "image", "first"), relu("image", "other"), add("first", "other")])
    assert sources(graph) == ["Conv", "DequantizeLinear"]
    weights = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    assert weights["other_residual_zero_point"] == 0
    assert weights["other_residual_zero_point"].dtype == np.int8
    # Photographs reach almost 1.
    assert weights["other_residual_scale"] == pytest.approx(1 / 127, rel=0.01)


def test_of_two_layers_the_second_is_quantized(
    quantized: Callable[..., onnx.GraphProto],
) -> None:
    graph = quantized(
        [conv("a", "image", "first"), conv("b", "image", "second"), add("first", "second")]
    )
    assert sources(graph) == ["Conv", "DequantizeLinear"]


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(
            [conv("a", "image", "first"), add("first", "k")], id="a constant is no residual"
        ),
        pytest.param(
            [conv("a", "image", "first"), relu("first", "relu"), add("relu", "image")],
            id="something stands between the layer and the Add",
        ),
        pytest.param(
            [
                conv("a", "image", "first"),
                relu("first", "relu"),
                add("first", "image", "sum"),
                add("sum", "relu"),
            ],
            id="others read the layer's output",
        ),
    ],
)
def test_other_adds_stay_as_they_are(
    quantized: Callable[..., onnx.GraphProto], nodes: list[onnx.NodeProto]
) -> None:
    graph = quantized(nodes)
    # Two of them in the last case, of which the optimizer leaves both.
    adds = [node.name for node in graph.node if node.op_type == "Add"]
    assert len(adds) == sum(node.op_type == "Add" for node in nodes)
    assert not [name for name in adds if "DequantizeLinear" in sources(graph, name)]


def test_an_excluded_layer_or_add_has_none(
    quantized: Callable[..., onnx.GraphProto],
) -> None:
    nodes = [conv("a", "image", "first"), relu("first", "relu"), conv("b", "relu", "second")]
    nodes.append(add("second", "relu"))
    for excluded in ("b", "add_result"):
        graph = quantized(nodes, replace(OPTIONS, exclude=(excluded,)))
        assert "DequantizeLinear" not in sources(graph)


def test_other_readers_of_a_quantized_tensor_read_it_as_it_was(
    quantized: Callable[..., onnx.GraphProto],
) -> None:
    pool = helper.make_node("MaxPool", ["image"], ["pooled"], "pool", kernel_shape=[1, 1])
    nodes = [conv("a", "image", "first"), relu("first", "relu"), pool, add("relu", "pooled")]
    graph = quantized(nodes)
    assert sources(graph, "pool") == ["input"]
    assert sources(graph, "a")[0] == "DequantizeLinear"
    # Excluded, the layer is one of the others.
    others = [*nodes[:3], conv("b", "image", "second"), add("second", "pooled")]
    graph = quantized(others, replace(OPTIONS, exclude=("a",)))
    assert sources(graph, "a")[0] == "input"
    assert sources(graph, "b")[0] == "DequantizeLinear"


def test_biases_stay_float(quantized: Callable[..., onnx.GraphProto]) -> None:
    graph = quantized([conv("a", "image", "result")])
    (node,) = [node for node in graph.node if node.op_type == "Conv"]
    (bias,) = [t for t in graph.initializer if t.name == node.input[2]]
    assert numpy_helper.to_array(bias).dtype == np.float32


def test_it_is_symmetric_only() -> None:
    with pytest.raises(ValueError, match="with scheme S8S8 or FP8, not U8S8"):
        StaticOptions(scheme=Scheme.U8S8, layers_only=True)


def test_known_ranges_need_no_samples(save: Save, samples: Samples, tmp_path: Path) -> None:
    weights = {"w": np.full((3, 3, 3, 3), 0.05, np.float32), "bias": np.ones(3, np.float32)}
    path = save(
        [conv("a", "image", "first"), relu("first", "r"), conv("b", "r", "result")], weights
    )
    out = tmp_path / "int8.onnx"
    ranges = {"image": (-1.0, 1.0), "r": (-4.0, 4.0), "unused": (0.0, 1.0)}
    assert quantize_onnx_with_ranges(path, out, ranges, OPTIONS) == 2
    scales = {
        t.name: float(numpy_helper.to_array(t))
        for t in onnx.load(out).graph.initializer
        if t.name in ("image_scale", "r_scale")
    }
    assert scales == pytest.approx({"image_scale": 1 / 127, "r_scale": 4 / 127})
    (expected,) = OnnxSession(path).run(dict(samples[0]))
    (found,) = OnnxSession(out).run(dict(samples[0]))
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_a_tensor_without_a_range_is_named(save: Save, tmp_path: Path) -> None:
    weights = {"w": np.ones((3, 3, 3, 3), np.float32), "bias": np.ones(3, np.float32)}
    path = save(
        [conv("a", "image", "first"), relu("first", "r"), conv("b", "r", "result")], weights
    )
    with pytest.raises(CalibrationError, match=r"1 of 2 .* have no range, the first is 'r'"):
        quantize_onnx_with_ranges(path, tmp_path / "o.onnx", {"image": (-1.0, 1.0)}, OPTIONS)
