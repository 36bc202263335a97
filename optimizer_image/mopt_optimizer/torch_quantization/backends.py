"""Which integer kernels fit this machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mopt_optimizer.errors import BackendError
from mopt_optimizer.machine.system import WIDE_SUMS

from .config import Backend

_X86 = ("x86_64", "amd64", "i386", "i686")
_PREFERRED_X86 = (Backend.X86, Backend.ONEDNN, Backend.FBGEMM)
_PREFERRED_OTHER = (Backend.QNNPACK, Backend.ONEDNN)


def available_backends() -> list[Backend]:
    """Return the backends that PyTorch was built with."""
    import torch

    supported = torch.backends.quantized.supported_engines
    return [backend for backend in Backend if backend.value in supported]


def choose_backend(
    requested: Backend, *, available: Sequence[Backend], architecture: str
) -> Backend:
    """Return the backend to quantize for.

    Args:
        architecture: As platform.machine() tells it.

    Raises:
        BackendError: The one requested, or for AUTO any, is not available.
    """
    listed = ", ".join(available) or "none"
    if requested is not Backend.AUTO:
        if requested not in available:
            raise BackendError(
                f"PyTorch was built without the backend {requested}; available here: {listed}. "
                "Choose one of these, or auto"
            )
        return requested
    preferred = _PREFERRED_X86 if architecture.lower() in _X86 else _PREFERRED_OTHER
    for backend in preferred:
        if backend in available:
            return backend
    raise BackendError(
        f"no backend for {architecture}: PyTorch was built with {listed}, needed is one of "
        f"{', '.join(preferred)}. Install a PyTorch built for this machine, or use FP16 or BF16"
    )


def needs_reduced_range(backend: Backend, cpu_features: Collection[str]) -> bool:
    """Return whether activations must stay within 7 bits.

    FBGEMM's kernels add pairs of products in 16 bits; so do the others where the CPU has no VNNI.
    """
    if backend is Backend.FBGEMM:
        return True
    if backend is Backend.QNNPACK:
        return False
    return WIDE_SUMS.isdisjoint(cpu_features)
