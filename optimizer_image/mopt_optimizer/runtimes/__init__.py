"""The runtimes, one package each; a runtime's library is imported only when it is opened.

All get the same number of threads, one request at a time, no pinning to cores, and threads that
wait asleep instead of spinning (OpenVINO's own way; OMP_WAIT_POLICY for PyTorch, set where its
process starts). Spinning burns CPU quota, and where a neighbour takes a core it makes PyTorch some
2.3 times slower, which would flatter every variant; on an idle machine it gains PyTorch and FP32
ONNX Runtime nothing, INT8 ONNX Runtime up to 9 %.

On a GPU all have the same path too: inputs from pageable memory of the host, outputs back to it,
and a call ends when they are there.
"""

from __future__ import annotations

from mopt_optimizer.errors import OutOfMemory, RuntimeFailure

from .base import BoundCall, Feeds, Opening, Outputs, Runner
from .registry import open_runner

__all__ = [
    "BoundCall",
    "Feeds",
    "Opening",
    "OutOfMemory",
    "Outputs",
    "Runner",
    "RuntimeFailure",
    "open_runner",
]
