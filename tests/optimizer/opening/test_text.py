"""Text of ONNX models that is no text: protobuf gives it as bytes, wherever it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_tensor_value_info as value

from mopt_optimizer.errors import ModelError
from mopt_optimizer.opening.loading import load_onnx

WORDS = {
    "dimension": "Dimension.dim_param",
    "input_of_it": "ValueInfoProto.name",
    "node_of_it": "NodeProto.name",
    "graph_of_it": "GraphProto.name",
    "weight_of_it": "TensorProto.name",
    "inner_node": "NodeProto.name",
    "attribute": "AttributeProto.name",
    "key_of_it": "StringStringEntryProto.key",
}


def model() -> bytes:
    """Return a model with each word once, where it is no name that another one refers to."""
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["then"], name="inner_node")],
        "branch",
        [],
        [value("then", TensorProto.FLOAT, [None])],
    )
    weight = numpy_helper.from_array(np.zeros(1000, np.float32), "weight_of_it")
    graph = helper.make_graph(
        [
            helper.make_node(
                "If", ["c"], ["y"], "node_of_it", then_branch=inner, else_branch=inner
            ),
            helper.make_node("Cast", ["x"], ["z"], to=1),
        ],
        "graph_of_it",
        [
            value("x", TensorProto.FLOAT, ["dimension"]),
            value("c", TensorProto.BOOL, []),
            value("input_of_it", TensorProto.FLOAT, [1]),
        ],
        [value("y", TensorProto.FLOAT, [None]), value("z", TensorProto.FLOAT, [None])],
        [weight],
    )
    graph.node[1].attribute[0].doc_string = "of it"
    graph.node[1].attribute.append(helper.make_attribute("attribute", 1))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(made, {"key_of_it": "any"})
    data: bytes = made.SerializeToString()
    return data


@pytest.mark.parametrize(("word", "field"), WORDS.items(), ids=WORDS)
def test_text_that_is_not_utf8_is_refused_and_named(tmp_path: Path, word: str, field: str) -> None:
    data = model()
    assert word.encode() in data
    (tmp_path / "m.onnx").write_bytes(data.replace(word.encode(), b"\xff" + word[1:].encode()))
    with pytest.raises(ModelError) as caught:
        load_onnx(tmp_path / "m.onnx")
    assert str(caught.value).startswith(f"{field} b'\\xff{word[1:]}' is not UTF-8 text")


def test_other_letters_are_text(tmp_path: Path) -> None:
    graph = onnx.load_from_string(model()).graph
    graph.node[1].name = "größe-尺寸"
    del graph.node[1].attribute[1]
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    assert load_onnx(tmp_path / "m.onnx").graph.node[1].name == "größe-尺寸"
