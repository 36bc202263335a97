"""Registry: how each runtime opens a model. A runtime's library is loaded with its module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name

from mopt_api.enums import ExecutionProvider, Runtime
from mopt_api.runtimes import RUNTIMES as ROWS

from .base import Opening, Runner


@dataclass(frozen=True)
class RuntimeSupport:
    """How a runtime opens a model.

    Attributes:
        open: MODULE:NAME of a callable that takes an Opening and returns a Runner. It raises
            RuntimeFailure if the runtime cannot open the file, does not support the precision or
            finds no GPU; OutOfMemory if memory runs out; ModelError if the file is corrupt or
            unsafe.
        environment: Environment variables that its libraries read on import.
        thread_variables: Such variables that hold the thread count.
        cache_variable: Such a variable that holds the folder for compiled code; None if nothing is
            compiled.
    """

    open: str
    environment: Mapping[str, str] = field(default_factory=dict)
    thread_variables: tuple[str, ...] = ()
    cache_variable: str | None = None


RUNTIMES: dict[Runtime, RuntimeSupport] = {
    Runtime.PYTORCH: RuntimeSupport(
        open="mopt_optimizer.runtimes.pytorch.opening:open_program",
        environment={"OMP_WAIT_POLICY": "PASSIVE"},
        thread_variables=("TORCHINDUCTOR_COMPILE_THREADS",),
        cache_variable="TORCHINDUCTOR_CACHE_DIR",
    ),
    Runtime.ONNX_RUNTIME: RuntimeSupport(
        open="mopt_optimizer.runtimes.onnx_runtime.runner:OnnxRuntimeRunner"
    ),
    Runtime.OPENVINO: RuntimeSupport(open="mopt_optimizer.runtimes.openvino.runner:OpenVinoRunner"),
    Runtime.TENSORRT: RuntimeSupport(open="mopt_optimizer.runtimes.tensorrt.runner:open_engine"),
}

# numpy's libraries read these too, in every process.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def open_runner(opening: Opening) -> Runner:
    """Return the opened model.

    Raises:
        RuntimeFailure: The runtime cannot open the file, does not support the precision, or finds
            no GPU; OutOfMemory if memory runs out.
        ModelError: The file is corrupt, or unsafe to open.
    """
    opener: Callable[[Opening], Runner] = resolve_name(RUNTIMES[opening.runtime].open)
    return opener(opening)


def builds(opening: Opening) -> bool:
    """Return whether opening the file builds an engine, which is slow."""
    built = ROWS[opening.runtime].built is not None
    return built or opening.provider is ExecutionProvider.TENSORRT


def starts_programs(opening: Opening) -> bool:
    """Return whether a runtime starts other programs: PyTorch's compiler calls g++."""
    return RUNTIMES[opening.runtime].cache_variable is not None and opening.is_compiled


def variables(opening: Opening, cache: Path) -> dict[str, str]:
    """Return the environment variables that libraries read on import, before any API call.

    Args:
        cache: Folder for compiled code, private to this process, so that no process runs code that
            another one left.
    """
    support = RUNTIMES[opening.runtime]
    threads = dict.fromkeys((*_THREAD_VARIABLES, *support.thread_variables), str(opening.threads))
    compiled = {} if support.cache_variable is None else {support.cache_variable: str(cache)}
    return {**threads, **support.environment, **compiled}
