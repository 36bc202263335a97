"""Nodes of a model, those of its subgraphs too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def nodes_of(model: ir.Model, *op_types: str) -> Iterator[ir.Node]:
    """Yield the nodes of ONNX's own operators, those of subgraphs too, that are still there."""
    import onnx_ir as ir

    for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
        if node.op_type in op_types and node.domain in ("", "ai.onnx") and node.graph is not None:
            yield node
