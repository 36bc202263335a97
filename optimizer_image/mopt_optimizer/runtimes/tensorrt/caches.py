"""TensorRT's caches, kept between builds and runs.

`tensorrt` times kernels during a build and keeps the times in a timing cache. TensorRT for RTX
compiles kernels at run time and keeps them in a runtime cache; its timing cache is deprecated. Each
file is for one TensorRT version, GPU model and CUDA version, which its name holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mopt_optimizer.errors import GpuNotFound, SpecError
from mopt_optimizer.machine.nvidia_gpus import Gpu
from mopt_optimizer.store.writing import disk_errors, replacing

from .backends import Backend, BackendName

TIMING, RUNTIME = "timing", "runtime"


def cache_path(
    folder: Path, kind: str, backend: Backend, gpus: Sequence[Gpu], cuda: str | None
) -> Path:
    """Return the path of a cache, unique per TensorRT version, GPU and CUDA version.

    Args:
        kind: TIMING or RUNTIME.
        gpus: This machine's; the first is used.
        cuda: The driver's CUDA version.

    Raises:
        GpuNotFound: No GPU to name it after.
    """
    if not gpus:
        raise GpuNotFound(
            f"a {kind} cache is for one kind of GPU, and the driver shows none; leave it out"
        )
    parts = (
        backend.name,
        backend.version,
        gpus[0].name,
        gpus[0].compute_capability,
        f"cuda{cuda or 'unknown'}",
    )
    name = "-".join(re.sub(r"[^a-z0-9.]+", "_", part.lower()).strip("_") for part in parts)
    return folder / f"{name}.{kind}"


def check_timing_cache(backend: Backend) -> None:
    """Raise SpecError if a TensorRT does not support timing caches."""
    if backend.name is BackendName.TENSORRT_RTX:
        raise SpecError(
            f"timing_cache: {backend} times nothing while it builds; give EngineRunner a "
            "runtime_cache, where it keeps the kernels that it compiles"
        )


def check_runtime_cache(backend: Backend) -> None:
    """Raise SpecError if a TensorRT has no runtime cache."""
    if backend.name is not BackendName.TENSORRT_RTX:
        raise SpecError(
            f"runtime_cache: {backend} compiles nothing while it runs; give TensorRTConfig a "
            "timing_cache, which makes building faster"
        )


class TimingCache:
    """The timing cache of one build, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def attach(self, settings: Any) -> str | None:
        """Attach the cache to a builder config; return a warning, if any.

        Args:
            settings: IBuilderConfig.
        """
        kept = self._path.read_bytes() if self._path.is_file() else b""
        if _set(settings, kept):
            return None
        _set(settings, b"")
        return f"timing cache {self._path.name} is not taken by this TensorRT: it is written anew"

    def save(self, settings: Any) -> None:
        """Write the cache with what the build added.

        Raises:
            DiskError: No space left; the file is unchanged.
        """
        _write(self._path, settings.get_timing_cache().serialize())


def _set(settings: Any, data: bytes) -> bool:
    cache = settings.create_timing_cache(data)
    # Never with ignore_mismatch: timings of another GPU select slow kernels.
    return cache is not None and bool(settings.set_timing_cache(cache, ignore_mismatch=False))


class RuntimeCache:
    """Kernels compiled by TensorRT for RTX, in a file.

    Attributes:
        note: Why the cached kernels are not used; None if they are, or there were none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cache: Any = None
        self.note: str | None = None

    def attach(self, runtime_config: Any) -> None:
        """Attach the cache to a context's config.

        Args:
            runtime_config: IRuntimeConfig.
        """
        self._cache = runtime_config.create_runtime_cache()
        if self._path.is_file() and not self._cache.deserialize(self._path.read_bytes()):
            self.note = f"runtime cache {self._path.name} is not taken: it is written anew"
        runtime_config.set_runtime_cache(self._cache)

    def save(self) -> None:
        """Write the cache with what runs added.

        Raises:
            DiskError: No space left; the file is unchanged.
        """
        if self._cache is not None:
            _write(self._path, self._cache.serialize())


def _write(path: Path, memory: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(str(path)), replacing(path) as temporary:
        temporary.write_bytes(bytes(memory))
