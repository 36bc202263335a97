"""Nodes that stay as they are: what a user excludes, and what computes in float64."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto

from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.onnx_files.float_models import element_types, open_float_model

_SHOWN = 8


def matching_nodes(model_path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the nodes that match one of names, by node name or operator type, and
    of those that compute in float64, which no quantizer takes.

    Raises:
        QuantizationError: A name matches nothing; the message lists what there is.
        ModelError, ExportError: As open_float_model.
    """
    model = open_float_model(model_path, external=True)
    nodes, wide = model.graph.node, _wide_nodes(model)
    if not names:
        return wide
    own, operators = {node.name for node in nodes}, {node.op_type for node in nodes}
    for name in names:
        if name not in own | operators:
            raise QuantizationError(
                f"exclude names {name!r}, which is no node and no operator of the model; its "
                f"operators are {_some(sorted(operators))}, its nodes "
                f"{_some([node.name for node in nodes])}"
            )
    wanted = set(names)
    found = [node.name for node in nodes if node.name in wanted or node.op_type in wanted]
    return tuple(dict.fromkeys([*found, *wide]))


def _wide_nodes(model: onnx.ModelProto) -> tuple[str, ...]:
    types = element_types(model)
    wide = {name for name, kind in types.items() if kind == TensorProto.DOUBLE}
    return tuple(n.name for n in model.graph.node if not wide.isdisjoint([*n.input, *n.output]))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
