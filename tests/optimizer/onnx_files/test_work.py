"""What a call has to do, counted by hand and in files that runtimes execute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from present import present

from mopt_optimizer.onnx_files.info import count_macs
from mopt_optimizer.onnx_files.work import CountedWork, count_work, without_weights
from mopt_optimizer.opening.loading import open_onnx

if TYPE_CHECKING:
    import onnx
    from model_files import ModelFiles

pytestmark = pytest.mark.optimizer

FLOAT_BYTES = 4
SIDE, CLASSES = 8, 5
CONV = 16 * 3 * 3 * 3  # values of the weight
DENSE = 16 * SIDE * SIDE * CLASSES


def network(*, quantized: bool = False, tail: str | None = None) -> onnx.ModelProto:
    """Conv, Relu, Reshape, MatMul; with Q/DQ pairs around the Conv.

    Args:
        tail: Operator of one more node.
    """
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)

    def weight(name: str, values: np.ndarray) -> onnx.TensorProto:
        return numpy_helper.from_array(values, name)

    weights = [
        weight("dense", random.random((16 * SIDE * SIDE, CLASSES), np.float32)),
        weight("flat", np.array([-1, 16 * SIDE * SIDE], np.int64)),
    ]
    nodes: list[onnx.NodeProto] = []
    image, kernel = "image", "kernel"
    if quantized:
        weights += [
            weight("kernel", random.integers(-127, 127, (16, 3, 3, 3), np.int8)),
            weight("scale", np.array(0.02, np.float32)),
            weight("zero_u8", np.array(0, np.uint8)),
            weight("zero_i8", np.array(0, np.int8)),
        ]
        nodes += [
            helper.make_node("QuantizeLinear", ["image", "scale", "zero_u8"], ["image_q"]),
            helper.make_node("DequantizeLinear", ["image_q", "scale", "zero_u8"], ["image_dq"]),
            helper.make_node("DequantizeLinear", ["kernel", "scale", "zero_i8"], ["kernel_dq"]),
        ]
        image, kernel = "image_dq", "kernel_dq"
    else:
        weights.append(weight("kernel", random.random((16, 3, 3, 3), np.float32)))
    nodes += [
        helper.make_node("Conv", [image, kernel], ["features"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("Reshape", ["positive", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "dense"], ["scores"]),
    ]
    if tail is not None:
        nodes.append(helper.make_node(tail, ["scores"], ["more"], name="tail"))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def counted(model: onnx.ModelProto, batch: int = 1, floats: str = "FP32") -> CountedWork | None:
    return count_work(without_weights(model), {"image": (batch, 3, SIDE, SIDE)}, floats)


def outside(batch: int) -> int:
    """Return the bytes of the input and the output."""
    return batch * (3 * SIDE * SIDE + CLASSES) * FLOAT_BYTES


@pytest.mark.parametrize("batch", [1, 3])
def test_products_and_bytes_are_those_by_hand(batch: int) -> None:
    found = present(counted(network(), batch))
    assert [(set(layer.names), layer.kind, layer.products) for layer in found.layers] == [
        ({"conv", "features"}, "FP32", batch * CONV * SIDE * SIDE),
        ({"scores"}, "FP32", batch * DENSE),
    ]
    assert found.moved_bytes == (CONV + DENSE) * FLOAT_BYTES + outside(batch)
    assert found.work.products == {"FP32": batch * (CONV * SIDE * SIDE + DENSE)}


def test_a_layer_between_pairs_is_int8_and_its_weight_a_byte_a_value() -> None:
    found = present(counted(network(quantized=True)))
    assert found.work.products == {"INT8": CONV * SIDE * SIDE, "FP32": DENSE}
    assert found.moved_bytes == CONV + DENSE * FLOAT_BYTES + outside(1)


def test_where_floats_are_computed_in_bf16_weights_are_half_as_large() -> None:
    found = present(counted(network(quantized=True), floats="BF16"))
    assert found.work.products == {"INT8": CONV * SIDE * SIDE, "BF16": DENSE}
    assert found.moved_bytes == CONV + DENSE * FLOAT_BYTES // 2 + outside(1)


def test_a_weight_that_two_layers_share_moves_once() -> None:
    from onnx import helper

    model = network()
    model.graph.node.append(helper.make_node("MatMul", ["row", "dense"], ["again"]))
    found = present(counted(model))
    assert found.work.products["FP32"] == CONV * SIDE * SIDE + 2 * DENSE
    assert found.moved_bytes == (CONV + DENSE) * FLOAT_BYTES + outside(1)


def test_a_product_of_two_activations_has_no_weight() -> None:
    from onnx import helper

    model = network()
    model.graph.node.append(helper.make_node("Transpose", ["row"], ["column"], perm=[1, 0]))
    model.graph.node.append(helper.make_node("MatMul", ["row", "column"], ["square"], name="sq"))
    found = present(counted(model, 2))
    assert found.layers[-1].products == 2 * 2 * 16 * SIDE * SIDE
    assert found.moved_bytes == (CONV + DENSE) * FLOAT_BYTES + outside(2)


@pytest.mark.parametrize("operator", ["LSTM", "Einsum"])
def test_work_that_is_not_counted_is_not_told(operator: str) -> None:
    assert counted(network(tail=operator)) is None
    assert counted(network(tail="Relu")) is not None


def test_work_in_a_branch_is_not_told() -> None:
    from onnx import TensorProto, helper

    def branch(operator: str, inputs: list[str]) -> onnx.GraphProto:
        node = helper.make_node(operator, inputs, ["out"])
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
        return helper.make_graph([node], "branch", [], [out])

    for operator, inputs, told in (
        ("Relu", ["row"], True),
        ("MatMul", ["row", "dense"], False),
    ):
        model = network()
        model.graph.input.append(helper.make_tensor_value_info("which", TensorProto.BOOL, []))
        either = {name: branch(operator, inputs) for name in ("then_branch", "else_branch")}
        model.graph.node.append(helper.make_node("If", ["which"], ["chosen"], **either))
        assert (counted(model) is not None) is told


def test_a_shape_that_is_not_known_is_not_guessed() -> None:
    assert count_work(without_weights(network()), {}) is None


def test_the_exported_network_counts_as_mopt_inspect_does(model_files: ModelFiles) -> None:
    model = open_onnx(model_files.onnx)
    names = [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim]
    sizes = {names[0]: 2, names[2]: 32, names[3]: 48}
    expected, uncounted = count_macs(model, sizes)
    assert not uncounted
    found = present(count_work(without_weights(model), {"image": (2, 3, 32, 48)}))
    assert found.work.total == expected == 2 * 32 * 48 * 9 * (3 * 16 + 16 * 12)


def test_its_static_int8_form_does_the_same_products_in_int8(model_files: ModelFiles) -> None:
    shapes = {"image": (1, 3, 16, 16)}
    float_work = present(count_work(without_weights(open_onnx(model_files.onnx)), shapes))
    int8_work = present(count_work(without_weights(open_onnx(model_files.int8)), shapes))
    assert int8_work.work.products == {"INT8": float_work.work.total}
    assert int8_work.moved_bytes < float_work.moved_bytes
