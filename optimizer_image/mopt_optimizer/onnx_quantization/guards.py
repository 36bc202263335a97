"""Constants that a narrow type cannot hold, and the nodes that must compute with them in FP32.

1e-12 keeps a divisor or a logarithm from 0. In FP16 it is 0, whatever calibration saw: only a
black image or silence reaches it. So its reader stays FP32, and what the result passes through on
its way to the division.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.onnx_files.float_models import float_weights
from mopt_optimizer.onnx_files.layers import WEIGHTED

if TYPE_CHECKING:
    import onnx

# What may hand a small value on.
_CARRIERS = frozenset(
    {
        *("Abs", "Add", "Cast", "Clip", "Concat", "Expand", "Flatten", "Gather", "Identity"),
        *("Max", "Min", "Mul", "Pow", "Reshape", "Slice", "Sqrt", "Squeeze", "Transpose"),
        *("Unsqueeze", "Where"),
    }
)
# What may be between a reduction and the guard of its result.
_SUMMARIES = frozenset({"Expand", "Max", "Mul", "Reshape", "Sqrt", "Squeeze", "Sub", "Unsqueeze"})
_BATCH_NORM, _EPSILON = "BatchNormalization", 1e-5  # The default in ONNX.
_CONSTANTS = ("Constant", "ConstantOfShape")
# What makes 0 infinite, by the input that must not be 0.
_SINKS = {"Div": 1, "Log": 0, "Reciprocal": 0}


def guarded_nodes(model: onnx.ModelProto, smallest: float) -> dict[str, str]:
    """Return the nodes that guard constants keep in FP32, with the reason for each.

    Args:
        model: With unique node names.
        smallest: Smallest positive value that the narrow type holds with all its bits.
    """
    small = _small_constants(model, smallest, float_constants(model))
    readers = _readers(model)
    kept = _small_variances(model, smallest)
    for name, value in small.items():
        reason = f"{name} holds {value:.3g}, below what the type holds"
        for node in readers.get(name, []):
            kept[node.name] = reason
            for later in _on_the_way(node, readers):
                kept.setdefault(later, f"what it reads is guarded by {name}, {value:.3g}")
    return kept


def guarded_tensors(
    model: onnx.ModelProto, smallest: float, constants: Iterable[tuple[str, NDArray[Any]]]
) -> dict[str, str]:
    """Return what guard constants are added to on the way to a division, with the reason for each.

    That is the divisor with what it is computed of, from the squares of a norm or variance on,
    and a reciprocal.

    Args:
        model: With unique node names.
        smallest: See guarded_nodes.
        constants: Those that may be guards, with their values.
    """
    readers = _readers(model)
    nodes = {node.name: node for node in model.graph.node}
    makers = {name: node for node in model.graph.node for name in node.output}
    found: dict[str, str] = {}
    for constant, value in _small_constants(model, smallest, constants).items():
        reason = f"{constant} keeps a divisor from 0 by {value:.3g}, less than a step of 8 bits"
        for guard in readers.get(constant, []):
            ways = [nodes[name] for name in _on_the_way(guard, readers)]
            passed = [node for node in ways if node.op_type in (*_CARRIERS, "Reciprocal")]
            names = [name for node in (guard, *passed) for name in node.output] if ways else []
            for name in guard.input if ways else ():
                names += _computed_of(name, makers)
            found |= dict.fromkeys(names, reason)
    return found


def _computed_of(name: str, makers: Mapping[str, onnx.NodeProto]) -> set[str]:
    """Return a tensor and those that it is computed of, up to what a reduction reads."""
    found: set[str] = set()
    pending = [(name, False)]
    while pending:
        name, reduced = pending.pop()
        node = makers.get(name)
        if node is None or name in found or node.op_type in WEIGHTED:
            continue
        found.add(name)
        if node.op_type.startswith("Reduce") and not reduced:
            pending.append((node.input[0], True))
        elif node.op_type in _SUMMARIES and not reduced:
            pending += [(read, False) for read in node.input]
    return found


def _readers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _small_variances(model: onnx.ModelProto, smallest: float) -> dict[str, str]:
    """Return the BatchNormalizations that divide by the root of less than smallest, and why.

    That is a channel's variance and epsilon; kernels add them in the narrow type.
    """
    values = dict(float_constants(model))
    kept = {}
    for node in model.graph.node:
        variances = values.get(node.input[4]) if node.op_type == _BATCH_NORM else None
        if variances is None or not variances.size:
            continue
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), _EPSILON)
        least = float(variances.min()) + epsilon
        if least < smallest:
            kept[node.name] = f"the variance in {node.input[4]} with its epsilon is {least:.3g}"
    return kept


def _on_the_way(node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]) -> set[str]:
    """Return the nodes between one and what divides by its result, and what reads the quotient."""
    found: set[str] = set()
    seen: set[str] = set()
    # Each path is followed in graph order, so that it ends; it counts once it meets a division.
    pending: list[tuple[onnx.NodeProto, tuple[str, ...]]] = [(node, ())]
    while pending:
        current, path = pending.pop()
        for name in current.output:
            for reader in readers.get(name, []):
                sink = _SINKS.get(reader.op_type)
                if sink is not None and reader.input[sink] == name:
                    found |= {*path, reader.name, *_readers_of_huge(reader, readers)}
                elif reader.op_type in _CARRIERS and reader.name not in seen:
                    seen.add(reader.name)
                    pending.append((reader, (*path, reader.name)))
    return found


def _readers_of_huge(
    sink: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]
) -> Iterator[str]:
    """Yield the readers of a reciprocal, which is 1e12 where its input is 1e-12."""
    if sink.op_type == "Reciprocal":
        for reader in readers.get(sink.output[0], []):
            yield reader.name


def _small_constants(
    model: onnx.ModelProto, smallest: float, constants: Iterable[tuple[str, NDArray[Any]]]
) -> dict[str, float]:
    """Return constants whose values are all too small, and divisors with any such value."""
    divisors = {node.input[1] for node in model.graph.node if node.op_type == "Div"}
    found = {}
    for name, values in constants:
        magnitudes = np.abs(values[np.isfinite(values) & (values != 0)])
        if not magnitudes.size:
            continue
        decisive = magnitudes.min() if name in divisors else magnitudes.max()
        if decisive < smallest:
            found[name] = float(decisive)
    return found


def float_constants(
    model: onnx.ModelProto, folder: Path | None = None
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and values of what is float and the same in every run, one at a time.

    Args:
        folder: The model's, if it may have external data.
    """
    from onnx import TensorProto, numpy_helper

    yield from float_weights(model, folder)

    for node in model.graph.node:
        for attribute in node.attribute if node.op_type in _CONSTANTS else ():
            if attribute.t.data_type == TensorProto.FLOAT:
                yield node.output[0], numpy_helper.to_array(attribute.t)
            elif attribute.name.startswith("value_float"):
                yield node.output[0], np.array([attribute.f, *attribute.floats], np.float32)
