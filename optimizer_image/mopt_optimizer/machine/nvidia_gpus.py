"""NVIDIA GPUs that this process can use, asked of the driver itself. Loads no framework."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from uuid import UUID

# CUdevice_attribute of cuda.h.
_CAPABILITY_MAJOR = 75
_CAPABILITY_MINOR = 76
_NAME_BYTES = 256


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: As the driver has it, for example NVIDIA L4.
        compute_capability: For example 8.9.
        uuid: By which NVML knows it, GPU-...; empty where the driver does not tell.
    """

    name: str
    compute_capability: str
    uuid: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.compute_capability})"


def visible_gpus(library: str = "libcuda.so.1") -> list[Gpu]:
    """Return the GPUs in CUDA's order; none without a driver.

    Args:
        library: The driver's.
    """
    try:
        driver = ctypes.CDLL(library)
        count = ctypes.c_int()
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return []
        return [_gpu(driver, index) for index in range(count.value)]
    except (OSError, AttributeError):  # No driver, or a file of that name that is none.
        return []


def driver_version(library: str = "libcuda.so.1") -> str | None:
    """Return the newest CUDA that the driver knows, such as 13.0; None without a driver."""
    try:
        driver = ctypes.CDLL(library)
        version = ctypes.c_int()
        if driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    driver.cuDeviceGetName(name, _NAME_BYTES, device)
    numbers = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        numbers.append(value.value)
    raw = (ctypes.c_ubyte * 16)()
    told = driver.cuDeviceGetUuid(ctypes.byref(raw), device) == 0
    return Gpu(
        name.value.decode(errors="replace"),
        f"{numbers[0]}.{numbers[1]}",
        f"GPU-{UUID(bytes=bytes(raw))}" if told else "",
    )
