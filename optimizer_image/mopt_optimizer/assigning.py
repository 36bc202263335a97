"""Which prepared file each variant runs, and which variants have none. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from mopt_api.enums import ModelFormat, Precision, Runtime
from mopt_api.result import SkippedVariant, VariantReason, VariantState
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant

from .forms import FP32, SOURCE, form_of

_FAILED = (VariantState.FAILED, VariantReason.BUILD_FAILED)


class MadeForm(Protocol):
    """A form, or why it could not be made."""

    @property
    def name(self) -> str: ...

    @property
    def error(self) -> str | None: ...


def assign(
    variants: Sequence[Variant],
    model_format: ModelFormat,
    made: Sequence[MadeForm],
    *,
    calibrated: bool,
    gates: Sequence[QualityGate] = (),
) -> tuple[dict[str, str], list[SkippedVariant]]:
    """Return the artifact that each variant runs, and the variants that cannot be built.

    Args:
        calibrated: Whether there was calibration data.
        gates: The plan's.
    """
    results = {form.name: form for form in made}
    mapping: dict[str, str] = {}
    skipped: list[SkippedVariant] = []
    for variant in variants:
        found = _artifact_of(variant, model_format, results, calibrated=calibrated, gates=gates)
        if isinstance(found, SkippedVariant):
            skipped.append(found)
        else:
            mapping[variant.name] = found
    return mapping, skipped


def unfit(variant: Variant, model_format: ModelFormat) -> str | None:
    """Return why a variant cannot be made from a model of a format; None where it can."""
    if variant.runtime is not Runtime.PYTORCH:
        return None
    if variant.precision is Precision.FP8:
        return "PyTorch's FP8 is not made yet; TensorRT's is"
    if model_format is ModelFormat.ONNX:
        return "PyTorch needs an ExportedProgram or TorchScript; the model is ONNX"
    if model_format is ModelFormat.TORCH_SCRIPT and (variant.compiled or form_of(variant)):
        what = variant.precision if form_of(variant) else "compiling"
        return (
            f"PyTorch {what} needs an ExportedProgram: TorchScript cannot be captured as a graph; "
            "export the model with torch.export.save"
        )
    return None


def _artifact_of(
    variant: Variant,
    model_format: ModelFormat,
    results: Mapping[str, MadeForm],
    *,
    calibrated: bool,
    gates: Sequence[QualityGate],
) -> str | SkippedVariant:
    if (message := unfit(variant, model_format)) is not None:
        return _not_built(variant, _FAILED, message)
    form = form_of(variant)
    if form is None:
        return SOURCE if variant.runtime is Runtime.PYTORCH else FP32
    if form.needs_samples and not calibrated:
        missing = (VariantState.SKIPPED, VariantReason.NO_CALIBRATION_DATA)
        return _not_built(variant, missing, f"static {variant.precision} needs data.calibration")
    result = results[form.name(gates)]
    if result.error is not None:
        return _not_built(variant, _FAILED, result.error)
    return result.name


def _not_built(
    variant: Variant, how: tuple[VariantState, VariantReason], message: str
) -> SkippedVariant:
    state, reason = how
    return SkippedVariant(name=variant.name, state=state, reason=reason, message=message)
