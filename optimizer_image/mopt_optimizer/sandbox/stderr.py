"""What a child writes to its standard error: its libraries' words, or anything at all."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from typing import IO

from mopt_api.text import one_line

_READ_BYTES = 65536
# Compilers and builders say much; beyond this it is no message any more.
_MAX_FORWARDED = 16 * 1024 * 1024
_TAIL_LINES, _LINE_CHARACTERS = 32, 4096


class StandardError:
    """Reads a child's standard error until it closes, and passes it on as text, line by line.

    Through a pipe, not a file, and cleaned: no file grows, and no terminal is told what to do.
    """

    def __init__(self, target: IO[str] | None) -> None:
        """Make the pipe.

        Args:
            target: Gets the lines; None is our own standard error.
        """
        self._target = target
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._forwarded = 0
        self._reading, self.writing = os.pipe()
        self._thread = threading.Thread(target=self._read, name="stderr", daemon=True)

    def start(self) -> None:
        """Start reading, once the child has its end of the pipe."""
        os.close(self.writing)
        self._thread.start()

    def tail(self) -> str:
        """Return the last lines, once the child has ended."""
        self._thread.join()
        return "\n".join(self._tail)

    def close(self) -> None:
        """Wait for the end of what an ended child has written."""
        self._thread.join()

    def _read(self) -> None:
        rest = b""
        while received := os.read(self._reading, _READ_BYTES):
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                self._take(line)
            if len(rest) > _LINE_CHARACTERS:
                self._take(rest)
                rest = b""
        if rest:
            self._take(rest)
        os.close(self._reading)

    def _take(self, line: bytes) -> None:
        text = one_line(line[:_LINE_CHARACTERS].decode(errors="replace"))
        self._tail.append(text)
        self._forwarded += len(text)
        if self._forwarded <= _MAX_FORWARDED:
            print(text, file=self._target or sys.stderr, flush=True)
