"""Lines to and from a child that may read or write them never, for ever, or in parts."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import IO

# An answer is some kilobytes; the times of a turn's calls are most of the largest.
MAX_LINE_BYTES = 4 * 1024 * 1024
_READ_BYTES = 65536


class OverlongLineError(Exception):
    """A line of more than MAX_LINE_BYTES."""


class Pipes:
    """Our ends of a child's standard input and output. No call of them blocks for long."""

    def __init__(self, to_child: IO[bytes], from_child: IO[bytes]) -> None:
        self._to, self._from = to_child, from_child
        self._buffer = b""
        for pipe in (to_child, from_child):
            # What is ready may be gone when it is read: the child has the other end.
            os.set_blocking(pipe.fileno(), False)

    def write(self, line: bytes, idle: Callable[[], float]) -> None:
        """Write a line; less of it where the child reads no more.

        Args:
            idle: Called before each wait; returns its longest time in seconds. What it raises ends
                the call.
        """
        left = memoryview(line)
        descriptor = self._to.fileno()
        while left:
            pause = idle()
            if not select.select([], [descriptor], [], pause)[1]:
                continue
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                return

    def read_line(self, idle: Callable[[], float]) -> bytes | None:
        """Return the next line; None where the child has closed its output.

        Args:
            idle: As write.

        Raises:
            OverlongLineError
        """
        descriptor = self._from.fileno()
        while b"\n" not in self._buffer:
            pause = idle()
            if not select.select([descriptor], [], [], pause)[0]:
                continue
            try:
                received = os.read(descriptor, _READ_BYTES)
            except BlockingIOError:
                time.sleep(min(pause, 0.01))
                continue
            if not received:
                return None
            self._buffer += received
            if len(self._buffer) > MAX_LINE_BYTES:
                raise OverlongLineError
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def close(self) -> None:
        """Close both."""
        for pipe in (self._to, self._from):
            pipe.close()
