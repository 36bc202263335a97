"""Runs what ModelQuantizer saved: a .pt2 and the .pt2.json beside it."""

from __future__ import annotations

from pathlib import Path

import torch

from mopt_optimizer.opening.inputs import Axis, ModelInput
from mopt_optimizer.runtimes.pytorch.runner import PyTorchRunner
from mopt_optimizer.torch_quantization.quantized_model import QuantizedModel


def saved_inputs(path: Path) -> list[ModelInput]:
    """Return the inputs of a saved quantized model.

    Raises:
        DigestMismatch, ModelError, UnsafeModelError: As QuantizedModel.load.
    """
    return [
        ModelInput(
            entry.name,
            entry.dtype,
            tuple(
                Axis(size=size) if isinstance(size, int) else Axis(symbol=size)
                for size in entry.shape
            ),
        )
        for entry in QuantizedModel.load(path).report.inputs
    ]


class QuantizedRunner(PyTorchRunner):
    """A quantized torch model; Inductor compiles it at the first call, if it can."""

    def __init__(self, path: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        model = QuantizedModel.load(path)
        self._inputs = [entry.name for entry in model.report.inputs]
        # Called with tensors in order, like a program's module.
        self._module = model  # type: ignore[assignment]
