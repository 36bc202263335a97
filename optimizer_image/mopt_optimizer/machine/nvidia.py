"""The NVIDIA GPU that a Job was given, asked of the driver; loads no framework.

The device plugin makes one GPU, or one MIG slice, visible to a container that asks for one; where
there are more, CUDA's first is used, by every runtime.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from mopt_api.figures import Gpu
from mopt_optimizer.errors import GpuNotFound

from . import nvidia_clocks as clocks
from . import nvidia_gpus as gpus

VISIBLE_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
_POWER_CAP = "power cap"


def find_gpu(library: str = "libcuda.so.1") -> Gpu | None:
    """Return the first GPU of this process; None without one or without a driver.

    Args:
        library: The driver's.
    """
    found = gpus.visible_gpus(library)
    if not found:
        return None
    first = found[0]
    return Gpu(
        name=first.name[:64],
        compute_capability=first.compute_capability,
        memory_bytes=_memory_bytes(library),
        driver=(clocks.nvidia_driver() or "")[:32] or None,
        mig=_is_slice(first.name) or None,
    )


def required_gpu(target: str, environ: Mapping[str, str], library: str = "libcuda.so.1") -> Gpu:
    """Return the GPU of a target that has to have one.

    Raises:
        GpuNotFound: Says what was asked for, what is there, and what to look at.
    """
    gpu = find_gpu(library)
    if gpu is None:
        raise GpuNotFound(without_gpu(target, environ, driver=_loads(library)))
    return gpu


def without_gpu(target: str, environ: Mapping[str, str], *, driver: bool) -> str:
    """Return the message for a target without its GPU. Pure.

    Args:
        driver: Whether the driver's library is there.
    """
    visible_devices = environ.get(VISIBLE_VARIABLE)
    visible = (
        f"{VISIBLE_VARIABLE} is {visible_devices}"
        if visible_devices
        else f"{VISIBLE_VARIABLE} is not set"
    )
    if driver:
        what = f"NVIDIA's driver is here and shows none ({visible})"
        remedy = (
            "give the profile's resources nvidia.com/gpu: 1, and look at nvidia-smi on the node"
        )
    else:
        what = f"NVIDIA's driver (libcuda.so.1) is not in the container ({visible})"
        remedy = (
            "give the profile its runtimeClassName (nvidia) and resources nvidia.com/gpu: 1, and "
            "the node NVIDIA's driver, container toolkit and device plugin"
        )
    return f"target {target} is to have an NVIDIA GPU and has none: {what}; {remedy}"


def used_memory() -> int | None:
    """Return the bytes in use on the GPU, by all processes; None where NVML does not tell.

    Nor of a MIG slice: the driver names its GPU, whose other slices are others'.
    """
    with clocks.nvml_binding() as library:
        if library is None:
            return None
        found = gpus.visible_gpus()
        if not found or _is_slice(found[0].name):
            return None
        try:
            # By name: NVML counts all GPUs of the machine, CUDA those that this process may use.
            handle = library.nvmlDeviceGetHandleByUUID(found[0].uuid)
            return int(library.nvmlDeviceGetMemoryInfo(handle).used)
        except library.NVMLError:
            return None


def serious_throttling() -> tuple[str, ...]:
    """Return what slows the GPU down now, except for its power limit, which is by design."""
    sample = clocks.gpu_clocks()
    found = () if sample is None else sample.throttling
    return tuple(reason for reason in found if reason != _POWER_CAP)


def _is_slice(name: str) -> bool:
    # The driver names a slice after its GPU and its profile: NVIDIA A100 MIG 1g.5gb.
    return " MIG " in name


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _memory_bytes(library: str) -> int | None:
    """Return the size of the first GPU's memory, or the slice's; after visible_gpus."""
    device, size = ctypes.c_int(), ctypes.c_size_t()
    try:
        driver = ctypes.CDLL(library)
        driver.cuDeviceGet(ctypes.byref(device), 0)
        if driver.cuDeviceTotalMem_v2(ctypes.byref(size), device) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return size.value
