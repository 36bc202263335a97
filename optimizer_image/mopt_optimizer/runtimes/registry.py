"""Registry: how each runtime opens a model. A runtime's library is loaded with its module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pkgutil import resolve_name

from mopt_api.enums import ExecutionProvider, Runtime
from mopt_api.runtimes import RUNTIMES as ROWS
from mopt_api.runtimes import THREAD_VARIABLES

from .base import Opening, Runner
from .instances import Batches, Compute, computed


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
        instances: MODULE:NAME of a callable that opens several instances, see open_instances; None
            where they share nothing: as many runners as instances.
        forks: Whether that forks.
    """

    open: str
    environment: Mapping[str, str] = field(default_factory=dict)
    thread_variables: tuple[str, ...] = ()
    cache_variable: str | None = None
    instances: str | None = None
    forks: bool = False


RUNTIMES: dict[Runtime, RuntimeSupport] = {
    Runtime.PYTORCH: RuntimeSupport(
        open="mopt_optimizer.runtimes.pytorch.opening:open_program",
        environment={"OMP_WAIT_POLICY": "PASSIVE"},
        thread_variables=("TORCHINDUCTOR_COMPILE_THREADS",),
        cache_variable="TORCHINDUCTOR_CACHE_DIR",
        instances="mopt_optimizer.runtimes.pytorch.instances:forked",
        forks=True,
    ),
    Runtime.ONNX_RUNTIME: RuntimeSupport(
        open="mopt_optimizer.runtimes.onnx_runtime.runner:OnnxRuntimeRunner",
        instances="mopt_optimizer.runtimes.onnx_runtime.instances:sessions",
    ),
    Runtime.OPENVINO: RuntimeSupport(
        open="mopt_optimizer.runtimes.openvino.runner:OpenVinoRunner",
        instances="mopt_optimizer.runtimes.openvino.instances:streams",
    ),
    Runtime.TENSORRT: RuntimeSupport(open="mopt_optimizer.runtimes.tensorrt.runner:open_engine"),
}


def open_runner(opening: Opening) -> Runner:
    """Return the opened model.

    Raises:
        RuntimeFailure: The runtime cannot open the file, does not support the precision, or finds
            no GPU; OutOfMemory if memory runs out.
        ModelError: The file is corrupt, or unsafe to open.
    """
    opener: Callable[[Opening], Runner] = resolve_name(RUNTIMES[opening.runtime].open)
    return opener(opening)


def open_instances(opening: Opening, count: int, batches: Batches) -> list[Compute]:
    """Return instances that compute at the same time, each called by one thread.

    Args:
        opening: Its threads are those of each instance.
        batches: Inputs that they compute, known before they are opened.

    Raises:
        RuntimeFailure, ModelError: As open_runner.
    """
    name = RUNTIMES[opening.runtime].instances
    if name is None:
        return [partial(computed, open_runner(opening), batches) for _ in range(count)]
    opener: Callable[[Opening, int, Batches], list[Compute]] = resolve_name(name)
    return opener(opening, count, batches)


def forks(opening: Opening) -> bool:
    """Return whether opening several instances forks."""
    return RUNTIMES[opening.runtime].forks


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
    # numpy's libraries read the first ones too, in every process.
    threads = dict.fromkeys((*THREAD_VARIABLES, *support.thread_variables), str(opening.threads))
    compiled = {} if support.cache_variable is None else {support.cache_variable: str(cache)}
    return {**threads, **support.environment, **compiled}
