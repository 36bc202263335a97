"""Layers and their types, from the builder's log and the inspector's JSON.

The log's lines are TensorRT for RTX 1.7's own, with two kernels' names shortened.
"""

from __future__ import annotations

import json

from mopt_optimizer.runtimes.tensorrt.layers import (
    EngineLayer,
    datatype_counts,
    inspected_layers,
    listed_layers,
    nodes_in,
)

LISTING = """Layers:
Name: __mye316_0_myl0_0, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], \
TacticName: , StreamId: 0, Metadata:
Name: __myl_Mul_myl0_1, LayerType: kgen, Inputs: [ { Name: input, Dimensions: [-1,3,-1,-1], \
Strides: [-1,-1,-1,1], StrideOrder: [3,2,1,0], Datatype: Float, Format: (Linear) Row major linear \
format }], Constants: [ { Name: __mye2523_const-lit-in_myl0, Dimensions: [1], Strides: [1], \
StrideOrder: [0], Datatype: Float, Format: (Linear) Row major linear format }], Outputs: [ { Name: \
__mye573c0.1_23_myl0, Dimensions: [-1,4,-1,-1], Strides: [-1,1,-1,4], StrideOrder: [3,0,2,1], \
Datatype: Int8, Format: (NHWC) Channel major format }], TacticName: __myl_Mul_0xd73, StreamId: 0, \
Metadata: [ONNX Layer: node_of_q0][ONNX Layer: node_of_dq0]
Name: node_of_c0_myl0_2, LayerType: correlation, Inputs: [ { Name: __mye573c0.1_23_myl0, \
Dimensions: [-1,4,-1,-1], Strides: [-1,1,-1,4], StrideOrder: [3,0,2,1], Datatype: Int8, Format: \
(NHWC) Channel major format }], Constants: [ { Name: __mye1331_dconst_myl0, Dimensions: \
[32,4,3,3], Strides: [36,1,12,4], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel \
major format }, { Name: __mye988dconst_myl0, Dimensions: [1,32,1,1], Strides: [32,1,32,32], \
StrideOrder: [3,0,2,1], Datatype: Float, Format: (NHWC) Channel major format }], Outputs: [ { \
Name: __mye640_myl0, Dimensions: [-1,32,-1,-1], Strides: [-1,1,-1,32], StrideOrder: [3,0,2,1], \
Datatype: Half, Format: (NHWC) Channel major format }], TacticName: sm80_xmma, StreamId: 0, \
Metadata: [ONNX Layer: node_of_c0][ONNX Layer: node_of_r0]
Bindings:
input
r2
"""


def test_the_builders_listing_is_read_whole() -> None:
    shapes, quantizing, convolution = listed_layers(["Original: 6 layers", LISTING])
    assert shapes == EngineLayer("__mye316_0_myl0_0", "shape_call", (), (), (), ())
    assert quantizing == EngineLayer(
        "__myl_Mul_myl0_1",
        "kgen",
        ("FP32",),
        ("FP32",),
        ("INT8",),
        ("node_of_q0", "node_of_dq0"),
    )
    assert convolution == EngineLayer(
        "node_of_c0_myl0_2",
        "correlation",
        ("INT8",),
        ("INT8", "FP32"),
        ("FP16",),
        ("node_of_c0", "node_of_r0"),
    )


def test_layers_count_by_what_they_read() -> None:
    layers = listed_layers([LISTING])
    assert datatype_counts(layers) == {"FP32": 1, "INT8": 1}
    assert nodes_in(layers, "INT8") == {"node_of_c0", "node_of_r0"}


def test_no_listing_is_no_layers() -> None:
    assert listed_layers(["Layers:\n", "Building graph"]) == ()
    assert datatype_counts(()) == {}


def test_the_inspectors_json_is_read_in_both_spellings() -> None:
    older = {
        "Name": "conv",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", "Format/Datatype": "Channel major FP16 format"}],
        "Outputs": [{"Name": "y", "Format/Datatype": "Thirty-two wide channel Int8 format"}],
        "Metadata": "[ONNX Layer: first]\u001e[ONNX Layer: relu]",
    }
    newer = {
        "Name": "gemm",
        "LayerType": "gemm",
        "Inputs": [{"Name": "x", "Datatype": "BFloat16"}],
        "Constants": [{"Name": "w", "Datatype": "FP8"}],
        "Outputs": [],
    }
    found = inspected_layers(json.dumps({"Layers": [older, newer], "Bindings": ["x", "y"]}))
    assert found == (
        EngineLayer("conv", "CaskConvolution", ("FP16",), (), ("INT8",), ("first", "relu")),
        EngineLayer("gemm", "gemm", ("BF16",), ("FP8",), (), ()),
    )


def test_an_engine_without_details_has_names_alone() -> None:
    (found,) = inspected_layers(json.dumps({"Layers": ["conv"]}))
    assert (found.name, found.datatype) == ("conv", None)
