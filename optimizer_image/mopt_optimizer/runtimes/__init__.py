"""The runtimes, one module each; a runtime's library is imported only when it is opened.

All get the same number of threads, one request at a time, and no pinning to cores. Waiting is
left as each library ships it (ONNX Runtime and OpenMP spin for a moment, OpenVINO blocks): that is
what a server gets, and the benchmark keeps a process that is not being measured asleep.
"""

from __future__ import annotations

from pathlib import Path

from mopt_api.spec import Precision, Runtime

from ._base import BoundCall, Feeds, Outputs, Runner, RuntimeFailure

__all__ = [
    "LIBRARIES",
    "BoundCall",
    "Feeds",
    "Outputs",
    "Runner",
    "RuntimeFailure",
    "open_runner",
]

LIBRARIES = {
    Runtime.PYTORCH: "torch",
    Runtime.ONNX_RUNTIME: "onnxruntime",
    Runtime.OPENVINO: "openvino",
}
"""The distribution whose version says what executed a variant."""


def open_runner(runtime: Runtime, precision: Precision, path: Path, threads: int) -> Runner:
    """Return the model in `path`, opened by a runtime.

    Args:
        path: A .pt2 for PyTorch, otherwise an ONNX file; INT8 is the file's own (Q/DQ).
        threads: How many the runtime may compute with, 1 at least.

    Raises:
        RuntimeFailure: The runtime cannot open the file, or cannot compute in that precision.
        ModelError: A .pt2 that is damaged, or unsafe to open.
    """
    if runtime is Runtime.PYTORCH:
        from .pytorch import PyTorchRunner

        return PyTorchRunner(path, threads)
    if runtime is Runtime.ONNX_RUNTIME:
        from .onnx_runtime import OnnxRuntimeRunner

        return OnnxRuntimeRunner(path, threads)
    from .open_vino import OpenVinoRunner

    return OpenVinoRunner(path, threads, precision)
