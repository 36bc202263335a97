"""Sizes of which the spec has one only, where a model leaves them open.

A runtime that knows its sizes lays out memory and picks kernels once: OpenVINO ran a transformer
encoder 1.5 times as fast, and what models compute of their sizes folds into constants.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mopt_api.inputs import AnyDimension, DimensionRange, InputSpec

if TYPE_CHECKING:
    import onnx

_NAME = re.compile(r"[A-Za-z_]\w*")


def fix_sizes(
    model: onnx.ModelProto,
    inputs: Sequence[InputSpec],
    dimensions: Mapping[str, AnyDimension],
) -> bool:
    """Give open axes of the inputs the spec's sizes: numbers, and dimensions whose range is one.

    What the file says of other values by these axes' names is dropped, to be inferred anew: a file
    may give the name to a number of boxes as well.

    What the model ties to a dimension that stays open does too.

    Returns:
        Whether there was such an axis.
    """
    single = {
        name: size.min
        for name, size in dimensions.items()
        if isinstance(size, DimensionRange) and size.min == size.max
    }
    left = dimensions.keys() - single.keys()
    found, names = False, set[str]()
    declared = {i.name: i.shape for i in inputs}
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        for size, axis in zip(declared.get(value.name, ()), axes, strict=False):
            number = size if isinstance(size, int) else single.get(size)
            if number is None or axis.HasField("dim_value") or axis.dim_param in left:
                continue
            found = True
            names.add(axis.dim_param)
            axis.dim_value = number
    for value in (*model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            # Such as 4*h, too.
            if not names.isdisjoint(_NAME.findall(axis.dim_param)):
                axis.Clear()
    return found
