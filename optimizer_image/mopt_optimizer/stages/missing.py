"""Which libraries are not installed, and what cannot be made or run without them.

Only what a variant cannot do without counts, and only whether it is there: nothing is imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection
from pathlib import Path

from mopt_api.auto.unsupported import Unsupported
from mopt_api.enums import ExecutionProvider, Runtime, TargetKind
from mopt_api.figures import VariantReason
from mopt_api.runtimes import RUNTIMES, runtime_distributions
from mopt_api.variants import Variant
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.registry import MAKERS

CUDA_PROVIDER, TENSORRT_PROVIDER = "onnxruntime-gpu", "onnxruntime-gpu with TensorRT"
"""Stand for ONNX Runtime's libraries of these providers, which its build for CPUs lacks."""

_PROVIDERS = {
    CUDA_PROVIDER: "libonnxruntime_providers_cuda.so",
    TENSORRT_PROVIDER: "libonnxruntime_providers_tensorrt.so",
}


def _location(module: str) -> Path | None:
    """Return the file of a module that is installed; imports nothing."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # Half there.
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def installed_libraries(location: Callable[[str], Path | None] = _location) -> frozenset[str]:
    """Return the installed libraries, of those that not every variant needs.

    Args:
        location: Where a module lies; None where it is not installed.
    """
    modules = (
        *runtime_distributions(),
        *(name for maker in MAKERS.values() for name in maker.modules),
    )
    found = {module: place for module in modules if (place := location(module)) is not None}
    runtime = found.get("onnxruntime")
    providers = {
        name
        for name, library in _PROVIDERS.items()
        if runtime is not None and (runtime.parent / "capi" / library).is_file()
    }
    return frozenset(found) | providers


def missing_runtime(
    variant: Variant, kind: TargetKind, installed: Collection[str]
) -> Unsupported | None:
    """Return why a variant's runtime is missing here; None where it is installed. Pure.

    Args:
        kind: Of the target. One that only builds says itself that it has no TensorRT.
        installed: As installed_libraries.
    """
    if kind is TargetKind.BUILD_ONLY:
        return None
    wanted = tuple(RUNTIMES[variant.runtime].libraries)
    if variant.runtime is Runtime.ONNX_RUNTIME and kind is TargetKind.GPU:
        by_tensorrt = variant.execution_provider is ExecutionProvider.TENSORRT
        wanted = (TENSORRT_PROVIDER if by_tensorrt else CUDA_PROVIDER,)
    if any(name in installed for name in wanted):
        return None
    return _not_installed(f"{variant.runtime} cannot run here", " or ".join(wanted))


def missing_maker(form: Form, installed: Collection[str]) -> Unsupported | None:
    """Return what a form cannot be made without; None where all of it is there. Pure."""
    missing = [name for name in MAKERS[form.kind].modules if name not in installed]
    return _not_installed("it cannot be made here", " and ".join(missing)) if missing else None


def _not_installed(what: str, names: str) -> Unsupported:
    return Unsupported(VariantReason.BUILD_FAILED, f"{what}: {names} is not installed")
