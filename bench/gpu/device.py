"""The GPU as the driver, NVML and torch tell of it. Nothing of its settings is changed."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import Any

from mopt_optimizer.machine.nvidia import find_gpu
from mopt_optimizer.machine.nvidia_clocks import gpu_clocks, nvml_binding
from mopt_optimizer.machine.nvidia_gpus import driver_version, visible_gpus
from mopt_optimizer.machine.versions import installed_version
from mopt_optimizer.stages.missing import CUDA_PROVIDER, TENSORRT_PROVIDER, installed_libraries

from .rows import Row

_PACKAGES = (
    "torch",
    "triton",
    "torchao",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "openvino",
    "numpy",
    "pydantic",
    "nvidia-ml-py",
)
_MILLI = 1000


def machine_facts(torch: Any) -> Row:
    """Return what the figures depend on; the GPU is None where there is none for torch.

    Args:
        torch: The module.
    """
    gpu = find_gpu() if torch.cuda.is_available() else None
    versions = {name: version for name in _PACKAGES if (version := installed_version(name))}
    return {
        "gpu": None if gpu is None else gpu.to_api() | gpu_facts(torch.cuda),
        "driverCuda": driver_version(),
        "torchCuda": torch.version.cuda,
        "clocks": clocks(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "versions": versions,
        "libraries": libraries(installed_libraries()),
    }


def gpu_facts(cuda: Any) -> Row:
    """Return what torch tells of its first GPU.

    Args:
        cuda: torch.cuda.
    """
    properties = cuda.get_device_properties(0)
    return {
        "multiprocessors": properties.multi_processor_count,
        "l2CacheBytes": getattr(properties, "L2_cache_size", None),
        "torchArchitectures": list(cuda.get_arch_list()),
    }


def libraries(installed: frozenset[str]) -> Row:
    """Return of each library that may be here whether it is, by name. Pure."""
    tensorrt = "tensorrt" in installed or "tensorrt_rtx" in installed
    return {
        CUDA_PROVIDER: CUDA_PROVIDER in installed,
        TENSORRT_PROVIDER: TENSORRT_PROVIDER in installed,
        "tensorrt": tensorrt,
        "openvino": "openvino" in installed,
        "nncf": "nncf" in installed,
    }


def clocks() -> Row | None:
    """Return clocks, power, temperature and what throttles; None where NVML does not tell."""
    sample = gpu_clocks()
    return None if sample is None else asdict(sample)


Binding = Callable[[], AbstractContextManager[Any]]


@contextmanager
def energy_meter(
    binding: Binding = nvml_binding, uuid: Callable[[], str | None] | None = None
) -> Iterator[Callable[[], float | None]]:
    """Give what reads the joules that the GPU has taken since its driver was loaded.

    It gives None where NVML does not tell, as of a MIG slice.

    Args:
        binding: Gives NVML's binding.
        uuid: Of the GPU that CUDA computes on.
    """
    name = (uuid or _first_uuid)()
    with binding() as nvml:
        if nvml is None or name is None:
            yield lambda: None
            return

        def read() -> float | None:
            try:
                handle = nvml.nvmlDeviceGetHandleByUUID(name)
                return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / _MILLI
            except nvml.NVMLError:
                return None

        yield read


def _first_uuid() -> str | None:
    gpus = visible_gpus()
    return gpus[0].uuid or None if gpus else None


def joules_per_1000(before: float | None, after: float | None, inferences: int) -> float | None:
    """Return the energy of a thousand inferences, the board's idle power within; None where it is
    not told, or the meter did not move. Pure.

    Args:
        before, after: Of the meter, in joules.
        inferences: Samples computed between, at least one.
    """
    if before is None or after is None or after <= before:
        return None
    return (after - before) / inferences * 1000
