"""The result of a ModelOptimization as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from mopt_api.enums import ObjectiveMetric
from mopt_api.figures import AIMED_IN_WORDS, QualityReference, VariantState, converted
from mopt_api.jobs.data_statistics import DataWarning, warning_tags
from mopt_api.jobs.gates import figure_name
from mopt_api.jobs.limit_words import shares_in_words, slow_int8
from mopt_api.jobs.measure_result import BASELINE, MeasureResult, SearchEntry, VariantResult
from mopt_api.jobs.termination import is_unstable, summarize_variant, summarized_verdict
from mopt_api.metrics import metric_in_words
from mopt_api.objective_words import words_of
from mopt_api.percentiles import calls_needed, percentile_basis
from mopt_api.quantities import significant
from mopt_api.status import Report, TargetStatus, VariantStatus
from mopt_api.text import cleaned, one_line, plain
from mopt_api.verdict import doubt_in_words, ratio_in_words, verdict_in_words

from .objective_words import objective_of
from .recommendation_table import render_recommendation
from .selections import status_of

_NOT_MEASURED = "-"
_LONGEST_WHY = 240
"""Characters of a variant's reason: libraries report in ten lines."""
_LOAD_HEADINGS: dict[str, JustifyMethod] = {
    "LOAD /s": "right",
    "LOAD P99 ms": "right",
    "SERVED BY": "left",
}
"""Shown where figures under load were measured."""
_STATE_STYLE = {
    "Passed": "green",
    "Built": "green",
    "Rejected": "yellow",
    "Failed": "red",
    "Skipped": "dim",
}


def _ratio(value: float | None, interval: Sequence[float] | None = None) -> str:
    return _NOT_MEASURED if value is None else ratio_in_words(value, interval, digits=2)


def _milliseconds(value: float | None) -> str:
    return _NOT_MEASURED if value is None else f"{value:.1f}"


def _mebibytes(size: int | None) -> str:
    return _NOT_MEASURED if size is None else f"{size / 2**20:.2f}"


def _quality(variant: VariantStatus) -> str:
    parts = (
        f"{figure_name(q)} {metric_in_words(q.metric, q.worst, exact=q.exact)}"
        + (f" in {q.part}" if q.part else "")
        for q in variant.quality
    )
    return ", ".join(parts) or _NOT_MEASURED


def _why(variant: VariantStatus, *, verbose: bool) -> str:
    """Return a variant's reason on one line; a library's report is cut."""
    text = f"{variant.name}: {variant.reason}: {variant.message or ''}"
    if verbose or len(text) <= _LONGEST_WHY:
        return text
    return f"{text[:_LONGEST_WHY].rsplit(' ', 1)[0]} ... (all of it: --verbose, or result.json)"


def _under_load(variant: VariantStatus) -> list[str]:
    load = variant.load
    if load is None:
        return [_NOT_MEASURED] * len(_LOAD_HEADINGS)
    return [
        significant(load.throughput),
        _milliseconds(load.latency_ms.p99),
        load.serving.in_words,
    ]


def _row(variant: VariantStatus, selected: str | None, *, loaded: bool) -> tuple[list[str], str]:
    chosen = variant.name == selected
    latency = variant.latency_ms
    cells = [
        f"{'* ' if chosen else '  '}{variant.name}",
        "" if variant.name == BASELINE and variant.state == VariantState.PASSED else variant.state,
        _milliseconds(latency.p50 if latency else None),
        _milliseconds(latency.p99 if latency else None),
        _ratio(variant.speedup, variant.speedup_interval),
        _ratio(variant.speedup_over_fastest_fp32),
        *(_under_load(variant) if loaded else []),
        _quality(variant),
        _mebibytes(variant.size_bytes),
        _mebibytes(variant.peak_memory_bytes),
    ]
    style = "bold green" if chosen else _STATE_STYLE.get(variant.state, "")
    return cells, style


def _what_was_done(target: TargetStatus) -> str:
    if target.baseline is not None:
        return f"point {target.point}"
    return f"engines for compute capability {', '.join(target.compute_capabilities)}"


def _certainty(target: TargetStatus) -> list[Text]:
    """Return what the figures rest on, and how certain the winner is."""
    basis = _tail_basis(target)
    notes = [] if basis is None else [Text(basis, style="dim")]
    if target.verdict is not None:
        style = "dim" if target.verdict.certain else "yellow"
        notes.append(Text(f"verdict: {verdict_in_words(target.verdict)}", style=style))
    return notes


def render_target(
    target: TargetStatus,
    not_tried: Sequence[SearchEntry] = (),
    metric: ObjectiveMetric | None = None,
    warnings: Sequence[DataWarning] = (),
    *,
    remarks: Sequence[str] = (),
    verbose: bool = False,
) -> RenderableType:
    """Return one target for a terminal.

    Args:
        metric: Of the objective.
        verbose: Whether long messages are shown whole.
        remarks: Lines below the table, such as those of limit_remarks; not part of status.
        not_tried: What Auto left out, see left_out; not part of status.
        warnings: In full; omitted, as status has them.
    """
    target = cleaned(target)
    hardware = target.hardware
    by_truth = target.reference == QualityReference.GROUND_TRUTH
    rows = Table(
        title=Text(
            f"target {target.name}: {hardware.cpu or 'unknown CPU'}, "
            f"{hardware.threads or '?'} threads, {_what_was_done(target)}"
            + (", quality against ground truth" if by_truth else "")
            + (", unstable: calls were disturbed" if target.unstable else "")
            + (", served from the store" if target.served_from_store else "")
            + (", of an earlier run" if target.from_earlier_run else "")
        ),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    loaded = any(variant.load for variant in target.everyone)
    _add_columns(rows, metric, loaded=loaded)
    for variant in target.everyone:
        cells, style = _row(variant, target.selected, loaded=loaded)
        rows.add_row(*cells, style=style)
    notes = [Text(_why(v, verbose=verbose), style="dim") for v in target.everyone if v.reason]
    notes += [
        Text(f"{v.name}: {AIMED_IN_WORDS}", style="dim") for v in target.variants if v.aimed_by
    ]
    notes += [
        Text(f"{e.variant}: not tried: {e.reason}", style="dim") for e in map(cleaned, not_tried)
    ]
    notes += _certainty(target)
    notes += [Text(one_line(remark), style="dim") for remark in remarks]
    said = [one.text for one in map(cleaned, warnings)] or target.warnings
    notes += [Text(f"warning: {text}", style="yellow") for text in said]
    where = [place("result", target.report.uri)]
    if target.artifact is not None and target.artifact.uri is not None:
        where.insert(0, place("serve", target.artifact.uri))
    if target.report.page:
        where.append(place("report", target.report.page))
    return Group(rows, *notes, *where)


def _tail_basis(target: TargetStatus) -> str | None:
    """Return of which forms the 99th percentile is none, for want of calls; None of no form."""
    few = ", ".join(
        f"{form.name} {basis}"
        for form in target.everyone
        if (basis := percentile_basis(form.runs, 99)) is not None
    )
    return f"P99 takes {calls_needed(99)} calls; of fewer it is the largest: {few}" if few else None


def _add_columns(rows: Table, metric: ObjectiveMetric | None, *, loaded: bool) -> None:
    rows.add_column("VARIANT", no_wrap=True)
    rows.add_column("STATE")
    for heading in ("P50 ms", "P99 ms", words_of(metric).heading, "OVER FP32"):
        rows.add_column(heading, justify="right")
    for heading, side in _LOAD_HEADINGS.items() if loaded else ():
        rows.add_column(heading, justify=side)
    rows.add_column("WORST QUALITY")
    for heading in ("MiB", "PEAK MiB"):
        rows.add_column(heading, justify="right")


def place(what: str, where: str) -> Text:
    """Return a line with the location of something; it is never wrapped."""
    return Text(plain(f"{what}: {where}"), style="dim", no_wrap=True, overflow="ignore")


def render(resource: Mapping[str, object]) -> RenderableType:
    """Return the status of a resource for a terminal.

    Args:
        resource: A ModelOptimization as the API server returns it.

    Raises:
        CliError: Its status is none.
    """
    status = cleaned(status_of(resource))
    parts: list[RenderableType] = [
        Text(f"{c.type}={c.status} {c.reason}: {c.message}") for c in status.conditions
    ]
    metric = _objective(resource)
    parts += [render_target(target, metric=metric) for target in status.targets]
    if status.recommendation is not None:
        parts.append(render_recommendation(status.recommendation))
    return Group(*(parts or [Text("no status yet")]))


def _objective(resource: Mapping[str, object]) -> ObjectiveMetric | None:
    """Return the metric of a resource's objective; None where it is the default, or unknown."""
    spec = resource.get("spec")
    objective = spec.get("objective") if isinstance(spec, Mapping) else None
    metric = objective.get("metric") if isinstance(objective, Mapping) else None
    return next((known for known in ObjectiveMetric if known == metric), None)


def target_status(result: MeasureResult, report: Report) -> TargetStatus:
    """Return a result.json as a target's status, as the operator derives it from the summary."""
    return TargetStatus(
        name=result.target,
        hardware=result.hardware,
        software=result.software,
        point=result.objective_point,
        reference=result.reference,
        baseline=result.baseline and _variant_status(result.baseline, result),
        variants=[_variant_status(v, result) for v in result.variants],
        selected=result.selected,
        verdict=summarized_verdict(result.verdict),
        unstable=is_unstable(result) or None,
        served_from_store=result.served_from_store or None,
        warnings=warning_tags(result.warnings),
        report=report,
    )


def _variant_status(variant: VariantResult, result: MeasureResult) -> VariantStatus:
    summary = summarize_variant(variant, result.objective_point)
    return converted(summary, VariantStatus, artifact=variant.artifact)


def limit_remarks(result: MeasureResult) -> list[str]:
    """Return how close the forms come to their limits, and why INT8 is not faster."""
    slow = [f"{name}: {why}" for name, why in slow_int8(result).items()]
    return [*filter(None, [shares_in_words(result)]), *slow]


def verdict(result: MeasureResult) -> str:
    """Return the selection and its reason in one sentence."""
    unstable = "; unstable: other processes used the CPU" if is_unstable(result) else ""
    doubt = doubt_in_words(result.verdict) if result.verdict is not None else ""
    return one_line("; ".join(filter(None, (_verdict(result), doubt))) + unstable)


def _verdict(result: MeasureResult) -> str:
    if result.baseline is None:
        built = sum(variant.state is VariantState.BUILT for variant in result.variants)
        return f"{built} engines were built; none was run"
    if result.selected is None and result.baseline.state is VariantState.REJECTED:
        return (
            "no variant passed the gates, and the baseline misses them too, judged by ground truth"
        )
    if result.selected is None:
        return "no variant passed the gates with a speedup of minimumSpeedup over the baseline"
    if result.selected == BASELINE:
        if result.verdict is not None and (result.verdict.ties or result.verdict.undecided):
            return "the baseline is kept: no variant within the gates is certainly better"
        return "the baseline is kept: no variant within the gates reached minimumSpeedup"
    winner = next((v for v in result.variants if v.name == result.selected), None)
    if winner is None:
        return f"{result.selected} is selected, which is not among the variants"
    words = words_of(objective_of(result))
    ratios = (
        (winner.speedup, "the baseline", winner.speedup_interval),
        (winner.speedup_over_fastest_fp32, f"the {words.best} FP32", None),
    )
    said = ", ".join(
        words.better(value, other, interval=interval)
        for value, other, interval in ratios
        if value is not None
    )
    text = f"{winner.name} wins" + (f": {said}" if said else "")
    return f"{text}; {AIMED_IN_WORDS}" if winner.aimed_by else text
