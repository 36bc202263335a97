"""What to serve is never known to miss a gate or a constraint. Pure.

Known is what status shows: a metric that was never computed, or over another range or against
another reference, says nothing, and what is served stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from mopt_api.constraints import misses, shown_figures
from mopt_api.figures import QualityReference, VariantState
from mopt_api.jobs.gates import gate_failure, judged_result
from mopt_api.spec import ModelOptimizationSpec, QualityGate
from mopt_api.status import (
    ModelOptimizationStatus,
    SelectedArtifact,
    SelectionRecord,
    TargetStatus,
    VariantStatus,
)
from mopt_operator.objects import Resource

from .rejudge import rejudged
from .work import judging_key


def held_all(status: ModelOptimizationStatus, resource: Resource) -> list[TargetStatus]:
    """Return the targets of a status that no run is to change, none of which names what misses a
    gate; also where the administrator's settings refuse the spec otherwise."""
    try:
        spec = ModelOptimizationSpec.model_validate(resource.spec)
    except ValidationError:
        return status.targets
    return [held(target, None, spec) for target in status.targets]


def held(
    target: TargetStatus, before: TargetStatus | None, spec: ModelOptimizationSpec
) -> TargetStatus:
    """Return a target, about to be shown, that names nothing to serve that misses a gate.

    Where an earlier run's winner misses one, the best of its forms that holds all gates is
    selected instead, if its figures tell of one. What is served stays as it was otherwise.

    Args:
        target: With what is served in its artifact.
        before: As status shows it, whose figures count where the new ones do not tell.
    """
    # By the figures as they were judged: judged anew, a metric that was not computed fails.
    withdrawn = target.artifact is not None and _misses(target.artifact, target, before, spec)
    chosen = target.winner
    if chosen is not None and _failure(chosen, target, spec):
        by_present = rejudged(target, spec, judging_key(spec))
        target = by_present or target.model_copy(update={"selected": None, "verdict": None})
    return target.model_copy(update={"artifact": None}) if withdrawn else target


def is_proved(target: TargetStatus) -> bool:
    """Tell whether what a settled target names to serve is what its own result selected, or
    nothing."""
    if target.artifact is None:
        return True
    chosen = target.winner
    return (
        not target.from_earlier_run
        and chosen is not None
        and _is_form(chosen, target.artifact.variant, target.artifact.digest)
    )


def _misses(
    artifact: SelectedArtifact,
    target: TargetStatus,
    before: TargetStatus | None,
    spec: ModelOptimizationSpec,
) -> bool:
    for known in filter(None, (target, before)):
        if (form := form_of(known, artifact.variant, artifact.digest)) is not None:
            return _failure(form, known, spec) is not None
    return False


def form_of(target: TargetStatus, variant: str, digest: str | None) -> VariantStatus | None:
    """Return the form of a target that a file is of."""
    return next((form for form in target.everyone if _is_form(form, variant, digest)), None)


def _is_form(form: VariantStatus, variant: str, digest: str | None) -> bool:
    return form.name == variant and form.artifact is not None and form.artifact.digest == digest


def _failure(form: VariantStatus, target: TargetStatus, spec: ModelOptimizationSpec) -> str | None:
    """Return why a form may not be served, as far as its target's figures tell."""
    measurement = target.measurement
    if measurement is not None and measurement.judged == judging_key(spec):
        # By the present gates, and by more digits than status has.
        if form.state in (VariantState.PASSED, VariantState.BUILT):
            return None
        if form.state == VariantState.REJECTED:
            return form.message or form.state
    failures = [
        failure
        for gate in spec.quality
        if _is_known(gate, form, target, spec) and (failure := gate_failure(gate, form.quality))
    ]
    missed = misses(
        shown_figures(form),
        spec.objective.constraints,
        under_load=spec.benchmark.load is not None,
    )
    failures += [str(miss) for miss in missed if miss.value is not None]
    return "; ".join(failures) or None


def _is_known(
    gate: QualityGate, form: VariantStatus, target: TargetStatus, spec: ModelOptimizationSpec
) -> bool:
    """Tell whether a form's figures say anything of a gate."""
    if judged_result(gate, form.quality) is None:
        return False
    evaluation = spec.data.evaluation
    proved = evaluation is not None and evaluation.references is not None
    reference = QualityReference.GROUND_TRUTH if proved else QualityReference.BASELINE
    ranges = target.measurement.data_ranges if target.measurement else {}
    same_range = ranges.get(gate.figure, gate.data_range) == gate.data_range
    return same_range and target.reference in (None, reference)


def replaced(target: TargetStatus, history: Sequence[SelectionRecord]) -> str | None:
    """Return which form a target served before that misses a gate, and how; None for none.

    Args:
        history: Of status, with the target's present selection.
    """
    served = target.artifact.digest if target.artifact else None
    records = (r for r in history if r.target == target.name and r.artifact != served)
    last = next(records, None)
    form = form_of(target, last.selected, last.artifact) if last else None
    if form is None or form.state != VariantState.REJECTED:
        return None
    return f"{form.name}: {(form.message or form.state).rstrip('.')}"
