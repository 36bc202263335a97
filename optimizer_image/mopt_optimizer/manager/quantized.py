"""What ModelQuantizer saved, as a runner: a .pt2 and the .pt2.json beside it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from ..dimensions import Axis, ModelInput
from ..quantizer.capturing import CALL_FAILURES, tensors
from ..quantizer.quantized_model import QuantizedModel
from ..runtimes import BoundCall, Feeds, Outputs, RuntimeFailure
from ..verifying import first_line


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


class QuantizedRunner:
    """A quantized torch model; compiled by Inductor at its first call where that works."""

    def __init__(self, path: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = QuantizedModel.load(path)

    def run(self, feeds: Feeds) -> Outputs:
        """As runtimes.Runner.run."""
        try:
            outputs = self._model(**{n: torch.from_numpy(a) for n, a in feeds.items()})
        except CALL_FAILURES as error:
            raise RuntimeFailure(f"PyTorch cannot run the model: {first_line(error)}") from error
        return {f"output_{i}": t.float().numpy().copy() for i, t in enumerate(tensors(outputs))}

    def bind(self, feeds: Feeds) -> BoundCall:
        """As runtimes.Runner.bind."""
        inputs = {name: torch.from_numpy(array) for name, array in feeds.items()}

        def call() -> None:
            self._model(**inputs)

        return call

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del self._model
