"""Axes of ONNX files that stand for any size without saying so in one way.

Exporters write -1 (Keras, old Paddle), 0 (MXNet) or a word such as ? and None (insightface). These
name no symbol: two axes that are both ? are two sizes.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_WORDS = frozenset(
    ("none", "null", "nan", "unk", "unknown", "undefined", "dynamic", "any", "var", "free")
)


def names_a_size(text: str) -> bool:
    """Return whether a dim_param is the name of a size, not a word for any size."""
    return any(c.isalpha() for c in text) and text.strip().strip("<>[]()?").lower() not in _WORDS


def free_axes(model: onnx.ModelProto) -> bool:
    """Leave axes without a size or symbol whose size is not positive, or whose name is no name.

    Weights are left alone: an empty one is legal.

    Returns:
        Whether an input had the size 0, which ONNX Runtime takes for an empty tensor.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    empty = False
    for value in chain(inputs, graph.output, graph.value_info):
        if not value.type.HasField("tensor_type"):
            continue
        for axis in value.type.tensor_type.shape.dim:
            if axis.HasField("dim_value") and axis.dim_value <= 0:
                empty = empty or axis.dim_value == 0
                axis.Clear()
            elif axis.HasField("dim_param") and not names_a_size(axis.dim_param):
                axis.Clear()
    return empty


def with_free_axes(path: Path) -> bytes:
    """Return an ONNX file with its axes free; its external data stays where it is."""
    import onnx

    model = onnx.load(path, format="protobuf", load_external_data=False)
    free_axes(model)
    content: bytes = model.SerializeToString()
    return content
