"""PycudaMemory around a stand-in for pycuda, whose device is host memory and does nothing early.

The stand-in has what pycuda's documentation names, no more: another name fails. Real pycuda is for
tests/gpu.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mopt_optimizer.errors import EngineRunError, GpuNotFound, SpecError
from mopt_optimizer.runtimes.tensorrt import PycudaMemory
from mopt_optimizer.runtimes.tensorrt.memory import GraphRefused

HANDLE = 11


class Error(Exception):
    pass


class OutOfMemory(Error):
    pass


class Allocation:
    def __init__(self, size: int) -> None:
        self.bytes = np.zeros(size, np.uint8)

    def __int__(self) -> int:
        return int(self.bytes.ctypes.data)


class Stream:
    handle = HANDLE

    def __init__(self) -> None:
        self.queued: list[Callable[[], None]] = []
        self.milliseconds = 0.0

    def synchronize(self) -> None:
        for work in self.queued:
            work()
        self.queued.clear()


class Event:
    at = -1.0

    def record(self, stream: Stream) -> Event:
        def mark() -> None:
            stream.milliseconds += 1.5
            self.at = stream.milliseconds

        stream.queued.append(mark)
        return self

    def time_till(self, event: Event) -> float:
        assert min(self.at, event.at) > 0, "not reached yet"
        return event.at - self.at


def pagelocked(array: NDArray[Any]) -> bool:
    """Whether an array is, or is part of, what pagelocked_empty gave."""
    base: Any = array
    while base is not None:
        if isinstance(base, _Locked):
            return True
        base = base.base
    return False


class _Locked(np.ndarray[Any, Any]):
    pass


class Driver(ModuleType):
    free = 1 << 20

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.Error, self.MemoryError = Error, OutOfMemory
        self.Stream, self.Event = Stream, Event

    def mem_alloc(self, size: int) -> Allocation:
        if size > self.free:
            raise OutOfMemory("cuMemAlloc failed: out of memory")
        return Allocation(size)

    def pagelocked_empty(self, shape: int, dtype: type) -> NDArray[Any]:
        return np.empty(shape, dtype).view(_Locked)

    def memcpy_htod_async(self, dest: Allocation, src: NDArray[Any], stream: Stream) -> None:
        assert pagelocked(src)
        stream.queued.append(lambda: dest.bytes.__setitem__(slice(0, src.size), src))

    def memcpy_dtoh_async(self, dest: NDArray[Any], src: Allocation, stream: Stream) -> None:
        assert pagelocked(dest)
        stream.queued.append(lambda: dest.__setitem__(slice(None), src.bytes[: dest.size]))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    package, found = ModuleType("pycuda"), Driver()
    package.driver = found  # type: ignore[attr-defined]
    package.autoprimaryctx = ModuleType("pycuda.autoprimaryctx")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", found)
    monkeypatch.setitem(sys.modules, "pycuda.autoprimaryctx", package.autoprimaryctx)
    return found


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.array([1, -2], np.float16),
        np.array(7, np.int64),
        np.zeros((0, 3), np.float32),
    ],
)
def test_what_goes_to_the_device_comes_back(driver: Driver, array: NDArray[Any]) -> None:
    memory = PycudaMemory()
    buffer = memory.allocate(max(array.nbytes, 1))
    assert buffer.size == max(array.nbytes, 1)
    found = np.full_like(array, 99)
    memory.upload(array, buffer)
    memory.download(buffer, found)
    memory.synchronize()
    np.testing.assert_array_equal(found, array)


def test_an_array_is_filled_by_synchronize_and_only_once(driver: Driver) -> None:
    memory = PycudaMemory()
    buffer = memory.allocate(8)
    memory.upload(np.array([1, 2], np.float32), buffer)
    found = np.zeros(2, np.float32)
    memory.download(buffer, found)
    assert found.tolist() == [0, 0]
    memory.synchronize()
    assert found.tolist() == [1, 2]
    found[:] = 5
    memory.synchronize()
    assert found.tolist() == [5, 5]


def test_addresses_and_the_stream_are_numbers(driver: Driver) -> None:
    memory = PycudaMemory()
    buffer = memory.allocate(4)
    assert buffer.address == int(buffer.allocation)
    assert memory.stream == HANDLE


def test_time_between_marks(driver: Driver) -> None:
    memory = PycudaMemory()
    start, end = memory.mark(), memory.mark()
    memory.synchronize()
    assert memory.milliseconds(start, end) == 1.5


def test_full_memory_is_told(driver: Driver) -> None:
    with pytest.raises(EngineRunError, match="no memory for a tensor of 2097152 bytes"):
        PycudaMemory().allocate(2 << 20)


def test_it_has_no_graphs(driver: Driver) -> None:
    with pytest.raises(GraphRefused, match="pycuda has no CUDA graphs"):
        PycudaMemory().capture(lambda: None)


def test_without_pycuda_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(SpecError, match=r"pip install 'mopt\[pycuda\]'"):
        PycudaMemory()


def test_without_a_gpu_it_says_so(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pycuda.autoprimaryctx")

    def refuse(name: str, *_arguments: Any, **_options: Any) -> Any:
        if name == "pycuda.autoprimaryctx":
            raise Error("cuInit failed: no CUDA-capable device is detected")
        return original(name, *_arguments, **_options)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(GpuNotFound, match="no CUDA-capable device"):
        PycudaMemory()
