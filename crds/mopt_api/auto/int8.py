"""Which integers a CPU multiplies in 8 bits without saturating. Pure.

Without VNNI x86 multiplies unsigned activations by signed weights and adds pairs of products in 16
bits (PMADDUBSW): what does not fit is cut off, and outputs are wrong without a word. VNNI and AMX
add up in 32 bits, and so does ARM. Whether weights have a scale per channel or per tensor does not
matter: sums are of integers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

WIDE_SUMS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""x86 instructions that multiply 8-bit numbers and add up in 32 bits."""
_X86 = frozenset({"x86_64", "amd64", "i386", "i686"})
_LARGEST_SUM = 2**15 - 1


class CpuClass(StrEnum):
    """How a CPU multiplies 8-bit integers."""

    WIDE_X86 = "X86WideSums"
    NARROW_X86 = "X86NarrowSums"
    OTHER = "Other"
    """ARM, and whatever else adds up in 32 bits."""


@dataclass(frozen=True)
class Int8Scheme:
    """Integers of activations and weights.

    Attributes:
        signed: Activations are symmetric around 0; x86 adds 128 to them, and has U8S8 again.
        activation_bits, weight_bits: 8, or 7 where half of the range is left out.
    """

    signed: bool = False
    activation_bits: int = 8
    weight_bits: int = 8

    @property
    def largest_pair(self) -> int:
        """The largest magnitude of two products added up, as x86 multiplies them."""
        return 2 * ((1 << self.activation_bits) - 1) * (1 << (self.weight_bits - 1))


U8S8 = Int8Scheme()
U8S7 = Int8Scheme(weight_bits=7)
"""ONNX Runtime's reduce_range, and NNCF's overflow fix."""
U7S8 = Int8Scheme(activation_bits=7)
"""What torchao leaves of activations."""
S8S8 = Int8Scheme(signed=True)


def is_x86(architecture: str) -> bool:
    """Return whether that is x86, of what platform.machine() returns."""
    return architecture.lower() in _X86


def cpu_class(architecture: str, features: Collection[str]) -> CpuClass:
    """Return the class of a CPU.

    Args:
        architecture: As platform.machine() returns it.
        features: As Hardware has them. Without any an x86 CPU is one of narrow sums.
    """
    if not is_x86(architecture) or "asimd" in features:
        return CpuClass.OTHER
    return CpuClass.NARROW_X86 if WIDE_SUMS.isdisjoint(features) else CpuClass.WIDE_X86


def is_sound(scheme: Int8Scheme, cpu: CpuClass) -> bool:
    """Return whether a CPU computes what a scheme says, whatever the values are."""
    return cpu is not CpuClass.NARROW_X86 or scheme.largest_pair <= _LARGEST_SUM


def static_scheme(cpu: CpuClass) -> Int8Scheme:
    """Return the scheme of Q/DQ files that a CPU computes soundly, fast and with most bits."""
    if cpu is CpuClass.OTHER:
        return S8S8
    return next(scheme for scheme in (U8S8, U8S7) if is_sound(scheme, cpu))
