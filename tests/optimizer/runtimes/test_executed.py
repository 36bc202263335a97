"""What runtimes really execute, told by their own graphs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from present import present
from runners import opened

from mopt_api.enums import Precision, Runtime
from mopt_api.jobs.limits import ExecutedLayers
from mopt_optimizer.onnx_files.layers import CountedLayer
from mopt_optimizer.onnx_files.work import count_work, without_weights
from mopt_optimizer.opening.loading import open_onnx
from mopt_optimizer.runtimes.executed import ExecutedGraph, ExecutedLayer, type_name
from mopt_optimizer.runtimes.onnx_runtime.executed import executed_graph

if TYPE_CHECKING:
    from pathlib import Path

    from model_files import ModelFiles

pytestmark = pytest.mark.optimizer

SHAPE = (1, 3, 16, 16)


def executed(runtime: Runtime, precision: Precision, path: Path) -> ExecutedLayers:
    """Return what a runtime executes of the network, its products by the file's counts."""
    found = present(count_work(without_weights(open_onnx(path)), {"image": SHAPE}))
    image = np.random.default_rng(0).random(SHAPE, np.float32)
    with opened(runtime, precision, path, 1) as runner:
        before = runner.run({"image": image})
        graph = present(runner.executed({"image": image}))
        after = runner.run({"image": image})
    for name, output in before.items():
        np.testing.assert_array_equal(after[name], output)
    return graph.report(found.layers)


@pytest.mark.parametrize("runtime", [Runtime.ONNX_RUNTIME, Runtime.OPENVINO])
def test_fp32_is_computed_in_fp32(model_files: ModelFiles, runtime: Runtime) -> None:
    found = executed(runtime, Precision.FP32, model_files.onnx)
    assert found.by_type == {"FP32": 2}
    assert found.products == {"FP32": 16 * 16 * 9 * (3 * 16 + 16 * 12)}


@pytest.mark.parametrize("runtime", [Runtime.ONNX_RUNTIME, Runtime.OPENVINO])
def test_static_int8_is_computed_in_int8(model_files: ModelFiles, runtime: Runtime) -> None:
    fp32 = executed(runtime, Precision.FP32, model_files.onnx)
    int8 = executed(runtime, Precision.INT8, model_files.int8)
    assert int8.by_type == {"INT8": 2}
    assert int8.products == {"INT8": sum(present(fp32.products).values())}
    # Its input comes in FP32, so it is converted at least once more.
    assert int8.conversions > fp32.conversions


def test_a_program_does_not_tell(model_files: ModelFiles) -> None:
    image = np.zeros(SHAPE, np.float32)
    with opened(Runtime.PYTORCH, Precision.FP32, model_files.program, 1) as runner:
        assert runner.executed({"image": image}) is None


GRAPH = ExecutedGraph(
    (
        ExecutedLayer("INT8", frozenset({"a", "relu"})),
        ExecutedLayer("FP32", frozenset({"b"})),
        ExecutedLayer("INT8", frozenset({"c"})),
    ),
    conversions=4,
)


@pytest.mark.parametrize(
    ("products", "expected"),
    [
        pytest.param({"a": 5, "b": 7, "c": 1}, {"FP32": 7, "INT8": 6}, id="all are known"),
        pytest.param({"a": 5, "b": 7, "d": 1}, None, id="one has another name"),
        pytest.param({}, None, id="nothing was counted"),
    ],
)
def test_products_follow_the_names(
    products: dict[str, int], expected: dict[str, int] | None
) -> None:
    counted = [
        CountedLayer(frozenset({name, f"output of {name}"}), "INT8", count)
        for name, count in products.items()
    ]
    assert GRAPH.report(counted) == ExecutedLayers(
        by_type={"FP32": 1, "INT8": 2}, products=expected, conversions=4
    )


@pytest.mark.parametrize(
    ("text", "name"), [("u8", "INT8"), ("FLOAT", "FP32"), ("bf16", "BF16"), ("undefined", "OTHER")]
)
def test_types_have_one_name(text: str, name: str) -> None:
    assert type_name(text) == name


def kernel(name: str, operator: str, *types: str) -> dict[str, object]:
    read = [{kind: [1, 3]} for kind in types]
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "args": {"op_name": operator, "input_type_shape": read},
    }


def test_a_profile_is_read_kernel_by_kernel() -> None:
    profile = [
        {"cat": "Session", "name": "model_run"},
        {"cat": "Node", "name": "conv_fence_before", "args": {"op_name": "QLinearConv"}},
        kernel("conv", "QLinearConv", "uint8", "float"),
        kernel("rest", "FusedConv", "float", "float"),
        kernel("dynamic", "DynamicQuantizeMatMul", "float", "int8"),
        kernel("features_token_2_nchwc", "Conv", "float", "float"),
        kernel("loop", "MatMul", "float", "float"),
        kernel("loop", "MatMul", "float", "float"),
        kernel("empty", "Gemm"),
        kernel("q", "QuantizeLinear", "float"),
        kernel("pool", "MaxPool", "uint8"),
    ]
    assert executed_graph(json.dumps(profile)) == ExecutedGraph(
        (
            ExecutedLayer("INT8", frozenset({"conv"})),
            ExecutedLayer("FP32", frozenset({"rest"})),
            ExecutedLayer("INT8", frozenset({"dynamic"})),
            ExecutedLayer("FP32", frozenset({"features_token_2_nchwc", "features"})),
            ExecutedLayer("FP32", frozenset({"loop"})),
            ExecutedLayer("OTHER", frozenset({"empty"})),
        ),
        conversions=1,
    )
