"""What this machine can run: instruction sets, installed runtimes, a GPU. Opens no runtime."""

from __future__ import annotations

import importlib.util
import os
import platform
from dataclasses import dataclass

from mopt_api.enums import Runtime
from mopt_api.runtimes import RUNTIMES

from .compilers import compiler_version
from .nvidia_gpus import visible_gpus
from .system import System

TENSORRT = Runtime.TENSORRT.value


@dataclass(frozen=True)
class Machine:
    """Facts that decide which forms fit.

    Attributes:
        cpu: Model of the CPU, None where unknown.
        cpu_features: As hardware.cpu_features.
        architecture: As uname -m.
        runtimes: Names of the runtimes whose library is installed.
        gpus: NVIDIA GPUs that the driver shows.
        threads: For each runtime, 1 at least.
        compiler: Version of the C++ compiler; None where there is none.
    """

    cpu: str | None
    cpu_features: frozenset[str]
    architecture: str
    runtimes: frozenset[str]
    gpus: int = 0
    threads: int = 1
    compiler: str | None = None


def this_machine() -> Machine:
    """Return the facts of this machine."""
    hardware = System().hardware(os.environ)
    return Machine(
        cpu=hardware.cpu,
        cpu_features=frozenset(hardware.cpu_features),
        architecture=platform.machine(),
        runtimes=frozenset(
            runtime.value for runtime, info in RUNTIMES.items() if _installed(info.module)
        ),
        gpus=count_gpus(),
        threads=hardware.threads or 1,
        compiler=compiler_version(),
    )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # A module that was put together by hand, without a spec.
        return False


def count_gpus(library: str = "libcuda.so.1") -> int:
    """Return how many NVIDIA GPUs the driver shows; 0 without a driver. Loads no framework.

    Args:
        library: The driver's.
    """
    return len(visible_gpus(library))
