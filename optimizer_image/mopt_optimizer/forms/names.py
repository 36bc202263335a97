"""Names of reduced-precision artifacts: the same for the same file. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

from mopt_api.enums import QuantizationMode
from mopt_api.jobs.aim import GateAim
from mopt_api.jobs.plan import fallback_gates
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization

Naming = Callable[[Quantization, Sequence[QualityGate], bool], str]
"""Maps the options, the plan's gates and Form.best to a name."""


def needs_samples(quantization: Quantization) -> bool:
    """Return whether these options need calibration data."""
    return quantization.mode is QuantizationMode.STATIC


def artifact_name(quantization: Quantization, gates: Sequence[QualityGate] = ()) -> str:
    """Return the name of these options' artifact, such as int8-minmax-perchannel.

    Options have the same name if and only if they make the same file.

    Args:
        gates: The plan's, the same for all options.
    """
    kind = "dynamic" if not needs_samples(quantization) else quantization.calibrator.lower()
    return _joined(quantization, "int8", kind, _scales(quantization), *_gated(quantization, gates))


def aimed(name: str, aims: Sequence[GateAim]) -> str:
    """Return the name of a form of a second search; see Form.aims."""
    text = json.dumps([aim.to_api() for aim in aims], sort_keys=True)
    return f"{name}-aimed-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def fixed(*parts: str) -> Naming:
    """Return the naming of a form without options."""
    return lambda quantization, gates, best: "-".join(parts)  # noqa: ARG005


def nncf(quantization: Quantization, gates: Sequence[QualityGate], best: bool) -> str:  # noqa: ARG001
    """Return the name of NNCF's INT8, which chooses ranges and scales itself."""
    return _joined(quantization, "int8", "nncf", *_gated(quantization, gates))


def per_scales(*parts: str) -> Naming:
    """Return the naming of a form that depends on exclusions and per_channel."""
    return lambda quantization, gates, best: _joined(  # noqa: ARG005
        quantization, *parts, _scales(quantization)
    )


def qdq(quantization: Quantization, gates: Sequence[QualityGate], best: bool) -> str:  # noqa: ARG001
    """Return the name of mopt's own Q/DQ INT8."""
    return artifact_name(quantization, gates)


def weight_only(quantization: Quantization, gates: Sequence[QualityGate], best: bool) -> str:  # noqa: ARG001
    """Return the name of a form whose weights alone are integers."""
    return _joined(quantization, "weights", f"int{quantization.weight_bits or 8}")


def torch_int8(quantization: Quantization, gates: Sequence[QualityGate], best: bool) -> str:  # noqa: ARG001
    """Return the name of PyTorch's INT8, whose ranges are static or dynamic."""
    return _joined(quantization, "torch", "int8", quantization.mode.lower(), _scales(quantization))


def tensorrt_int8(quantization: Quantization, gates: Sequence[QualityGate], best: bool) -> str:
    """Return the name of TensorRT's INT8."""
    parts = (_calibrator(quantization, best=best), _scales(quantization))
    return _joined(quantization, "tensorrt", "int8", *parts, *_gated(quantization, gates))


def tensorrt_fp8(quantization: Quantization, gates: Sequence[QualityGate], best: bool) -> str:
    """Return the name of TensorRT's FP8, whose weights always have one scale per tensor."""
    calibrator = _calibrator(quantization, best=best)
    return _joined(quantization, "tensorrt", "fp8", calibrator, *_gated(quantization, gates))


def _calibrator(quantization: Quantization, *, best: bool) -> str:
    return "best" if best else quantization.calibrator.lower()


def _scales(quantization: Quantization) -> str:
    return "perchannel" if quantization.per_channel else "pertensor"


def _gated(quantization: Quantization, gates: Sequence[QualityGate]) -> list[str]:
    if not fallback_gates(quantization, list(gates)):
        return []
    # A longer search may find another file.
    seconds = quantization.search_budget_seconds
    return ["gated"] if seconds is None else ["gated", f"{seconds}s"]


def _joined(quantization: Quantization, *parts: str) -> str:
    """Return the parts as one name; exclusions, if any, add a digest."""
    if not quantization.exclude:
        return "-".join(parts)
    excluded = json.dumps(sorted(set(quantization.exclude)))
    return "-".join([*parts, hashlib.sha256(excluded.encode()).hexdigest()[:12]])
