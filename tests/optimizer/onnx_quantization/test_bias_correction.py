"""Biases after 8 bits: each layer's mean error goes, no other layer changes, and quality rises."""

from __future__ import annotations

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
from mopt_optimizer.onnx_files.float_models import name_nodes
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import (
    Calibration,
    Scheme,
    StaticOptions,
    quantize_onnx_static,
)
from mopt_optimizer.onnx_quantization.bias_correction import bias_corrections, correct_biases
from mopt_optimizer.onnx_quantization.layer_errors import layer_errors
from mopt_optimizer.onnx_quantization.observing import float_activations, observe

from .conftest import Samples, Save

pytestmark = pytest.mark.optimizer

# Whose numbers are the same on every CPU: without VNNI 8-bit weights saturate.
PLAIN = StaticOptions(
    scheme=Scheme.U8S8_REDUCED, calibration=Calibration.PERCENTILE, bias_correction=False
)
CORRECTED = replace(PLAIN, bias_correction=True)


def weight(*shape: int) -> NDArray[np.float32]:
    values = np.random.default_rng(0).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    found: NDArray[np.float32] = values.astype(np.float32)
    return found


def layers(save: Save, opset: int = 18) -> Path:
    """Write every kind of layer that has a bias, with one and without."""
    weights: dict[str, Any] = {
        "conv": weight(8, 3, 3, 3),
        "conv_bias": weight(8),
        "up": weight(8, 6, 2, 2),
        "gemm": weight(6, 5),
        "gemm_bias": weight(5),
        "bare": weight(7, 5),
    }
    return save(
        [
            helper.make_node("Conv", ["image", "conv", "conv_bias"], ["a"], "conv", pads=[1] * 4),
            helper.make_node("Relu", ["a"], ["b"], "relu"),
            helper.make_node("ConvTranspose", ["b", "up"], ["c"], "up", strides=[2, 2]),
            helper.make_node("GlobalAveragePool", ["c"], ["d"], "mean"),
            helper.make_node("Flatten", ["d"], ["e"], "flat"),
            helper.make_node("Gemm", ["e", "gemm", "gemm_bias"], ["f"], "gemm", beta=0.5),
            helper.make_node("Gemm", ["f", "bare"], ["result"], "bare", transB=1),
        ],
        weights,
        rank=2,
        opset=opset,
    )


def mean_errors(path: Path, out: Path, samples: Samples) -> dict[str, NDArray[np.float32]]:
    """Return what each layer of a form computes too little on average, its input being FP32's.

    The form's own biases count, unlike where corrections are computed.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    name_nodes(model)
    shapes = observe(model, float_activations(model, None), samples).shapes
    probe, found = layer_errors(model, onnx.load(out), shapes)
    held = {t.name: t for t in onnx.load(out).graph.initializer}
    for node in onnx.load(out).graph.node:
        twin = next((n for n in probe.graph.node if n.name == f"mopt_error_of/{node.name}"), None)
        if twin is None or len(node.input) < 3 or node.name not in found:
            continue
        bias = next(n for n in onnx.load(out).graph.node if node.input[2] in n.output)
        integers, scale = (numpy_helper.to_array(held[name]) for name in bias.input[:2])
        del twin.input[2:]
        twin.input.append(f"own/{node.name}")
        values = (integers * scale).astype(np.float32)
        probe.graph.initializer.append(numpy_helper.from_array(values, twin.input[2]))
    session = OnnxSession(probe.SerializeToString(), optimized=False)
    runs = [session.run(dict(sample)) for sample in samples]
    means = [np.mean([run[index] for run in runs], axis=0) for index in range(len(found))]
    return dict(zip(found, means, strict=True))


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("layer_outputs", [True, False])
def test_no_layer_is_wrong_on_average_afterwards(
    save: Save, samples: Samples, tmp_path: Path, opset: int, layer_outputs: bool
) -> None:
    path, out = layers(save, opset), tmp_path / "int8.onnx"
    errors = {}
    for options in (PLAIN, CORRECTED):
        told = replace(options, layer_outputs=layer_outputs)
        quantize_onnx_static(path, out, samples, told)
        found = mean_errors(path, out, samples)
        errors[options.bias_correction] = {n: float(np.abs(v).max()) for n, v in found.items()}
    assert {*errors[True]} == {*errors[False]} == {"conv", "up", "gemm", "bare"}
    for name, before in errors[False].items():
        assert errors[True][name] < before / 10, name


def test_a_layer_that_stays_fp32_keeps_its_bias(
    save: Save, samples: Samples, tmp_path: Path
) -> None:
    path, out = layers(save), tmp_path / "int8.onnx"
    quantize_onnx_static(path, out, samples, replace(CORRECTED, exclude=("conv",)))
    written = onnx.load(out)
    (conv,) = (node for node in written.graph.node if node.name == "conv")
    held = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    assert conv.input[2] == "conv_bias"
    np.testing.assert_array_equal(held["conv_bias"], weight(8))


def test_what_nothing_reads_any_more_is_gone_and_the_names_are_new() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,2] x) => (float[n,2] y, float[n,2] z)
    <float[2,2] w = {1, 2, 3, 4}, float[2] b = {1, 1}, float one_bias_0 = {0}> {
        y = Gemm (x, w, b)
        z = Gemm <beta = 2.0> (y, w, b)
    }"""
    model = onnx.parser.parse_model(text)
    for node, name in zip(model.graph.node, ("one", "two"), strict=True):
        node.name = name
    shift = np.array([1, -1], np.float32)
    correct_biases(model, {"one": shift})
    assert {t.name for t in model.graph.initializer} == {"w", "b", "one_bias_0", "one_bias_1"}
    correct_biases(model, {"two": shift})
    held = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert "b" not in held
    np.testing.assert_array_equal(held["one_bias_1"], [2, 0])
    # What a Gemm multiplies by two is half of it.
    np.testing.assert_array_equal(held["two_bias_0"], [1.5, 0.5])


def test_a_bias_that_is_computed_stays() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,2] x, float[2] c) => (float[n,2] y) <float[2,2] w = {1, 2, 3, 4}> {
        b = Relu (c)
        y = Gemm (x, w, b)
    }"""
    model = onnx.parser.parse_model(text)
    name_nodes(model)
    quantized = onnx.parser.parse_model(
        text.replace("y = Gemm (x, w, b)", "y = Gemm (d, v, b)").replace(
            "b = Relu (c)",
            """b = Relu (c)
            s = Constant <value = float {0.5}> ()
            q = QuantizeLinear (x, s)
            d = DequantizeLinear (q, s)
            r = QuantizeLinear (w, s)
            v = DequantizeLinear (r, s)""",
        )
    )
    name_nodes(quantized)
    quantized.graph.node[-1].name = model.graph.node[-1].name
    sample = {"x": np.ones((1, 2), np.float32), "c": np.ones(2, np.float32)}
    assert bias_corrections(model, quantized, [sample], {"y": (1, 2)}) == {}


def test_the_search_for_a_gate_keeps_fewer_layers_for_it(
    even_network: Path, samples: Samples, tmp_path: Path
) -> None:
    """Corrected forms are what is judged, and what is written."""
    gate = QualityGate(metric=QualityMetric.SQNR, minimum=5.0)
    out = tmp_path / "int8.onnx"
    found = {}
    for options in (PLAIN, CORRECTED):
        gated = replace(options, gates=(gate,))
        report = quantize_onnx_static(even_network, out, samples, gated, evaluation=samples)
        assert report.sensitivity is not None
        assert report.evaluation_quality == pytest.approx(report.sensitivity.quality, abs=1e-3)
        found[options.bias_correction] = report.sensitivity.quality_all_int8
    assert found[True] > found[False]
