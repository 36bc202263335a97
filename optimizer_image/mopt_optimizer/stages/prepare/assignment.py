"""Which prepared file each variant runs, and which variants have none. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Protocol

from mopt_api.auto.unsupported import Unsupported, unsupported_on_kind
from mopt_api.enums import ModelFormat, Runtime, TargetKind
from mopt_api.figures import VariantReason, VariantState
from mopt_api.jobs.aim import GateAim
from mopt_api.jobs.prepare_result import KindArtifacts, SkippedVariant
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.forms.form import FP32, SOURCE, Form, form_of

_FAILED = (VariantState.FAILED, VariantReason.BUILD_FAILED)


def _nothing_missing(_form: Form) -> Unsupported | None:
    return None


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
    aims: Mapping[str, Sequence[GateAim]] = MappingProxyType({}),
    kinds: Sequence[TargetKind] = (TargetKind.CPU,),
    missing: Callable[[Form], Unsupported | None] = _nothing_missing,
) -> dict[TargetKind, KindArtifacts]:
    """Return for each kind of target the artifact that each variant runs, and the variants that
    cannot be built for it.

    Args:
        calibrated: Whether there was calibration data.
        gates, aims: The plan's.
        kinds: Of the targets.
        missing: Returns which library a form could not be made without.
    """
    results = {form.name: form for form in made}
    found = {kind: KindArtifacts() for kind in kinds}
    for kind, variant in product(kinds, variants):
        artifact = _artifact_of(
            variant,
            model_format,
            results,
            kind,
            calibrated=calibrated,
            gates=gates,
            aims=aims.get(variant.name, ()),
            missing=missing,
        )
        if isinstance(artifact, SkippedVariant):
            found[kind].skipped.append(artifact)
        else:
            found[kind].artifacts[variant.name] = artifact
    return found


def unfit(variant: Variant, model_format: ModelFormat) -> str | None:
    """Return why a variant cannot be made from a model of a format; None where it can."""
    if variant.runtime is not Runtime.PYTORCH:
        return None
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
    kind: TargetKind,
    *,
    calibrated: bool,
    gates: Sequence[QualityGate],
    aims: Sequence[GateAim],
    missing: Callable[[Form], Unsupported | None],
) -> str | SkippedVariant:
    if (lack := unsupported_on_kind(variant, kind)) is not None:
        return _not_built(variant, (VariantState.SKIPPED, lack.reason), lack.message)
    if (message := unfit(variant, model_format)) is not None:
        return _not_built(variant, _FAILED, message)
    form = form_of(variant, kind)
    if form is None:
        return SOURCE if variant.runtime is Runtime.PYTORCH else FP32
    if form.needs_samples and not calibrated:
        unfed = (VariantState.SKIPPED, VariantReason.NO_CALIBRATION_DATA)
        return _not_built(variant, unfed, f"static {variant.precision} needs data.calibration")
    if (unsupported := missing(form)) is not None:
        return _not_built(variant, (VariantState.SKIPPED, unsupported.reason), unsupported.message)
    if (second := results[form.aimed(aims).name(gates)]).error is None:
        return second.name
    result = results[form.name(gates)]
    if result.error is not None:
        return _not_built(variant, _FAILED, result.error)
    return result.name


def _not_built(
    variant: Variant, how: tuple[VariantState, VariantReason], message: str
) -> SkippedVariant:
    state, reason = how
    return SkippedVariant(name=variant.name, state=state, reason=reason, message=message)
