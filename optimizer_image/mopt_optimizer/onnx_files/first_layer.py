"""What a model tells of its training data: a first convolution with BatchNormalization behind it.

The running mean and variance of that BatchNormalization are the statistics of the convolution's
results over the training data (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 2). Samples that
give other results there are not what the model was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.jobs.data_statistics import FirstLayer
from mopt_optimizer.data.statistics import PATCH_SIDE

if TYPE_CHECKING:
    import onnx

_MOST_FILTERS = 32
# Of the strongest filter: weaker ones were pruned by training, and tell nothing.
_DEAD = 1e-3
_AS_THEY_ARE = frozenset({"Identity", "Cast", "Pad"})
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
_TO_CHANNELS_FIRST = [0, 3, 1, 2]


def first_layers(model: onnx.ModelProto, folder: Path) -> list[FirstLayer]:
    """Return the first convolution of each image input whose BatchNormalization was trained.

    Empty where it is folded into the convolution, was never trained (mean 0 and variance 1), or
    where something else than arithmetic with constants lies between input and convolution.

    Args:
        folder: Holds the files of weights that lie outside the model's.
    """
    graph = _Graph(model, folder)
    found: dict[str, FirstLayer] = {}
    for node in model.graph.node:
        if node.op_type != "BatchNormalization" or len(node.input) != 5:
            continue
        layer = _layer(graph, node)
        if layer is not None:
            found.setdefault(layer.input, layer)
    return list(found.values())


class _Graph:
    """The main graph: who makes a value, and what the constants are."""

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        self._folder = str(folder)
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        self._constants = {
            node.output[0]: node.attribute[0].t
            for node in model.graph.node
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        }
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self.inputs = {value.name for value in model.graph.input} - self._weights.keys()

    def producer(self, name: str) -> onnx.NodeProto | None:
        """Return the node that makes a value."""
        return self._producers.get(name)

    def constant(self, name: str) -> NDArray[np.float64] | None:
        """Return a constant's values; None where it is none, or no number."""
        import onnx

        tensor = self._weights.get(name) or self._constants.get(name)
        if tensor is None or tensor.data_type == onnx.TensorProto.STRING:
            return None
        array: NDArray[Any] = onnx.numpy_helper.to_array(tensor, self._folder)
        return array.astype(np.float64)


@dataclass(frozen=True)
class _Source:
    """An input, and what becomes of it: input * scale + offset."""

    name: str
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]


def _layer(graph: _Graph, norm: onnx.NodeProto) -> FirstLayer | None:
    conv = graph.producer(norm.input[0])
    if conv is None or conv.op_type != "Conv":
        return None
    weight = graph.constant(conv.input[1])
    mean, variance = (graph.constant(name) for name in norm.input[3:])
    if weight is None or mean is None or variance is None or not _is_plain(conv, weight):
        return None
    if not mean.any() and (variance == 1).all():
        return None
    bias = graph.constant(conv.input[2]) if len(conv.input) > 2 else np.zeros(len(weight))
    source = _source(graph, conv.input[0], weight.shape[1])
    if source is None or bias is None:
        return None
    flat = weight.reshape(len(weight), -1)
    norms = np.linalg.norm(flat, axis=1)
    alive = np.flatnonzero((norms > _DEAD * norms.max()) & (variance > 0))
    chosen = alive[:: max(1, -(-alive.size // _MOST_FILTERS))]
    if not chosen.size:
        return None
    return FirstLayer(
        input=source.name,
        kernel=[*weight.shape[2:]],
        scale=_short(source.scale),
        offset=_short(source.offset),
        weights=[_short(row) for row in flat[chosen]],
        bias=_short(bias[chosen]),
        mean=_short(mean[chosen]),
        variance=_short(variance[chosen]),
    )


def _is_plain(conv: onnx.NodeProto, weight: NDArray[np.float64]) -> bool:
    """Return whether it is a convolution of pictures, of all channels, without holes."""
    if weight.ndim != 4 or weight.shape[1] not in (1, 3, 4) or max(weight.shape[2:]) > PATCH_SIDE:
        return False
    attributes = {attribute.name: attribute for attribute in conv.attribute}
    group, dilations = attributes.get("group"), attributes.get("dilations")
    return (group is None or group.i == 1) and (dilations is None or {*dilations.ints} == {1})


def _source(graph: _Graph, name: str, channels: int) -> _Source | None:
    """Return the input that a value is made of by arithmetic with one constant per channel."""
    scale, offset, channels_last = np.ones(channels), np.zeros(channels), False
    while name not in graph.inputs:
        node = graph.producer(name)
        if node is None:
            return None
        if node.op_type in _ARITHMETIC:
            step = _arithmetic(graph, node, channels, last=channels_last)
            if step is None:
                return None
            name, factor, added = step
            scale, offset = scale * factor, offset + scale * added
            continue
        turned = node.op_type == "Transpose" and [*node.attribute[0].ints] == _TO_CHANNELS_FIRST
        if not turned and node.op_type not in _AS_THEY_ARE:
            return None
        channels_last = channels_last or turned
        name = node.input[0]
    return _Source(name, scale, offset)


def _arithmetic(
    graph: _Graph, node: onnx.NodeProto, channels: int, *, last: bool
) -> tuple[str, NDArray[np.float64], NDArray[np.float64]] | None:
    """Return what a node computes as value * factor + added; None where it is something else."""
    first, second = (graph.constant(name) for name in node.input)
    operand, name = (second, node.input[0]) if first is None else (first, node.input[1])
    reversed_ = first is not None and node.op_type in ("Sub", "Div")
    values = None if operand is None else _per_channel(operand, channels, last=last)
    if values is None or reversed_ or (first is not None and second is not None):
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    match node.op_type:
        case "Add":
            return name, ones, values
        case "Sub":
            return name, ones, -values
        case "Mul":
            return name, values, zeros
        case _:
            return (name, 1 / values, zeros) if values.all() else None


def _per_channel(
    operand: NDArray[np.float64], channels: int, *, last: bool
) -> NDArray[np.float64] | None:
    if operand.size == 1:
        return np.full(channels, float(operand.ravel()[0]))
    shape = (1,) * (4 - operand.ndim) + operand.shape
    wanted = (1, 1, 1, channels) if last else (1, channels, 1, 1)
    return operand.ravel() if shape == wanted else None


def _short(values: NDArray[np.float64]) -> list[float]:
    """Return numbers with six digits: they are stored as text."""
    return [float(f"{value:.6g}") for value in values]
