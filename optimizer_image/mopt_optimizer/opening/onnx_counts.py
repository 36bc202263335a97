"""How far an ONNX model expands, counted before anything runs: functions, loops, constants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from mopt_optimizer.errors import ModelError

from .limits import MAX_NODE_RUNS, MAX_NODES, MAX_VALUES, amount
from .onnx_graphs import attributes_of, subgraphs_of
from .safety.call_order import callees_first

if TYPE_CHECKING:
    import onnx

    from .onnx_graphs import Graph

_Key = tuple[str, str, str]
_Scope = Mapping[str, "onnx.TensorProto"]
# Where a constant says the size of what an operator makes: the input, or the attribute.
_SIZES_BY_INPUT = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}
_SIZES_BY_ATTRIBUTE = {"RandomNormal", "RandomUniform"}
_MAX_SCALARS = 64


class Count(NamedTuple):
    """Nodes of a graph.

    Attributes:
        nodes: With those of subgraphs, and of functions where each is called.
        runs: How many of them one inference runs for certain.
    """

    nodes: int
    runs: int


def check_counts(model: onnx.ModelProto) -> None:
    """Count a model's nodes as they would be with its functions put in, and its loops run.

    Raises:
        ModelError: Too many nodes, or a loop that never ends or not for very long, a function that
            calls itself, or a constant that is far too large.
    """
    functions = {_key_of(function): function for function in model.functions}
    counts: dict[_Key, Count] = {}
    calls = {key: [(c, True) for c in _calls(f, functions)] for key, f in functions.items()}
    for key in callees_first(calls):
        counts[key] = _Counter(counts).graph(functions[key], {})
        _check(counts[key], f"function {key[1]!r}")
    _check(_Counter(counts).graph(model.graph, {}), "the model")


def _check(count: Count, what: str) -> None:
    if count.nodes > MAX_NODES:
        raise ModelError(
            f"{what} has {amount(count.nodes)} nodes with those of the functions that it calls; "
            f"up to {MAX_NODES} are taken"
        )
    if count.runs > MAX_NODE_RUNS:
        raise ModelError(
            f"{what} runs {amount(count.runs)} nodes for each inference, by its loops' numbers of "
            f"trips; up to {MAX_NODE_RUNS} are taken"
        )


def _key_of(function: onnx.FunctionProto) -> _Key:
    return function.domain, function.name, function.overload


def _calls(graph: Graph, functions: Mapping[_Key, onnx.FunctionProto]) -> Iterable[_Key]:
    pending = [graph]
    while pending:
        current = pending.pop()
        for attribute in attributes_of(current):
            pending += subgraphs_of(attribute)
        for node in current.node:
            key = (node.domain, node.op_type, node.overload)
            if key in functions:
                yield key


class _Counter:
    """Counts graphs; what the functions expand to is known."""

    def __init__(self, functions: Mapping[_Key, Count]) -> None:
        self._functions = functions

    def graph(self, graph: Graph, outer: _Scope) -> Count:
        """Count a graph. protobuf nests no deeper than Python does.

        Args:
            outer: Constants of the graphs around it.
        """
        scope = {**outer, **_constants(graph)}
        return _sum(self._node(node, scope) for node in graph.node)

    def _node(self, node: onnx.NodeProto, scope: _Scope) -> Count:
        _check_size(node, scope)
        own = self._functions.get((node.domain, node.op_type, node.overload), Count(1, 1))
        inner = _sum(self.graph(graph, scope) for a in node.attribute for graph in subgraphs_of(a))
        times = _trips(node, scope) if node.op_type == "Loop" else 1
        return Count(own.nodes + inner.nodes, own.runs + inner.runs * times)


def _sum(counts: Iterable[Count]) -> Count:
    nodes = runs = 0
    for count in counts:
        nodes += count.nodes
        runs += count.runs
    return Count(nodes, runs)


def _constants(graph: Graph) -> dict[str, onnx.TensorProto]:
    """Return the short constants of a graph by their names."""
    import onnx

    found = {}
    if isinstance(graph, onnx.GraphProto):
        found = {t.name: t for t in graph.initializer if _values(t) <= _MAX_SCALARS}
    for node in graph.node:
        if node.op_type == "Constant" and node.output and node.domain in ("", "ai.onnx"):
            for attribute in node.attribute:
                if (tensor := _constant(attribute)) is not None:
                    found[node.output[0]] = tensor
        elif node.op_type == "Identity" and node.input and node.output and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _values(tensor: onnx.TensorProto) -> int:
    return math.prod(tensor.dims)


def _constant(attribute: onnx.AttributeProto) -> onnx.TensorProto | None:
    import onnx

    match attribute.name:
        case "value" if _values(attribute.t) <= _MAX_SCALARS:
            return attribute.t
        case "value_int":
            return onnx.TensorProto(
                data_type=onnx.TensorProto.INT64, dims=[], int64_data=[attribute.i]
            )
        case "value_ints" if len(attribute.ints) <= _MAX_SCALARS:
            return onnx.TensorProto(
                data_type=onnx.TensorProto.INT64,
                dims=[len(attribute.ints)],
                int64_data=attribute.ints,
            )
    return None


def _numbers(name: str, scope: _Scope) -> list[int] | None:
    """Return the whole numbers of a constant; None for what is none."""
    import onnx

    tensor = scope.get(name)
    if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    if tensor.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL):
        return None
    try:
        return [int(value) for value in onnx.numpy_helper.to_array(tensor).ravel()]
    except (ValueError, TypeError):  # damaged: the checker says what is wrong
        return None


def _check_size(node: onnx.NodeProto, scope: _Scope) -> None:
    """Refuse an operator that makes a tensor of a size that a constant says, and that is absurd."""
    sizes: list[int] | None = None
    number = _SIZES_BY_INPUT.get(node.op_type)
    if number is not None and len(node.input) > number:
        sizes = _numbers(node.input[number], scope)
    elif node.op_type in _SIZES_BY_ATTRIBUTE:
        sizes = next((list(a.ints) for a in node.attribute if a.name == "shape"), None)
    elif node.op_type == "Range" and len(node.input) == 3:
        ends = [_numbers(name, scope) or [0] for name in node.input]
        (start, *_), (limit, *_), (step, *_) = ends
        sizes = [abs(limit - start) // max(abs(step), 1)]
    made = math.prod(max(size, 1) for size in sizes or ())
    if made > MAX_VALUES:
        raise ModelError(
            f"node {node.name or node.op_type!r} makes a tensor of {amount(made)} values; up to "
            f"{MAX_VALUES} are taken"
        )


def _trips(node: onnx.NodeProto, scope: _Scope) -> int:
    """Return how often a Loop's body runs for certain, once at least.

    Raises:
        ModelError: It never ends.
    """
    body = next((a.g for a in node.attribute if a.name == "body" and a.HasField("g")), None)
    if body is None or not _always_goes_on(node, body, scope):
        return 1
    if not node.input or not node.input[0]:
        raise ModelError(f"loop {node.name or 'Loop'!r} never ends: it has no number of trips")
    numbers = _numbers(node.input[0], scope)
    return max(numbers[0], 1) if numbers else 1


def _always_goes_on(node: onnx.NodeProto, body: onnx.GraphProto, scope: _Scope) -> bool:
    """Whether a Loop's condition is true from the first trip to the last."""
    first = node.input[1] if len(node.input) > 1 else ""
    if first and _numbers(first, scope) != [1]:
        return False
    if not body.output:
        return False
    passed = {body.input[1].name} if len(body.input) > 1 else set()
    inner = {**scope, **_constants(body)}
    for step in body.node:
        if step.op_type == "Identity" and step.input and step.output and step.input[0] in passed:
            passed.add(step.output[0])
    last = body.output[0].name
    return last in passed or _numbers(last, inner) == [1]
