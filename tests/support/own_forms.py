"""INT8 forms for the CPU that a test runs on: those of another class would saturate here."""

from __future__ import annotations

from mopt_api.auto.int8 import CpuClass
from mopt_optimizer.machine.system import own_cpu_class

OWN_CLASS = own_cpu_class()
IS_NARROW = OWN_CLASS is CpuClass.NARROW_X86
"""Whether it adds products in 16 bits."""


def own(name: str) -> str:
    """Return the name that a form has for this CPU."""
    return f"{name}-narrow" if IS_NARROW else name
