"""What targets have besides CPUs: one module for each kind of accelerator, loaded when asked."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

from mopt_api.enums import TargetKind
from mopt_api.figures import Gpu

ACCELERATORS: dict[TargetKind, str] = {TargetKind.GPU: "mopt_optimizer.machine.nvidia"}
"""The module of each kind of target that has an accelerator, an Accelerator."""


class Accelerator(Protocol):
    """A module that asks an accelerator's driver; it loads no framework."""

    def find_gpu(self) -> Gpu | None:
        """Return the first device of this process; None without one or without a driver."""
        ...

    def required_gpu(self, target: str, environ: Mapping[str, str]) -> Gpu:
        """Return the device of a target that has to have one.

        Raises:
            GpuNotFound: Says what was asked for, what is there, and what to look at.
        """
        ...

    def used_memory(self) -> int | None:
        """Return the bytes in use on the device, by all processes; None where it is unknown."""
        ...

    def serious_throttling(self) -> tuple[str, ...]:
        """Return what slows the device down now, beyond how it is sold; empty where nothing."""
        ...


def accelerator_of(kind: TargetKind) -> Accelerator | None:
    """Return how the accelerator of a kind of target is asked; None for a kind without."""
    module = ACCELERATORS.get(kind)
    return None if module is None else cast(Accelerator, import_module(module))


def used_memory() -> int | None:
    """Return the bytes in use on the accelerator that this process sees; None where none tells."""
    readings = (found.used_memory() for kind in ACCELERATORS if (found := accelerator_of(kind)))
    return next((used for used in readings if used is not None), None)
