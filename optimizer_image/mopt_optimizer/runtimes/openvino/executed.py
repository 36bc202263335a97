"""What OpenVINO's CPU plugin executes, from the graph that it tells at run time."""

from __future__ import annotations

from typing import Any

from mopt_optimizer.runtimes.executed import ExecutedGraph, ExecutedLayer, type_name

# Layer types of the CPU plugin.
_MULTIPLYING = frozenset(("Convolution", "Deconvolution", "FullyConnected", "MatMul"))
_CONVERTING = frozenset(("Convert", "FakeQuantize", "Reorder"))
_CONSTANT = "Const"
# Keys of a node's rt_info.
_TYPE, _PRECISION, _NODES = "layerType", "runtimePrecision", "originalLayersNames"


def executed_graph(compiled: Any) -> ExecutedGraph:
    """Return what a compiled model executes.

    A layer's precision is that of what it reads: of 8-bit weights that are read beside FP32
    activations it is FP32.

    Args:
        compiled: An openvino.CompiledModel.
    """
    layers: list[ExecutedLayer] = []
    conversions = 0
    for node in compiled.get_runtime_model().get_ops():
        info = {key: _text(node, key) for key in (_TYPE, _PRECISION, _NODES)}
        if info[_TYPE] in _MULTIPLYING:
            names = frozenset(filter(None, info[_NODES].split(",")))
            layers.append(ExecutedLayer(type_name(info[_PRECISION]), names))
        elif info[_TYPE] in _CONVERTING and not _of_constants(node):
            conversions += 1
    return ExecutedGraph(tuple(layers), conversions)


def _of_constants(node: Any) -> bool:
    """Return whether a node is computed once, when the model is compiled."""
    makers = [value.get_node() for value in node.input_values()]
    return all(_text(maker, _TYPE) == _CONSTANT for maker in makers)


def _text(node: Any, key: str) -> str:
    info = node.get_rt_info()
    if key not in info:
        return ""
    value = info[key]
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)
