"""Which integer kernels fit this machine."""

from __future__ import annotations

from collections.abc import Sequence

from mopt_api.auto.int8 import U7S8, U8S8, CpuClass, Int8Scheme, is_sound, is_x86
from mopt_optimizer.errors import BackendError

from .config import Backend

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
    preferred = _PREFERRED_X86 if is_x86(architecture) else _PREFERRED_OTHER
    for backend in preferred:
        if backend in available:
            return backend
    raise BackendError(
        f"no backend for {architecture}: PyTorch was built with {listed}, needed is one of "
        f"{', '.join(preferred)}. Install a PyTorch built for this machine, or use FP16 or BF16"
    )


def scheme_of(backend: Backend, cpu: CpuClass) -> Int8Scheme:
    """Return the integers that a backend's kernels compute soundly on a CPU, with most bits.

    FBGEMM's add pairs of products in 16 bits on any; QNNPACK's on none.
    """
    kernels = {Backend.FBGEMM: CpuClass.NARROW_X86, Backend.QNNPACK: CpuClass.OTHER}
    return U8S8 if is_sound(U8S8, kernels.get(backend, cpu)) else U7S8
