"""Which prepared file each variant runs, and which variants have none. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from mopt_api.auto.unsupported import Unsupported, unsupported_on_kind
from mopt_api.enums import ModelFormat, Runtime, TargetKind
from mopt_api.figures import VariantReason, VariantState
from mopt_api.jobs.aim import GateAim
from mopt_api.jobs.prepare_result import KindArtifacts, SkippedVariant
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.forms.form import FP32, SOURCE, Form, form_of

_FAILED = (VariantState.FAILED, VariantReason.BUILD_FAILED)
_SATURATES = (VariantState.SKIPPED, VariantReason.SATURATES)
_NOT_FOR_NARROW_SUMS = (
    "this CPU adds products of 8-bit integers in 16 bits and would saturate; no form in 7 bits was "
    "made, since the prepare Job knew of no such CPU"
)


def _nothing_missing(_form: Form) -> Unsupported | None:
    return None


class Assigned(NamedTuple):
    """What the variants run.

    Attributes:
        narrow_sums: On CPUs that add products in 16 bits; None without targets of kind CPU.
    """

    by_kind: dict[TargetKind, KindArtifacts]
    narrow_sums: KindArtifacts | None


class _Computing(NamedTuple):
    """What a target computes with."""

    kind: TargetKind
    narrow_sums: bool


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
) -> Assigned:
    """Return for each kind of target the artifact that each variant runs, and the variants that
    cannot be built for it.

    Args:
        calibrated: Whether there was calibration data.
        gates, aims: The plan's.
        kinds: Of the targets.
        missing: Returns which library a form could not be made without.
    """
    results = {form.name: form for form in made}

    def found(kind: TargetKind, *, narrow_sums: bool = False) -> KindArtifacts:
        assigned = KindArtifacts()
        for variant in variants:
            artifact = _artifact_of(
                variant,
                model_format,
                results,
                _Computing(kind, narrow_sums),
                calibrated=calibrated,
                gates=gates,
                aims=aims.get(variant.name, ()),
                missing=missing,
            )
            if isinstance(artifact, SkippedVariant):
                assigned.skipped.append(artifact)
            else:
                assigned.artifacts[variant.name] = artifact
        return assigned

    narrow = found(TargetKind.CPU, narrow_sums=True) if TargetKind.CPU in kinds else None
    return Assigned({kind: found(kind) for kind in kinds}, narrow)


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
    on: _Computing,
    *,
    calibrated: bool,
    gates: Sequence[QualityGate],
    aims: Sequence[GateAim],
    missing: Callable[[Form], Unsupported | None],
) -> str | SkippedVariant:
    if (lack := unsupported_on_kind(variant, on.kind)) is not None:
        return _not_built(variant, (VariantState.SKIPPED, lack.reason), lack.message)
    if (message := unfit(variant, model_format)) is not None:
        return _not_built(variant, _FAILED, message)
    form = form_of(variant, on.kind, narrow_sums=on.narrow_sums)
    if form is None:
        return SOURCE if variant.runtime is Runtime.PYTORCH else FP32
    if form.needs_samples and not calibrated:
        unfed = (VariantState.SKIPPED, VariantReason.NO_CALIBRATION_DATA)
        return _not_built(variant, unfed, f"static {variant.precision} needs data.calibration")
    if (unsupported := missing(form)) is not None:
        return _not_built(variant, (VariantState.SKIPPED, unsupported.reason), unsupported.message)
    if form.name(gates) not in results:
        if form.narrow_sums:
            return _not_built(variant, _SATURATES, _NOT_FOR_NARROW_SUMS)
        # Only CPUs that add in 16 bits were known of: what is for these is sound on all others.
        form = form.for_narrow_sums()
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
