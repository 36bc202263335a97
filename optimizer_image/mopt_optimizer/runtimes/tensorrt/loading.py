"""Checks and deserializes engines."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mopt_optimizer.errors import (
    DamagedEngine,
    EngineVersionMismatch,
    GpuNotFound,
    OptimizerError,
    UnusableEngine,
    WrongGpu,
)
from mopt_optimizer.machine.nvidia_gpus import visible_gpus

from .backends import Backend, find_backend
from .building import Messages
from .layers import EngineLayer, inspected_layers
from .manifest import EngineManifest, check_bytes, check_fits, read_manifest

# Flags of RTX's EngineInvalidityDiagnostics, with the error and remedy of each.
_DIAGNOSES: tuple[tuple[str, type[OptimizerError], str], ...] = (
    ("MALFORMED_ENGINE", DamagedEngine, "is damaged; build it again"),
    ("VERSION_MISMATCH", EngineVersionMismatch, "is of another version; build it again"),
    ("UNSUPPORTED_CC", WrongGpu, "was built for other GPUs; build it for this one"),
    ("OLD_CUDA_DRIVER", GpuNotFound, "needs a newer NVIDIA driver; update it"),
    ("OLD_CUDA_RUNTIME", UnusableEngine, "needs a newer CUDA runtime; update TensorRT"),
    ("INSUFFICIENT_GPU_MEMORY", UnusableEngine, "needs more GPU memory than is free"),
    ("CUDA_ERROR", GpuNotFound, "cannot be checked: CUDA fails here; look at nvidia-smi"),
)


@dataclass(frozen=True)
class LoadedEngine:
    """An engine on the GPU.

    Attributes:
        engine: TensorRT's ICudaEngine.
        manifest: As it was written.
        messages: TensorRT's log; the engine keeps logging to it.
    """

    engine: Any
    manifest: EngineManifest
    backend: Backend
    messages: Messages = dataclasses.field(repr=False)

    def layers(self) -> tuple[EngineLayer, ...]:
        """Return the layers from the engine inspector."""
        inspector = self.engine.create_engine_inspector()
        kind = self.backend.api.LayerInformationFormat.JSON
        return inspected_layers(inspector.get_engine_information(kind))


def load_engine(path: Path | str, backend: Backend | None = None) -> LoadedEngine:
    """Check an engine, then load it onto the GPU.

    Checks, in this order and before the engine is parsed: its manifest, its size and digest, the
    installed TensorRT, the GPU, and TensorRT's own validity check.

    Args:
        backend: None takes the one that built the engine.

    Raises:
        TensorRTNotInstalled: The backend is not installed.
        DamagedEngine, DigestMismatch, EngineVersionMismatch, WrongGpu, GpuNotFound, UnusableEngine:
            Why it cannot run here, and what to do.
    """
    path = Path(path)
    manifest = read_manifest(path)
    check_bytes(path, manifest)
    backend = backend or find_backend(manifest.backend)
    check_fits(path.name, manifest, backend, visible_gpus())
    messages = Messages(backend.api)
    runtime = backend.api.Runtime(messages.logger)
    data = path.read_bytes()
    check_validity(path.name, backend, runtime, data)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        words = messages.errors[0].splitlines()[0] if messages.errors else "it gave no reason"
        raise UnusableEngine(f"{path.name}: {backend} cannot load it: {words}; build it again")
    return LoadedEngine(engine, manifest, backend, messages)


def check_validity(name: str, backend: Backend, runtime: Any, data: bytes) -> None:
    """Ask TensorRT whether it can load an engine; only RTX supports this.

    Raises:
        As load_engine.
    """
    ask = getattr(runtime, "get_engine_validity", None)
    if ask is None:
        return
    validity, bits = ask(data)
    if validity != backend.api.EngineValidity.INVALID:
        return
    flags = backend.api.EngineInvalidityDiagnostics.__members__
    for flag, kind, words in _DIAGNOSES:
        if flag in flags and int(bits) & int(flags[flag]):
            raise kind(f"{name} {words} ({backend} says {flag})")
    # Without a GPU RTX reports it as invalid, but not why.
    raise UnusableEngine(f"{name}: {backend} says that it cannot be loaded here, and not why")
