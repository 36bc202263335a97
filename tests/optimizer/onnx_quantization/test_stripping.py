"""Nodes that leave INT8 in a file of another quantizer compute what FP32's do, and nothing else
changes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization.stripping import StrippedForms

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
# The pair of Q and DQ before the pool is that of the layer behind it; both layers read one weight,
# and the first has a bias that was corrected under its old name.
FP32 = f"""{HEADER}
g (float[n,2] x) => (float[n,2] y)
<float[2,2] w = {{1, 2, 3, 4}}, float[2] b = {{1, 1}}, int64[2] s = {{-1, 2}}> {{
    h = Gemm (x, w, b)
    m = Reshape (h, s)
    y = Gemm (m, w)
}}"""
INT8 = f"""{HEADER}
g (float[n,2] x) => (float[n,2] y)
<int8[2,2] i = {{2, 4, 6, 8}}, float half = {{0.5}}, float one = {{1}}, int8 zero = {{0}},
 float[2] b = {{1.25, 0.75}}, int64[2] s = {{-1, 2}}> {{
    qx = QuantizeLinear (x, half, zero)
    dx = DequantizeLinear (qx, half, zero)
    dw = DequantizeLinear (i, half, zero)
    h = Gemm (dx, dw, b)
    qh = QuantizeLinear (h, one, zero)
    dh = DequantizeLinear (qh, one, zero)
    m = Reshape (dh, s)
    y = Gemm (m, dw)
}}"""


def model(text: str) -> onnx.ModelProto:
    found = onnx.parser.parse_model(text)
    names = {"h": "first", "m": "move", "y": "second"}
    for node in found.graph.node:
        node.name = names.get(node.output[0], "")
    return found


@pytest.fixture
def forms() -> StrippedForms:
    return StrippedForms(model(FP32), model(INT8))


def operators(found: onnx.ModelProto) -> list[str]:
    onnx.checker.check_model(found, full_check=True)
    return [node.op_type for node in found.graph.node]


def test_nothing_left_out_is_the_file_itself(forms: StrippedForms) -> None:
    assert forms.quantized() == model(INT8)
    assert forms.in_int8() == {"first": "Gemm", "second": "Gemm"}


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        # The weight of the other layer is still in INT8.
        ({"first"}, ["DequantizeLinear", "Gemm", "QuantizeLinear", "DequantizeLinear"]),
        # No layer is left behind the pair before what moves values.
        ({"second"}, ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Gemm"]),
        ({"first", "second"}, ["Gemm"]),
    ],
)
def test_only_what_a_layer_in_int8_reads_stays(
    forms: StrippedForms, exclude: set[str], left: list[str]
) -> None:
    found = forms.quantized(exclude)
    assert operators(found) == [*left, "Reshape", "Gemm"]
    names = {tensor.name for tensor in found.graph.initializer}
    assert ("w" in names, "i" in names) == (True, exclude != {"first", "second"})


@pytest.mark.optimizer
def test_without_any_in_int8_it_computes_what_fp32_does(forms: StrippedForms) -> None:
    x = {"x": np.array([[0.3, 7.7], [-3.1, 2.2]], np.float32)}
    (expected,) = OnnxSession(model(FP32).SerializeToString()).run(x)
    (found,) = OnnxSession(forms.quantized({"first", "second"}).SerializeToString()).run(x)
    np.testing.assert_array_equal(found, expected)


def test_what_only_moves_values_has_nothing_to_leave(forms: StrippedForms) -> None:
    assert forms.quantized({"move"}) == model(INT8)
