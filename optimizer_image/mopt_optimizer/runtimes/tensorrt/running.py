"""Runs a loaded engine on arrays: checks shapes and types, reuses memory between calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import EngineRunError, ProfileViolation
from mopt_optimizer.machine.nvidia_gpus import driver_version, visible_gpus

from .backends import Backend, BackendName
from .caches import RUNTIME, RuntimeCache, cache_path, check_runtime_cache
from .graphs import ReplayedInference
from .loading import LoadedEngine, load_engine
from .manifest import EngineManifest, TensorEntry
from .memory import Buffer, DeviceMemory, TorchMemory

Arrays = dict[str, NDArray[Any]]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the numpy dtype of a manifest's name; bfloat16 and float8 come from ml_dtypes."""
    try:
        found: np.dtype[Any] = np.dtype(name)
    except TypeError:
        import ml_dtypes

        found = np.dtype(getattr(ml_dtypes, name))
    return found


def check_feeds(manifest: EngineManifest, feeds: Mapping[str, NDArray[Any]]) -> None:
    """Check inputs against the engine's manifest.

    Raises:
        ProfileViolation: Wrong name, type or shape; says which and what is allowed.
    """
    names = [entry.name for entry in manifest.inputs]
    if set(feeds) != set(names):
        raise ProfileViolation(
            f"inputs {', '.join(sorted(feeds)) or 'none'} are given, the engine takes "
            f"{', '.join(names)}"
        )
    for entry in manifest.inputs:
        array = feeds[entry.name]
        if array.dtype != numpy_dtype(entry.dtype):
            raise ProfileViolation(
                f"input {entry.name} is {array.dtype}, the engine takes {entry.dtype}"
            )
        if entry.profile is not None:
            entry.profile.check(entry.name, array.shape)


def _runtime_cache(backend: Backend, folder: Path | None) -> RuntimeCache | None:
    if folder is None:
        return None
    check_runtime_cache(backend)
    path = cache_path(folder, RUNTIME, backend, visible_gpus(), driver_version())
    return RuntimeCache(path)


class EngineRunner:
    """One execution context of an engine, for one thread.

    Args:
        loaded: See loading.load_engine.
        memory: None is TorchMemory.
        cuda_graphs: Capture the inference in a CUDA graph on the first run at new shapes, and
            replay it until they change. TensorRT for RTX does so itself; see graph_refusal if it is
            not possible.
        runtime_cache: Folder in which TensorRT for RTX keeps compiled kernels, written by
            save_runtime_cache; None compiles them in each process.

    Raises:
        SpecError: A runtime_cache, which `tensorrt` does not support.
        GpuNotFound: As TorchMemory.
        EngineRunError: No context, for example for lack of GPU memory.
    """

    def __init__(
        self,
        loaded: LoadedEngine,
        memory: DeviceMemory[Any] | None = None,
        *,
        cuda_graphs: bool = False,
        runtime_cache: Path | None = None,
    ) -> None:
        self.manifest = loaded.manifest
        self._loaded = loaded
        self._cache = _runtime_cache(loaded.backend, runtime_cache)
        self.memory: DeviceMemory[Any] = memory if memory is not None else TorchMemory()
        self._buffers: dict[str, Buffer] = {}
        self._sources: Arrays = {}
        self._results: Arrays = {}
        self._sizes: dict[str, tuple[int, ...]] = {}
        own_graphs = cuda_graphs and loaded.backend.name is BackendName.TENSORRT_RTX
        self._inference = (
            ReplayedInference(self.memory, self._queue) if cuda_graphs and not own_graphs else None
        )
        self._context = self._new_context(own_graphs=own_graphs)
        if self._context is None:
            raise EngineRunError(
                f"TensorRT gives no execution context: {self._words()}; free GPU memory, or build "
                "the engine with smaller largest shapes"
            )

    def _new_context(self, *, own_graphs: bool) -> Any:
        engine, api = self._loaded.engine, self._loaded.backend.api
        if self._cache is None and not own_graphs:
            return engine.create_execution_context()
        # Both exist only in RTX.
        config = engine.create_runtime_config()
        if own_graphs:
            config.cuda_graph_strategy = api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if self._cache is not None:
            self._cache.attach(config)
        return engine.create_execution_context(runtime_config=config)

    @property
    def graph_refusal(self) -> str | None:
        """Why inference is not replayed from a CUDA graph; None if no reason is known."""
        return self._inference.refused if self._inference else None

    @property
    def runtime_cache_note(self) -> str | None:
        """Why cached kernels are not used; None if they are, or there were none."""
        return self._cache.note if self._cache else None

    def save_runtime_cache(self) -> None:
        """Save the compiled kernels; a no-op without a runtime_cache.

        Raises:
            DiskError: No space left; the file is unchanged.
        """
        if self._cache is not None:
            self._cache.save()

    @classmethod
    def open(
        cls,
        path: Path | str,
        backend: Backend | None = None,
        memory: DeviceMemory[Any] | None = None,
        *,
        cuda_graphs: bool = False,
        runtime_cache: Path | None = None,
    ) -> EngineRunner:
        """Load an engine and make it ready to run.

        Args:
            backend: None takes the one that built the engine.
            memory, cuda_graphs, runtime_cache: See EngineRunner.

        Raises:
            As load_engine and EngineRunner.
        """
        loaded = load_engine(path, backend)
        return cls(loaded, memory, cuda_graphs=cuda_graphs, runtime_cache=runtime_cache)

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return the outputs by name, in the engine's types; new arrays on each call.

        Args:
            feeds: Every input by name, on the host.

        Raises:
            ProfileViolation: As check_feeds.
            EngineRunError: TensorRT fails, or an output's size depends on input values.
        """
        self.set_shapes(feeds)
        self.upload(feeds)
        self.enqueue()
        self.download()
        self.memory.synchronize()
        return {name: array.copy() for name, array in self._results.items()}

    def set_shapes(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Check the inputs and allocate memory for their shapes.

        Raises:
            ProfileViolation, EngineRunError.
        """
        check_feeds(self.manifest, feeds)
        sizes = {name: array.shape for name, array in feeds.items()}
        if self._inference and sizes != self._sizes:
            self._inference.forget()
        self._sizes = sizes
        for name, array in feeds.items():
            if not self._context.set_input_shape(name, tuple(array.shape)):
                raise EngineRunError(
                    f"TensorRT refuses input {name} of shape {array.shape}: {self._words()}"
                )
            self._bind(name, array.nbytes)
        for entry in self.manifest.outputs:
            shape = self._output_shape(entry)
            dtype = numpy_dtype(entry.dtype)
            found = self._results.get(entry.name)
            if found is None or found.shape != shape:
                self._results[entry.name] = np.empty(shape, dtype)
            self._bind(entry.name, math.prod(shape) * dtype.itemsize)

    def upload(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Queue copies of the inputs to the device; shapes as in the last set_shapes."""
        for name, array in feeds.items():
            # Held until the next upload: the copy may still be running on return.
            self._sources[name] = np.require(array, requirements=["C", "W"])
            self.memory.upload(self._sources[name], self._buffers[name])

    def enqueue(self) -> None:
        """Queue one inference.

        Raises:
            EngineRunError: TensorRT rejects it.
        """
        if self._inference:
            self._inference()
        else:
            self._queue()

    def _queue(self) -> None:
        if not self._context.execute_async_v3(self.memory.stream):
            raise EngineRunError(f"TensorRT fails to run the engine: {self._words()}")

    def download(self) -> None:
        """Queue copies of the outputs to the host."""
        for name, array in self._results.items():
            self.memory.download(self._buffers[name], array)

    def _bind(self, name: str, size: int) -> None:
        """Bind memory to a tensor; at least one byte, since TensorRT rejects null pointers."""
        held = self._buffers.get(name)
        if held is None or held.size != max(size, 1):
            held = self._buffers[name] = self.memory.allocate(max(size, 1))
        self._context.set_tensor_address(name, held.address)

    def _output_shape(self, entry: TensorEntry) -> tuple[int, ...]:
        shape = tuple(self._context.get_tensor_shape(entry.name))
        if any(size < 0 for size in shape):
            raise EngineRunError(
                f"output {entry.name} has shape {shape}: its size depends on the inputs' values, "
                "which is not supported; leave the node that decides it (NonZero, "
                "NonMaxSuppression) out of the model"
            )
        return shape

    def _words(self) -> str:
        errors = self._loaded.messages.errors
        return errors[-1].splitlines()[0] if errors else "it gave no reason"
