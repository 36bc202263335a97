"""Dimension names in ONNX files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mopt_api.inputs import InputSpec

if TYPE_CHECKING:
    import onnx


_SYMBOL = re.compile(r"[A-Za-z_]\w*")


def rename_dimensions(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Rename symbolic dimensions as in the spec, also in expressions such as 4*s53."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.HasField("dim_param"):
                dimension.dim_param = _SYMBOL.sub(
                    lambda match: names.get(match[0], match[0]), dimension.dim_param
                )


def name_onnx_inputs(model: onnx.ModelProto, inputs: Sequence[InputSpec]) -> None:
    """Name the dynamic dimensions of the inputs as in the spec."""
    by_name = {i.name: i for i in inputs}
    for value in model.graph.input:
        if spec := by_name.get(value.name):
            for size, dimension in zip(spec.shape, value.type.tensor_type.shape.dim, strict=True):
                if isinstance(size, str) and not dimension.HasField("dim_value"):
                    dimension.dim_param = size
