"""DeviceMemory on pycuda, for serving engines without torch.

Written against pycuda's documentation and bindings (2026.1). It has not run on a GPU: see
docs/gpu.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import EngineRunError, GpuNotFound, SpecError

from .memory import GraphRefused


class PycudaBuffer:
    """A device buffer, and a page-locked host buffer of the same size, which copies need."""

    def __init__(self, allocation: Any, staging: NDArray[np.uint8]) -> None:
        self.allocation, self.staging = allocation, staging

    @property
    def address(self) -> int:
        """Device pointer."""
        return int(self.allocation)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.staging.size


class PycudaMemory:
    """DeviceMemory on pycuda, in the primary context of its default device.

    TensorRT uses the same context; the environment variable CUDA_DEVICE selects the device. For use
    only by the thread that creates it.

    Raises:
        SpecError: pycuda is not installed, or does not load.
        GpuNotFound: CUDA finds no GPU.
    """

    def __init__(self) -> None:
        try:
            import pycuda.driver as driver
        except (ImportError, OSError) as error:
            raise SpecError(
                f"pycuda cannot be used ({error}); pip install 'mopt[pycuda]', which needs the "
                "CUDA toolkit to build, or take TorchMemory"
            ) from error
        try:
            import pycuda.autoprimaryctx  # noqa: F401  # creates the context, until exit
        except (driver.Error, RuntimeError) as error:
            raise GpuNotFound(
                f"pycuda finds no NVIDIA GPU ({error}); run this where one is, with its driver "
                "visible to this process"
            ) from error
        self._driver = driver
        self._stream = driver.Stream()
        self._downloads: list[tuple[PycudaBuffer, NDArray[Any]]] = []

    @property
    def stream(self) -> int:
        """Handle of the CUDA stream."""
        return int(self._stream.handle)

    def allocate(self, size: int) -> PycudaBuffer:
        """Return a buffer of `size` bytes.

        Raises:
            EngineRunError: GPU memory or page-locked host memory runs out.
        """
        try:
            allocation = self._driver.mem_alloc(size)
            staging = self._driver.pagelocked_empty(size, np.uint8)
        except self._driver.MemoryError as error:
            raise EngineRunError(
                f"no memory for a tensor of {size} bytes ({error}); free GPU memory, or run "
                "smaller shapes"
            ) from error
        return PycudaBuffer(allocation, staging)

    def upload(self, array: NDArray[Any], buffer: PycudaBuffer) -> None:
        """Queue a copy to the device; once per synchronize()."""
        values = _bytes_of(array)
        part = buffer.staging[: values.size]
        if not part.size:
            return
        part[:] = values
        self._driver.memcpy_htod_async(buffer.allocation, part, self._stream)

    def download(self, buffer: PycudaBuffer, array: NDArray[Any]) -> None:
        """Queue a copy to the host; the array is filled by synchronize()."""
        if not array.size:
            return
        part = buffer.staging[: array.nbytes]
        self._driver.memcpy_dtoh_async(part, buffer.allocation, self._stream)
        self._downloads.append((buffer, array))

    def synchronize(self) -> None:
        """Wait until all queued work is done."""
        self._stream.synchronize()
        for buffer, array in self._downloads:
            _bytes_of(array)[:] = buffer.staging[: array.nbytes]
        self._downloads.clear()

    def mark(self) -> Any:
        """Queue a timing event and return it."""
        return self._driver.Event().record(self._stream)

    def milliseconds(self, start: Any, end: Any) -> float:
        """Return the device time between two marks, in ms."""
        return float(start.time_till(end))

    def capture(self, queue: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002
        """Always raise: pycuda has no CUDA graphs.

        Raises:
            GraphRefused.
        """
        raise GraphRefused("pycuda has no CUDA graphs: take TorchMemory for them")


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)
