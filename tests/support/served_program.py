"""A program that serves HTTP, for as long as a test needs it."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# The machine may be busy.
PATIENCE = 60.0


@contextmanager
def served(
    command: Sequence[str | Path], url: str, log: Path, environment: Mapping[str, str]
) -> Iterator[None]:
    """Run a server while the context is open; entered once its URL answers."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not _answers(url):
            assert process.poll() is None, log.read_text()[-4000:]
            time.sleep(0.1)
        assert _answers(url), log.read_text()[-4000:]
        yield
        assert process.poll() is None, log.read_text()[-4000:]
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - on 127.0.0.1
            return True
    except OSError:
        return False
