"""The runtimes, one module each; a runtime's library is imported only when it is opened.

All get the same number of threads, one request at a time, no pinning to cores, and threads that
wait asleep instead of spinning (OpenVINO's own way; OMP_WAIT_POLICY for PyTorch, set where its
process starts). Spinning burns CPU quota, and where a neighbour takes a core it makes PyTorch some
2.3 times slower, which would flatter every variant; on an idle machine it gains PyTorch and FP32
ONNX Runtime nothing, INT8 ONNX Runtime up to 9 %.

On a GPU all have the same path too: inputs from pageable memory of the host, outputs back to it,
and a call ends when they are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mopt_api.enums import ExecutionProvider, Precision, Runtime
from mopt_optimizer.errors import OutOfMemory, RuntimeFailure

from .base import BoundCall, Feeds, Options, Outputs, Runner, ShapeRange

__all__ = [
    "LIBRARIES",
    "BoundCall",
    "Feeds",
    "Options",
    "OutOfMemory",
    "Outputs",
    "Runner",
    "RuntimeFailure",
    "open_runner",
]


def open_runner(
    runtime: Runtime,
    precision: Precision,
    path: Path,
    threads: int,
    *,
    compiled: bool = False,
    gpu: bool = False,
    provider: ExecutionProvider | None = None,
    shapes: Mapping[str, ShapeRange] | None = None,
) -> Runner:
    """Return the model in `path`, opened by a runtime.

    Args:
        path: A .pt2 or .ts (TorchScript) for PyTorch, otherwise an ONNX file; a precision other
            than FP32 is the file's own, but for OpenVINO's BF16.
        threads: How many the runtime may compute with, 1 at least.
        compiled: PyTorch compiles the program for the sizes of each call; INT8 and FP8 it always
            does.
        gpu: Compute on the GPU.
        provider: Of ONNX Runtime; None is CUDA on the GPU, else the CPU.
        shapes: Of TensorRT: the smallest, most frequent and largest of each input.

    Raises:
        RuntimeFailure: The runtime cannot open the file, cannot compute in that precision, or has
            no GPU; OutOfMemory for want of memory.
        ModelError: A .pt2 or .ts that is damaged, or unsafe to open.
    """
    default = ExecutionProvider.CUDA if gpu else ExecutionProvider.CPU
    options = Options(
        threads=threads,
        compiled=compiled,
        gpu=gpu,
        provider=provider or default,
        shapes=shapes or {},
    )
    if runtime is Runtime.PYTORCH:
        if options.compiled or precision in (Precision.INT8, Precision.FP8):
            from .pytorch.compiled import CompiledRunner

            return CompiledRunner(path, options)
        from .pytorch.runner import PyTorchRunner

        return PyTorchRunner(path, options)
    if runtime is Runtime.ONNX_RUNTIME:
        from .onnx_runtime.runner import OnnxRuntimeRunner

        return OnnxRuntimeRunner(path, precision, options)
    if runtime is Runtime.TENSORRT:
        from .tensorrt.runner import open_engine

        return open_engine(path, precision, options)
    from .openvino.runner import OpenVinoRunner

    return OpenVinoRunner(path, options.threads, precision)
