"""How fast memory is: data of several sizes, read and copied by all threads at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Barrier, Thread

import numpy as np
from numpy.typing import NDArray

from mopt_api.jobs.limits import Bandwidth

_Data = NDArray[np.float32]
_Pass = Callable[[_Data], None]
_VALUE_BYTES = 4
# Read and written in a round, by all threads: long beside what waking them up takes.
_ROUND_BYTES = 2**26
_FEWEST_ROUNDS = 3
_LONGEST_WAIT = 60.0


def bandwidths(threads: int, sizes: Sequence[int], seconds: float) -> list[Bandwidth]:
    """Return the bandwidth for each size of data, all threads together.

    Args:
        sizes: Bytes, smallest first.
        seconds: For each size.
    """
    return [
        Bandwidth(
            data_bytes=size,
            bytes_per_second=max(
                _best_rate(threads, size, seconds / 2, kernel) for kernel in (_read, _copy)
            ),
        )
        for size in sizes
    ]


def _read(data: _Data) -> None:
    # One of BLAS, which reads faster than numpy's own sums.
    np.dot(data, data)


def _copy(data: _Data) -> None:
    # All of it is moved: half is read, half is written.
    half = len(data) // 2
    np.copyto(data[:half], data[half : 2 * half])


def _best_rate(threads: int, size: int, seconds: float, kernel: _Pass) -> float:
    """Return the bytes per second of the best round of all threads."""
    values = max(2, size // threads // _VALUE_BYTES)
    passes = max(1, _ROUND_BYTES // (values * _VALUE_BYTES * threads))
    rounds = _Rounds(threads)

    def work() -> None:
        # Filled by the thread that reads it: its memory is near.
        data = np.ones(values, np.float32)
        while rounds.begin():
            started = time.perf_counter_ns()
            for _ in range(passes):
                kernel(data)
            rounds.end(started, time.perf_counter_ns())

    workers = [Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    times: list[int] = []
    while sum(times) < seconds * 1e9 or len(times) < _FEWEST_ROUNDS:
        times.append(rounds.take())
    rounds.stop()
    for worker in workers:
        worker.join()
    return threads * passes * values * _VALUE_BYTES * 1e9 / min(times)


class _Rounds:
    """Rounds that threads work in together; each lasts from the first start to the last end.

    The threads look at the clock themselves: whoever waits for them may wake up late.
    """

    def __init__(self, threads: int) -> None:
        self._meeting = Barrier(threads + 1, timeout=_LONGEST_WAIT)
        self._spans: list[tuple[int, int]] = []
        self._ending = False

    def begin(self) -> bool:
        """Wait for a round in one of the threads; return whether there is one more."""
        self._meeting.wait()
        return not self._ending

    def end(self, started: int, ended: int) -> None:
        """End a round in one of the threads."""
        self._spans.append((started, ended))
        self._meeting.wait()

    def take(self) -> int:
        """Let the threads work a round; return its nanoseconds."""
        self._spans.clear()
        self._meeting.wait()
        self._meeting.wait()
        return max(ended for _, ended in self._spans) - min(started for started, _ in self._spans)

    def stop(self) -> None:
        """Let the threads end."""
        self._ending = True
        self._meeting.wait()
