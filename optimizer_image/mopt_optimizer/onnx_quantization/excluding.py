"""Resolves a user's exclusions to node names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.onnx_files.float_models import open_float_model

_SHOWN = 8


def matching_nodes(model_path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the nodes that match one of names, by node name or operator type.

    Raises:
        QuantizationError: A name matches nothing; the message lists what there is.
        ModelError, ExportError: As open_float_model.
    """
    if not names:
        return ()
    nodes = open_float_model(model_path, external=True).graph.node
    own, operators = {node.name for node in nodes}, {node.op_type for node in nodes}
    for name in names:
        if name not in own | operators:
            raise QuantizationError(
                f"exclude names {name!r}, which is no node and no operator of the model; its "
                f"operators are {_some(sorted(operators))}, its nodes "
                f"{_some([node.name for node in nodes])}"
            )
    wanted = set(names)
    return tuple(node.name for node in nodes if node.name in wanted or node.op_type in wanted)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
