"""What every runtime offers: evaluation with named arrays, and a bound call for timing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mopt_api.base import ObservedModel
from mopt_api.enums import ExecutionProvider, Precision, Runtime
from mopt_optimizer.errors import OutOfMemory, RuntimeFailure

from .shapes import ShapeRange

Feeds = Mapping[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]
BoundCall = Callable[[], None]

# PyTorch's, CUDA's and TensorRT's words, and those of ONNX Runtime's arena.
_MEMORY_WORDS = ("out of memory", "outofmemory", "failed to allocate memory")


def failure(message: str) -> RuntimeFailure:
    """Return a runtime's refusal, as OutOfMemory by its words: libraries share no class for it."""
    words = message.lower()
    kind = OutOfMemory if any(word in words for word in _MEMORY_WORDS) else RuntimeFailure
    return kind(message)


class Opening(ObservedModel):
    """A model file, and how a runtime opens it.

    Attributes:
        runtime: One with a row in runtimes.registry.
        precision: One other than FP32 is the file's own, but for OpenVINO's BF16.
        path: A .pt2 or .ts (TorchScript) for PyTorch, otherwise an ONNX file.
        threads: How many the runtime may compute with, 1 at least.
        compiled: PyTorch compiles the program for the sizes of each call; INT8 and FP8 it always
            does.
        gpu: Inputs come from the host and outputs go back to it, and the rest is on the GPU.
        provider: Of ONNX Runtime; None is CUDA on the GPU, else the CPU.
        shapes: Of TensorRT: the smallest, most frequent and largest of each input.
    """

    runtime: Runtime
    precision: Precision
    path: Path
    threads: int
    compiled: bool = False
    gpu: bool = False
    provider: ExecutionProvider | None = None
    shapes: dict[str, ShapeRange] = {}


class Runner(ABC):
    """An opened model. A context manager: it is closed on exit.

    Attributes:
        compile_seconds: Spent so far on compiling after the model was opened.
        engine: What was built from the file when it was opened, to be served in its place; None
            where the file itself is served.
    """

    compile_seconds: float = 0.0
    engine: Path | None = None

    @abstractmethod
    def run(self, feeds: Feeds) -> Outputs:
        """Return the outputs in the model's order; arrays of the caller's own.

        Raises:
            RuntimeFailure: The runtime refuses the inputs or fails in computing.
        """

    @abstractmethod
    def bind(self, feeds: Feeds) -> BoundCall:
        """Return a call that computes these inputs again and again, host to host.

        Inputs are taken from, and outputs left in, memory that was reserved here, so that a call
        does the arithmetic and nothing else. The feeds must outlive the call.

        Raises:
            RuntimeFailure: As run; also from the returned call.
        """

    def close(self) -> None:
        """Let go of all that it holds, which frees the runtime's resources. It is of no use after;
        closing it again does nothing."""
        vars(self).clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def select_feeds(names: list[str], feeds: Feeds, runtime: str) -> list[NDArray[Any]]:
    """Return the feeds in the model's order, contiguous.

    Raises:
        RuntimeFailure: The model has an input that is not fed, or none by that name.
    """
    if set(names) != set(feeds):
        raise RuntimeFailure(
            f"{runtime}: the model's inputs are {sorted(names)}, fed were {sorted(feeds)}"
        )
    return [np.ascontiguousarray(feeds[name]) for name in names]
