"""The runtimes, one module each; a runtime's library is imported only when it is opened.

All get the same number of threads, one request at a time, no pinning to cores, and threads that
wait asleep instead of spinning (OpenVINO's own way; OMP_WAIT_POLICY for PyTorch, set where its
process starts). Spinning burns CPU quota, and where a neighbour takes a core it makes PyTorch some
2.3 times slower, which would flatter every variant; on an idle machine it gains PyTorch and FP32
ONNX Runtime nothing, INT8 ONNX Runtime up to 9 %.
"""

from __future__ import annotations

from pathlib import Path

from mopt_api.enums import Precision, Runtime

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


def open_runner(
    runtime: Runtime, precision: Precision, path: Path, threads: int, *, compiled: bool = False
) -> Runner:
    """Return the model in `path`, opened by a runtime.

    Args:
        path: A .pt2 or .ts (TorchScript) for PyTorch, otherwise an ONNX file; a precision other
            than FP32 is the file's own, but for OpenVINO's BF16.
        threads: How many the runtime may compute with, 1 at least.
        compiled: PyTorch compiles the program for the sizes of each call; INT8 it always does.

    Raises:
        RuntimeFailure: The runtime cannot open the file, or cannot compute in that precision.
        ModelError: A .pt2 or .ts that is damaged, or unsafe to open.
    """
    if runtime is Runtime.PYTORCH and (compiled or precision is Precision.INT8):
        from .compiled import CompiledRunner

        return CompiledRunner(path, threads)
    if runtime is Runtime.PYTORCH:
        from .pytorch import PyTorchRunner

        return PyTorchRunner(path, threads)
    if runtime is Runtime.ONNX_RUNTIME:
        from .onnx_runtime import OnnxRuntimeRunner

        return OnnxRuntimeRunner(path, threads)
    from .open_vino import OpenVinoRunner

    return OpenVinoRunner(path, threads, precision)
