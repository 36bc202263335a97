"""Names of forms, and what they need. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from mopt_api.enums import QuantizationMode
from mopt_api.jobs.plan import fallback_gates
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization


def needs_samples(quantization: Quantization) -> bool:
    """Return whether these options need calibration data."""
    return quantization.mode is QuantizationMode.STATIC


def artifact_name(quantization: Quantization, gates: Sequence[QualityGate] = ()) -> str:
    """Return what names the prepared artifact of these options, such as int8-minmax-perchannel.

    Options that make the same file have the same name, others another.

    Args:
        gates: The plan's, the same for all options.
    """
    kind = "dynamic" if not needs_samples(quantization) else quantization.calibrator.lower()
    parts = ["int8", kind, "perchannel" if quantization.per_channel else "pertensor"]
    if fallback_gates(quantization, list(gates)):
        parts.append("gated")
    return "-".join([*parts, *excluded_part(quantization)])


def excluded_part(quantization: Quantization) -> list[str]:
    """Return what an artifact's name says of exclusions: nothing, or a digest of them."""
    if not quantization.exclude:
        return []
    names = json.dumps(sorted(set(quantization.exclude)))
    return [hashlib.sha256(names.encode()).hexdigest()[:12]]
