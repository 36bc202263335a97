"""Corrects each layer's bias by the mean error that 8 bits make in it.

Rounded weights and cut inputs shift what an output channel is on average; the shift can be added to
the bias, which costs nothing where the model runs. As in M. Nagel et al., "Data-Free Quantization
through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, with the mean taken over
calibration samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import QuantizationError, first_line
from mopt_optimizer.onnx_files.float_models import serialized
from mopt_optimizer.onnx_files.verify import new_session, ort_errors

from .layer_errors import layer_errors
from .observing import Sample

if TYPE_CHECKING:
    import onnx

Corrections = Mapping[str, NDArray[np.float32]]
"""What is added to each output channel of a layer, by the name of its node."""

SAMPLES = 8
"""As many are enough where no others are kept: each holds many values of every channel."""


def bias_corrections(
    model: onnx.ModelProto,
    quantized: onnx.ModelProto,
    samples: Iterable[Sample],
    shapes: Mapping[str, tuple[int, ...]],
    folder: Path | None = None,
) -> Corrections:
    """Return the corrections of a quantized model's layers.

    Args:
        model: FP32, with named nodes.
        quantized: Its Q/DQ form, uncorrected.
        samples: At least one, read once; each runs through the FP32 model, and through its layers
            in 8 bits.
        shapes: Of activations, for their ranks.
        folder: See verify.new_session.

    Raises:
        QuantizationError: ONNX Runtime does not run that.
    """
    probe, layers = layer_errors(model, quantized, shapes)
    if not layers:
        return {}
    sums = {name: np.zeros((), np.float64) for name in layers}
    count = 0
    try:
        session = new_session(serialized(probe), optimized=False, folder=folder)
        for sample in samples:
            means = session.run([*layers.values()], dict(sample))
            del sample  # One at a time is in memory, the next one too.
            count += 1
            sums = {name: sums[name] + mean for name, mean in zip(layers, means, strict=True)}
    except ort_errors() as error:
        raise QuantizationError(f"its biases cannot be corrected: {first_line(error)}") from error
    found = {name: (total / count).astype(np.float32) for name, total in sums.items()}
    # A layer that computes infinity, as masks may make it, has no mean error.
    return {name: mean for name, mean in found.items() if np.isfinite(mean).all()}


def correct_biases(model: onnx.ModelProto, corrections: Corrections) -> None:
    """Add corrections to a model's biases, in place; a layer without a bias gets one.

    Args:
        model: FP32; biases are among its weights.
    """
    from onnx import numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    taken = {*weights, *(name for node in graph.node for name in (*node.input, *node.output))}
    before = set()
    for node in graph.node:
        shift = corrections.get(node.name)
        if shift is None:
            continue
        shift = shift / np.float32(_beta(node))
        bias = node.input[2] if len(node.input) > 2 else ""
        values = numpy_helper.to_array(weights[bias]) + shift if bias else shift
        name = next(
            free for n in range(len(taken) + 1) if (free := f"{node.name}_bias_{n}") not in taken
        )
        taken.add(name)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        del node.input[2:]
        node.input.append(name)
        before.add(bias)
    _drop_unread(graph, before)


def _beta(node: onnx.NodeProto) -> float:
    """Return what a Gemm multiplies its bias by; 1 of any other layer."""
    return next((a.f for a in node.attribute if a.name == "beta"), 1.0)


def _drop_unread(graph: onnx.GraphProto, names: set[str]) -> None:
    """Remove those of some weights that nothing reads any more."""
    read = {name for node in graph.node for name in node.input}
    read |= {value.name for value in (*graph.output, *graph.input)}
    for tensor in [t for t in graph.initializer if t.name in names - read]:
        graph.initializer.remove(tensor)
