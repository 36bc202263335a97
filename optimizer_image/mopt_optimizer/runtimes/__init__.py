"""The runtimes, one package each; a runtime's library is imported only when it opens a model.

All runtimes get the same thread count and one request at a time, without core pinning, and their
threads sleep instead of spinning (OpenVINO's default; OMP_WAIT_POLICY for PyTorch, set at process
start). Spinning burns CPU quota, and if another process takes a core it makes PyTorch about 2.3
times slower, which would flatter every variant. On an idle machine it gains PyTorch and FP32 ONNX
Runtime nothing, and INT8 ONNX Runtime up to 9 %.

On a GPU all runtimes use the same path: inputs come from pageable host memory, outputs are copied
back to it, and a call ends when they have arrived.
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
