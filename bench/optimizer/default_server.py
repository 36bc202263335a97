"""`mopt serve` of a folder with what ONNX Runtime chooses by itself: a thread for each CPU of the
host, whatever the container's limit, and threads that spin when they have nothing to do.

    .venv/bin/python bench/optimizer/default_server.py FOLDER [options of mopt_optimizer.server]

Everything else is the same code, so that what throttling.py compares is the runtime's defaults.
"""

from __future__ import annotations

import os
import tempfile

import onnxruntime as ort

from mopt_api.enums import Runtime
from mopt_optimizer.runtimes.base import BoundCall, Feeds, Opening, Outputs, Runner
from mopt_optimizer.runtimes.registry import RUNTIMES, RuntimeSupport
from mopt_optimizer.server.__main__ import SCRATCH_VARIABLE
from mopt_optimizer.server.process import main


class DefaultRunner(Runner):
    """A session without a single option."""

    def __init__(self, opening: Opening) -> None:
        self._session = ort.InferenceSession(str(opening.path), providers=["CPUExecutionProvider"])
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, feeds: Feeds) -> Outputs:
        return dict(zip(self._outputs, self._session.run(None, dict(feeds)), strict=True))

    def bind(self, feeds: Feeds) -> BoundCall:
        def call() -> None:
            self.run(feeds)

        return call


if __name__ == "__main__":
    RUNTIMES[Runtime.ONNX_RUNTIME] = RuntimeSupport(open="default_server:DefaultRunner")
    os.environ[SCRATCH_VARIABLE] = tempfile.mkdtemp(prefix="mopt-default-")
    main()
