"""What passes of our own share: constants, single readers, replacing a chain of nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.onnx_files.nodes import nodes_of as nodes_of

if TYPE_CHECKING:
    import onnx_ir as ir


def rewrite_each(nodes: Iterable[ir.Node], rewrite: Callable[[ir.Node], bool]) -> bool:
    """Offer each node to a function that may rewrite it; return whether it did anywhere."""
    return sum(rewrite(node) for node in nodes) > 0


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """Return a weight's values; None for what the caller may feed or a node computes."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input; None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def sole_producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """Return the node that makes a value, if it is of these operators and nothing else reads it."""
    if value is None or value.is_graph_output() or len(value.uses()) != 1:
        return None
    node = value.producer()
    if node is None or node.op_type not in op_types or node.domain not in ("", "ai.onnx"):
        return None
    # A chain from one graph into a subgraph stays: the node may run many times there.
    (reader, _) = next(iter(value.uses()))
    return node if node.graph is reader.graph else None


def new_weight(node: ir.Node, values: NDArray[Any], hint: str) -> ir.Value:
    """Add a weight to the node's graph, under a name that nothing else has."""
    import onnx_ir as ir

    graph = node.graph
    assert isinstance(graph, ir.Graph)  # noqa: S101 - nodes_of yields no function's nodes
    taken = set(graph.initializers)
    name = next(n for n in (f"{hint}_{i}" for i in range(len(taken) + 1)) if n not in taken)
    array = np.ascontiguousarray(values)
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        const_value=ir.tensor(array, name=name),
    )
    graph.register_initializer(value)
    return value


def replace_chain(old: Sequence[ir.Node], new: ir.Node) -> None:
    """Put a node where a chain was; its output takes the place, and the name, of the last's."""
    import onnx_ir as ir

    graph = old[-1].graph
    assert graph is not None  # noqa: S101 - the node was found in it
    ir.convenience.replace_nodes_and_values(
        graph, old[-1], old, [new], [old[-1].outputs[0]], [new.outputs[0]]
    )


def remove_noop(node: ir.Node, source: ir.Value) -> None:
    """Let all that reads a node's first output read another value instead."""
    import onnx_ir as ir

    replace_chain([node], ir.node("Identity", [source]))


def drop_identities(model: ir.Model) -> bool:
    """Remove Identities, as remove_noop leaves them; return whether there were any.

    One stays where it gives a graph an output of its own: of an input, of a weight, of an outer
    graph's value, or of a value that is an output already. Both names are part of the signature.
    """
    import onnx_ir as ir

    nodes = [*ir.traversal.RecursiveGraphIterator(model.graph)]
    for function in model.functions.values():
        nodes += ir.traversal.RecursiveGraphIterator(function)
    return rewrite_each((n for n in nodes if n.op_type == "Identity" and not n.domain), _drop)


def _drop(identity: ir.Node) -> bool:
    import onnx_ir as ir

    source, result, graph = identity.inputs[0], identity.outputs[0], identity.graph
    if source is None or graph is None:
        return False
    if result.is_graph_output():
        producer = source.producer()
        if producer is None or producer.graph is not graph or source.is_graph_output():
            return False
        source.name = result.name
        source.shape = result.shape or source.shape
    source.shape = source.shape or result.shape
    source.type = source.type or result.type
    ir.convenience.replace_all_uses_with(result, source, replace_graph_outputs=True)
    graph.remove(identity, safe=True)
    return True


def broadcasts_into(shape: Sequence[int], target: ir.Shape | None) -> bool:
    """Return whether an operand of this shape leaves the other's shape as it is, at every size."""
    if target is None or len(shape) > len(target):
        return not shape
    sizes = [*target][len(target) - len(shape) :]
    return all(size in (1, other) for size, other in zip(shape, sizes, strict=True))


def per_channel(values: NDArray[Any], rank: int, channels: int) -> NDArray[Any] | None:
    """Return a constant operand as one value per channel (axis 1 of a tensor of that rank).

    None where it varies along another axis or would enlarge the result.
    """
    if values.ndim > rank:
        return None
    shape = (1,) * (rank - values.ndim) + values.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    if shape[1] not in (1, channels):
        return None
    return np.broadcast_to(values.reshape(-1), (channels,))
