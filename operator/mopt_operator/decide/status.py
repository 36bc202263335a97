"""Turns the summaries that Jobs return into what status shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mopt_api.artifacts import Artifact, ArtifactFormat, blob_key
from mopt_api.constraints import missed_by, nearest
from mopt_api.enums import Aggregate
from mopt_api.figures import (
    AIMED_IN_WORDS,
    QualityReference,
    QualityResult,
    SourceInfo,
    VariantReason,
    VariantState,
    converted,
)
from mopt_api.jobs.gates import gate_failure, judged_result
from mopt_api.jobs.measure_result import BASELINE
from mopt_api.jobs.termination import MeasureSummary, VariantSummary
from mopt_api.metrics import metric_in_words
from mopt_api.objective_words import Words, words_of
from mopt_api.runtimes import baseline_title
from mopt_api.spec import ModelOptimizationSpec, QualityGate
from mopt_api.status import Measurement, Report, Summary, TargetStatus, VariantStatus
from mopt_api.verdict import doubt_in_words

_UNITS = ("B", "kB", "MB", "GB", "TB")


def blob_uri(output_uri: str, digest: str) -> str:
    """Return the address of a blob in the output store."""
    return f"{output_uri.rstrip('/')}/{blob_key(digest)}"


def size_text(size: int) -> str:
    """Return a number of bytes for people, in decimal units."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return (
        f"{value:.0f} {_UNITS[unit]}"
        if unit == 0 or value >= 99.95
        else (f"{value:.1f} {_UNITS[unit]}")
    )


def quality_text(quality: Sequence[QualityResult], gates: Sequence[QualityGate]) -> str | None:
    """Return the first gate's metric for people; without gates, the first metric measured."""
    if not quality:
        return None
    gate = gates[0] if gates else None
    shown = (judged_result(gate, quality) if gate else None) or quality[0]
    value = None if gate is None else shown.value(gate.aggregate)
    if value is None:
        value = shown.worst
    return f"{shown.metric} {metric_in_words(shown.metric, value, exact=shown.exact)}"


def _variant(
    variant: VariantSummary, artifact: Artifact | None, baseline_size: int | None
) -> VariantStatus:
    size = variant.size_bytes if artifact is None else artifact.size_bytes
    reduction = None
    if size is not None and baseline_size:
        reduction = round(100 * (1 - size / baseline_size), 1)
    return converted(
        variant,
        VariantStatus,
        size_bytes=size,
        size_reduction_percent=reduction,
        artifact=artifact,
    )


def _artifact(variant: VariantSummary, output_uri: str) -> Artifact | None:
    digest, size, kind = variant.artifact_digest, variant.size_bytes, variant.artifact_format
    if digest is None or size is None or kind is None:
        return None
    return Artifact(
        digest=digest,
        size_bytes=size,
        format=ArtifactFormat(kind),
        uri=blob_uri(output_uri, digest),
        external_data=variant.external_data,
    )


def target_status(
    summary: MeasureSummary,
    spec: ModelOptimizationSpec,
    *,
    output_uri: str,
    source: SourceInfo | None,
    optimizer: str | None = None,
    measurement: Measurement | None = None,
    compute_capabilities: Sequence[str] = (),
    served: bool = False,
) -> TargetStatus:
    """Return the verdict on a target.

    Args:
        compute_capabilities: GPUs that engines were built for.
        optimizer: Image that measured.
        served: A report on figures that an earlier Job had measured.
        measurement: What was measured.
        output_uri: The store that the artifacts' digests are in.
        source: The model file; None where its prepare Job is gone.
    """
    size = source.size_bytes if source else None
    if size is None and summary.baseline is not None:
        size = summary.baseline.size_bytes
    unchanged = None
    if size is not None:
        # The baseline is the source file itself: nothing is copied.
        unchanged = Artifact(
            digest=f"sha256:{spec.model.sha256}",
            size_bytes=size,
            format=ArtifactFormat(spec.model.format.value),
            uri=spec.model.uri,
        )
    return TargetStatus(
        name=summary.target,
        hardware=summary.hardware,
        compute_capabilities=list(compute_capabilities),
        software=summary.software,
        point=summary.point,
        reference=summary.reference,
        baseline=summary.baseline and _variant(summary.baseline, unchanged, size),
        variants=[_variant(v, _artifact(v, output_uri), size) for v in summary.variants],
        selected=summary.selected,
        verdict=summary.verdict,
        unstable=summary.unstable,
        warnings=summary.warnings,
        data=summary.data,
        served_from_store=summary.served_from_store or served or None,
        report=Report.under(output_uri, summary.result),
        optimizer=optimizer or None,
        measured_at=summary.measured_at,
        measurement=measurement,
    )


def judged_values(
    quality: Sequence[QualityResult], gates: Sequence[QualityGate]
) -> list[tuple[QualityResult, Aggregate, float]]:
    """Return each result's value of the aggregates that gates judge; the worst without a gate."""
    return [
        (result, aggregate, value)
        for result in quality
        for aggregate in _aggregates(result, gates)
        if (value := result.value(aggregate)) is not None
    ]


def _aggregates(result: QualityResult, gates: Sequence[QualityGate]) -> list[Aggregate]:
    judging = [g for g in gates if g.metric is result.metric and result.is_of(*g.part)]
    return sorted({gate.aggregate for gate in judging} or {Aggregate.WORST})


def summary_of(
    targets: Sequence[TargetStatus], finished: int, total: int, gates: Sequence[QualityGate]
) -> Summary:
    """Return the columns of `kubectl get`: the winner of the first target that is measured, and
    how many are finished."""
    done = f"{finished}/{total}"
    measured = [target for target in targets if target.baseline is not None]
    chosen = measured[0].winner if measured else None
    if chosen is None:
        return Summary(targets=done)
    return Summary(
        selected=chosen.name,
        speedup=_cut(_speedup_text(measured[0], chosen), 16),
        quality=_cut(quality_text(chosen.quality, gates), 32),
        size=None if chosen.size_bytes is None else size_text(chosen.size_bytes),
        targets=done,
    )


def _speedup_text(target: TargetStatus, chosen: VariantStatus) -> str | None:
    """Return the winner's speedup for a column; never one that is undecided as if it were not."""
    if chosen.speedup is None:
        return None
    undecided = target.verdict is not None and not target.verdict.certain
    return f"{chosen.speedup:.1f}x{' undecided' if undecided else ''}"


def _cut(text: str | None, length: int) -> str | None:
    """Return a text as long as its column: what a Job reports may be any number."""
    return text and text[:length]


def sentence(target: TargetStatus, spec: ModelOptimizationSpec) -> str:
    """Return a target's verdict by a spec's gates and objective in one sentence."""
    text = _verdict(target, spec, words_of(spec.objective.metric))
    if target.verdict is not None and (doubt := doubt_in_words(target.verdict)):
        text = f"{text.rstrip('.')}; {doubt}"
    if not target.unstable:
        return text
    return f"{text.rstrip('.')}; unstable: other processes used the CPU"


def misses_constraints(variant: VariantStatus) -> bool:
    """Tell whether a form is within the gates, and a constraint alone keeps it from winning."""
    rejected = (VariantState.REJECTED.value, VariantReason.CONSTRAINT.value)
    return (variant.state, variant.reason) == rejected


def _verdict(target: TargetStatus, spec: ModelOptimizationSpec, words: Words) -> str:
    chosen, baseline, gates = target.winner, target.baseline, spec.quality
    if baseline is None:
        return _built(target, gates)
    if chosen is None:
        return _none(target, baseline, spec)
    if chosen.name == BASELINE:
        within = "gates and constraints" if spec.objective.constraints else "gates"
        return f"{target.name}: within the {within} no variant beats the baseline; it is kept"
    over = baseline_title(baseline.runtime)
    parts = [f"{target.name}: {chosen.name}"]
    if chosen.speedup is not None:
        known = chosen.speedup_interval
        parts.append(words.better(chosen.speedup, over, digits=1, interval=known))
    if chosen.speedup_over_fastest_fp32 is not None:
        fastest = f"the {words.best} FP32"
        parts.append(words.better(chosen.speedup_over_fastest_fp32, fastest, digits=1))
    if quality := quality_text(chosen.quality, gates):
        parts.append(quality + _against(target, baseline, gates))
    text = ", ".join(parts)
    return f"{text}; {AIMED_IN_WORDS}" if chosen.aimed_by else text


def _none(target: TargetStatus, baseline: VariantStatus, spec: ModelOptimizationSpec) -> str:
    """Return why nothing is selected on a target that was measured."""
    near = _nearest(target, spec)
    if misses_constraints(baseline):
        passed = [v.name for v in target.variants if v.state == VariantState.PASSED]
        slow = f" Within them, but not better than it: {', '.join(passed)}." if passed else ""
        text = f"{target.name}: the baseline misses a constraint, and no variant wins.{slow}"
        return f"{text} {near}"
    if baseline.state == VariantState.REJECTED:
        text = _rejected_baseline(target.name, baseline, target.variants, spec.quality)
    else:
        text = f"{target.name}: no variant passed. {_outcomes(target.variants)}"
    return f"{text.rstrip('.')}. {near}" if near else text


def _nearest(target: TargetStatus, spec: ModelOptimizationSpec) -> str:
    """Return which form is nearest to the constraints and what it misses; empty where none is
    within the gates and misses one."""
    missed = missed_by(
        [form for form in target.everyone if misses_constraints(form)],
        spec.objective.constraints,
        under_load=spec.benchmark.load is not None,
    )
    name = nearest(missed)
    if name is None:
        return ""
    return f"Nearest to the constraints is {name}: {'; '.join(map(str, missed[name]))}."


def _outcomes(variants: Sequence[VariantStatus]) -> str:
    return "; ".join(
        f"{v.name}: {v.reason or v.state}{f' ({v.message})' if v.message else ''}" for v in variants
    )


def built_engines(target: TargetStatus) -> list[VariantStatus]:
    """Return the engines of a target that were built and miss no gate."""
    return [v for v in target.variants if v.state == VariantState.BUILT]


def _built(target: TargetStatus, gates: Sequence[QualityGate]) -> str:
    engines = built_engines(target)
    if not engines:
        return f"{target.name}: no engine was built. {_outcomes(target.variants)}"
    named = ", ".join(
        f"{v.name}{f' ({quality})' if (quality := quality_text(v.quality, gates)) else ''}"
        for v in engines
    )
    text = f"{target.name}: built {named} for {', '.join(target.compute_capabilities)}; not run"
    # Skipped variants are those that this target would not build anyway.
    lost = [v for v in target.variants if v.state in (VariantState.REJECTED, VariantState.FAILED)]
    return f"{text}. {_outcomes(lost)}" if lost else text


def _against(target: TargetStatus, baseline: VariantStatus, gates: Sequence[QualityGate]) -> str:
    """Return what follows a quality against ground truth: the quality of the baseline."""
    reference = quality_text(baseline.quality, gates)
    if target.reference != QualityReference.GROUND_TRUTH or reference is None:
        return ""
    return f" against ground truth (baseline: {reference})"


def _rejected_baseline(
    target: str,
    baseline: VariantStatus,
    variants: Sequence[VariantStatus],
    gates: Sequence[QualityGate],
) -> str:
    found = (gate_failure(gate, baseline.quality) for gate in gates)
    # Five digits may round up to the gate; the Job's message is cut where there are many.
    failures = "; ".join(filter(None, found)) or baseline.message or "see its quality"
    text = f"{target}: even the baseline misses a gate against ground truth: {failures}."
    if passed := [v.name for v in variants if v.state == VariantState.PASSED]:
        text += f" Within the gates, but not fast enough: {', '.join(passed)}."
    return text
