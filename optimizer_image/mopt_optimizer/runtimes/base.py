"""The interface of every runtime: inference on named arrays, and a bound call for timing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mopt_api.base import ObservedModel
from mopt_api.enums import ExecutionProvider, FloatPrecision, Precision, Runtime
from mopt_optimizer.errors import OutOfMemory, RuntimeFailure

from .executed import ExecutedGraph
from .shapes import ShapeRange

Feeds = Mapping[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]
BoundCall = Callable[[], None]

# From messages of PyTorch, CUDA, TensorRT and ONNX Runtime's arena.
_MEMORY_WORDS = ("out of memory", "outofmemory", "failed to allocate memory")


def failure(message: str) -> RuntimeFailure:
    """Return a RuntimeFailure, or OutOfMemory by its message: libraries share no class for it."""
    words = message.lower()
    kind = OutOfMemory if any(word in words for word in _MEMORY_WORDS) else RuntimeFailure
    return kind(message)


class Opening(ObservedModel):
    """A model file, and how a runtime opens it.

    Attributes:
        runtime: Must have an entry in runtimes.registry.
        precision: Anything but FP32 is stored in the file, except OpenVINO's BF16.
        float_precision: OpenVINO's: what an INT8 file computes in where it is not INT8; None is
            FP32.
        path: A .pt2 or .ts (TorchScript) for PyTorch, otherwise an ONNX file.
        threads: Number of compute threads, at least 1.
        compiled: PyTorch compiles the program for the sizes of each call; always for INT8 and FP8.
        gpu: Run on the GPU; inputs come from the host and outputs go back to it.
        provider: ONNX Runtime's execution provider; None is CUDA on a GPU, otherwise CPU.
        shapes: TensorRT's (smallest, most frequent, largest) shape of each input.
        scratch: Folder for copies of the file and what is built from it; None is the file's own.
    """

    runtime: Runtime
    precision: Precision
    float_precision: FloatPrecision | None = None
    path: Path
    threads: int
    compiled: bool = False
    gpu: bool = False
    provider: ExecutionProvider | None = None
    shapes: dict[str, ShapeRange] = {}
    scratch: Path | None = None

    @property
    def is_compiled(self) -> bool:
        """Whether PyTorch compiles: it always does for quantized programs."""
        return self.compiled or self.precision in (Precision.INT8, Precision.FP8)

    @property
    def workdir(self) -> Path:
        """Where copies of the file and what is built from it go."""
        return self.scratch or self.path.parent


class Runner(ABC):
    """An opened model. As a context manager, it closes on exit.

    Attributes:
        compile_seconds: Total spent compiling since the model was opened.
        engine: Engine built when the file was opened, to be served in its place; None if the file
            itself is served.
    """

    compile_seconds: float = 0.0
    engine: Path | None = None

    @abstractmethod
    def run(self, feeds: Feeds) -> Outputs:
        """Return the outputs in the model's order, as arrays that the caller owns.

        Raises:
            RuntimeFailure: The runtime rejects the inputs or fails to compute.
        """

    @abstractmethod
    def bind(self, feeds: Feeds) -> BoundCall:
        """Return a call that repeats inference on these inputs, host to host.

        Inputs are read from, and outputs written to, preallocated memory, so that a call does
        nothing but inference. The feeds must outlive the call.

        Raises:
            RuntimeFailure: As run; also from the returned call.
        """

    def executed(self, feeds: Feeds) -> ExecutedGraph | None:  # noqa: ARG002 - not all run it
        """Return what the runtime made of the model's layers; None where it does not tell.

        It may open the model anew and run it once: not while anything is timed.

        Raises:
            RuntimeFailure: As run.
        """
        return None

    def close(self) -> None:
        """Release the runtime's resources. The runner is unusable afterwards; closing it again does
        nothing."""
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
    """Return the feeds as contiguous arrays, in the model's input order.

    Raises:
        RuntimeFailure: An input is not fed, or a feed names no input.
    """
    if set(names) != set(feeds):
        raise RuntimeFailure(
            f"{runtime}: the model's inputs are {sorted(names)}, fed were {sorted(feeds)}"
        )
    # asarray, since ascontiguousarray gives a scalar an axis.
    return [np.asarray(feeds[name], order="C") for name in names]
