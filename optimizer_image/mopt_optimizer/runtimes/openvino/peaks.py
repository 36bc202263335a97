"""How many products a second OpenVINO's kernels reach on this CPU, where nothing holds them up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as op

from mopt_api.enums import Precision
from mopt_api.jobs.limits import INT8
from mopt_optimizer.errors import RuntimeFailure
from mopt_optimizer.timing.interleave import time_calls

from .executed import executed_graph
from .messages import essence
from .settings import DEVICE, PRECISION_HINT, properties

_LAYERS = 3
_KERNEL = 3
_SEED = 7
_FEWEST_CALLS = 3
_MOST = 2.55
_ACTIVATION_STEPS, _WEIGHT_STEPS = 256, 255

_Node = Any


@dataclass(frozen=True)
class Kernels:
    """Sizes of the models that are timed: three convolutions of 3x3, three products of matrices.

    Attributes:
        channels, side: Of the images, one for each thread.
        matrix: Rows and columns of a weight, and rows of the input for each thread.
    """

    channels: int
    side: int
    matrix: int


def products_per_second(
    kernels: Kernels, precision: Precision, threads: int, seconds: float
) -> float | None:
    """Return the most multiply-accumulates a second of any kernel.

    None where OpenVINO computes in another type on this CPU.

    Args:
        seconds: For each kernel.

    Raises:
        RuntimeFailure: OpenVINO cannot compile or run them.
    """
    try:
        rates = [
            products * 1e9 / min(time_calls(call, seconds=seconds, calls=_FEWEST_CALLS))
            for model, products in _models(kernels, precision, threads)
            if (call := _call(model, precision, threads)) is not None
        ]
    except RuntimeError as error:
        raise RuntimeFailure(f"OpenVINO does not run its kernels: {essence(error)}") from error
    return max(rates, default=None)


def _call(model: ov.Model, precision: Precision, threads: int) -> Callable[[], None] | None:
    config = properties(precision, threads)
    compiled = ov.Core().compile_model(model, DEVICE, config)
    if precision is Precision.INT8:
        if {layer.kind for layer in executed_graph(compiled).layers} != {INT8}:
            return None
    elif compiled.get_property(PRECISION_HINT).to_string() != config[PRECISION_HINT]:
        return None
    request = compiled.create_infer_request()
    values = np.random.default_rng(_SEED).random(tuple(model.input(0).shape), np.float32)
    request.set_input_tensor(0, ov.Tensor(values))

    def call() -> None:
        request.infer()

    return call


def _models(kernels: Kernels, precision: Precision, threads: int) -> Iterator[tuple[ov.Model, int]]:
    """Yield models of a few layers, and their products."""
    quantized = precision is Precision.INT8
    channels, side, matrix = kernels.channels, kernels.side, kernels.matrix
    image = op.parameter([threads, channels, side, side], ov.Type.f32)
    weight = (channels, channels, _KERNEL, _KERNEL)
    yield (
        _chain(image, weight, _convolution, quantized=quantized),
        _LAYERS * threads * side**2 * math.prod(weight),
    )
    rows = op.parameter([threads * matrix, matrix], ov.Type.f32)
    yield (
        _chain(rows, (matrix, matrix), _product, quantized=quantized),
        _LAYERS * threads * matrix**3,
    )


def _chain(
    first: _Node,
    weight: tuple[int, ...],
    layer: Callable[[_Node, _Node], _Node],
    *,
    quantized: bool,
) -> ov.Model:
    random = np.random.default_rng(_SEED)
    # So that values stay of one size from layer to layer.
    span = 1 / math.sqrt(math.prod(weight[1:]))
    value = first
    for _ in range(_LAYERS):
        constant = op.constant(random.uniform(-span, span, weight).astype(np.float32))
        if quantized:
            value = _fake(value, 0.0, _MOST, _ACTIVATION_STEPS)
            constant = _fake(constant, -span, span, _WEIGHT_STEPS)
        value = op.relu(layer(value, constant))
    return ov.Model([value], [first])


def _convolution(value: _Node, weight: _Node) -> _Node:
    around = [_KERNEL // 2] * 2
    return op.convolution(value, weight, [1, 1], around, around, [1, 1])


def _product(value: _Node, weight: _Node) -> _Node:
    return op.matmul(value, weight, transpose_a=False, transpose_b=True)


def _fake(value: _Node, low: float, high: float, steps: int) -> _Node:
    ends = [op.constant(np.float32(end)) for end in (low, high, low, high)]
    return op.fake_quantize(value, *ends, steps)
