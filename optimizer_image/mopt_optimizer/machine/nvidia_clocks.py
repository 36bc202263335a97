"""The GPU's clocks, power and throttling, from NVML."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .nvidia_gpus import visible_gpus

# Bits of nvmlClocksEventReasons that slow a GPU down; being idle and locked clocks do not count.
_THROTTLING = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}


@dataclass(frozen=True)
class ClockSample:
    """A moment of a GPU.

    Attributes:
        sm_mhz, memory_mhz: Clocks.
        power_watts: None where the GPU does not tell.
        temperature_celsius: Of the GPU.
        throttling: What slows it down; empty where nothing does.
    """

    sm_mhz: int
    memory_mhz: int
    power_watts: float | None
    temperature_celsius: int
    throttling: tuple[str, ...]


def throttling_reasons(bits: int) -> tuple[str, ...]:
    """Return the names of the reasons that slow a GPU down. Pure.

    Args:
        bits: As nvmlDeviceGetCurrentClocksEventReasons.
    """
    return tuple(name for bit, name in _THROTTLING.items() if bits & bit)


def nvidia_driver() -> str | None:
    """Return the driver's version, such as 580.65.06; None where NVML does not tell."""
    with nvml_binding() as nvml:
        return str(nvml.nvmlSystemGetDriverVersion()) if nvml else None


def gpu_clocks() -> ClockSample | None:
    """Return the state of CUDA's first GPU now; None where NVML or its binding does not tell."""
    gpus = visible_gpus()
    if not gpus:
        return None
    with nvml_binding() as nvml:
        if not nvml:
            return None
        try:
            # By name: NVML counts all GPUs of the machine, CUDA those that this process may use.
            return _sample(nvml.nvmlDeviceGetHandleByUUID(gpus[0].uuid))
        except nvml.NVMLError:
            return None


@contextmanager
def nvml_binding() -> Iterator[Any]:
    """Give NVML's binding, initialized; None where it or the driver is missing."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _sample(handle: object) -> ClockSample:
    import pynvml

    try:
        power = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
    except pynvml.NVMLError:  # MIG slices and laptops do not tell.
        power = None
    return ClockSample(
        sm_mhz=pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
        memory_mhz=pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM),
        power_watts=power,
        temperature_celsius=pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
        throttling=throttling_reasons(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)),
    )
