"""Device memory and one stream behind a protocol: all the CUDA that running an engine needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import EngineRunError, GpuNotFound

if TYPE_CHECKING:
    import torch


class GraphRefused(Exception):
    """An inference cannot be captured in a CUDA graph; says why. It runs without one."""


class Buffer(Protocol):
    """Bytes on the device."""

    @property
    def address(self) -> int:
        """Device pointer."""

    @property
    def size(self) -> int:
        """Size in bytes."""


Held = TypeVar("Held", bound=Buffer)


class DeviceMemory(Protocol[Held]):
    """Buffers, and the one stream that runs all work in order."""

    @property
    def stream(self) -> int:
        """Handle of the CUDA stream."""

    def allocate(self, size: int) -> Held:
        """Return a buffer of `size` bytes; freed with its last reference."""

    def upload(self, array: NDArray[Any], buffer: Held) -> None:
        """Queue a copy to the device; the array may be reused after synchronize()."""

    def download(self, buffer: Held, array: NDArray[Any]) -> None:
        """Queue a copy to the host, complete after synchronize()."""

    def synchronize(self) -> None:
        """Wait until all queued work is done."""

    def mark(self) -> Any:
        """Queue a timing event and return it."""

    def milliseconds(self, start: Any, end: Any) -> float:
        """Return the device time between two marks, in ms; after synchronize()."""

    def capture(self, queue: Callable[[], None]) -> Callable[[], None]:
        """Record what is queued instead of running it; return a call that queues all of it at once.

        Raises:
            GraphRefused: It cannot be recorded; nothing was run.
        """


class TorchBuffer:
    """Device memory held by torch."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    @property
    def address(self) -> int:
        """Device pointer."""
        return int(self.tensor.data_ptr())

    @property
    def size(self) -> int:
        """Size in bytes."""
        return int(self.tensor.numel())


class TorchMemory:
    """DeviceMemory on torch, on its current CUDA device.

    Raises:
        GpuNotFound: torch has no CUDA, or finds no GPU.
    """

    def __init__(self) -> None:
        import torch

        if not torch.cuda.is_available():
            built = torch.version.cuda
            raise GpuNotFound(
                f"torch {torch.__version__} finds no NVIDIA GPU ("
                + (f"built for CUDA {built}" if built else "built without CUDA")
                + "); run this where one is, with a torch built for CUDA"
            )
        self._torch = torch
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @property
    def stream(self) -> int:
        """Handle of the CUDA stream."""
        return int(self._stream.cuda_stream)

    def allocate(self, size: int) -> TorchBuffer:
        """Return a buffer of `size` bytes.

        Raises:
            EngineRunError: GPU memory runs out.
        """
        try:
            with self._torch.cuda.stream(self._stream):
                return TorchBuffer(self._torch.empty(size, dtype=self._torch.uint8, device="cuda"))
        except self._torch.cuda.OutOfMemoryError as error:
            words = str(error).splitlines()[0]
            raise EngineRunError(
                f"no GPU memory for a tensor of {size} bytes ({words}); free some, or run smaller "
                "shapes"
            ) from error

    def upload(self, array: NDArray[Any], buffer: TorchBuffer) -> None:
        """Queue a copy to the device."""
        with self._torch.cuda.stream(self._stream):
            buffer.tensor.copy_(self._bytes_of(array), non_blocking=True)

    def download(self, buffer: TorchBuffer, array: NDArray[Any]) -> None:
        """Queue a copy to the host."""
        with self._torch.cuda.stream(self._stream):
            self._bytes_of(array).copy_(buffer.tensor, non_blocking=True)

    def synchronize(self) -> None:
        """Wait until all queued work is done."""
        self._stream.synchronize()

    def mark(self) -> Any:
        """Queue a timing event and return it."""
        event = self._torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def milliseconds(self, start: Any, end: Any) -> float:
        """Return the device time between two marks, in ms."""
        return float(start.elapsed_time(end))

    def capture(self, queue: Callable[[], None]) -> Callable[[], None]:
        """Record what is queued; return a call that replays it.

        Raises:
            GraphRefused: CUDA or TensorRT does not allow it.
        """
        graph = self._torch.cuda.CUDAGraph()
        try:
            # Other threads may keep allocating.
            with self._torch.cuda.graph(
                graph, stream=self._stream, capture_error_mode="thread_local"
            ):
                queue()
        except RuntimeError as error:
            words = str(error.__context__ or error).splitlines()[0]
            raise GraphRefused(f"CUDA does not capture it: {words}") from error

        def replay() -> None:
            with self._torch.cuda.stream(self._stream):
                graph.replay()

        return replay

    def _bytes_of(self, array: NDArray[Any]) -> torch.Tensor:
        # A byte view: torch.from_numpy does not support numpy's bfloat16 and float8.
        return self._torch.from_numpy(array.reshape(-1).view(np.uint8))
