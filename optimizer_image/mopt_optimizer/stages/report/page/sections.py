"""The page's sections, each a dataclass made from what was measured and judged. Pure."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from mopt_api.constraints import bound_text
from mopt_api.figures import QualityResult, VariantState
from mopt_api.jobs.crops import Crops
from mopt_api.jobs.gates import figure_name
from mopt_api.jobs.measure_result import (
    BASELINE,
    MeasureResult,
    PointResult,
    SearchEntry,
    VariantResult,
    left_out,
)
from mopt_api.jobs.plan import PLAN_VARIABLE, MeasurePlan, ReportPlan
from mopt_api.jobs.prepare_result import FallbackReport, LayerReport, PrepareResult
from mopt_api.metrics import bound_in_words, metric_in_words
from mopt_api.objective import Objective
from mopt_api.percentiles import percentile_basis

from . import figures, pictures, verdicts
from .charts import Charts, Times
from .limits import LimitSection
from .pareto import ParetoRow, pareto

# Layers beyond this many are counted, not listed.
_MOST_LAYERS = 64


@dataclass(frozen=True)
class VerdictSection:
    """What was decided and why.

    Attributes:
        selected: The winner, or the baseline where it is kept; None where nothing is.
        speed: The winner's at the objective's point.
        objective: Figure that the winner is chosen by, as text.
        gates: As text, in the plan's order.
        compared: Each variant that was compared, and how it stands to each gate.
        constraints, bounded: The same of constraints.
    """

    headline: str
    sentences: list[str]
    selected: VariantResult | None
    speed: PointResult | None
    objective: str
    gates: list[str]
    compared: list[tuple[str, list[verdicts.GateValue]]]
    constraints: list[str]
    bounded: list[tuple[str, list[verdicts.GateValue]]]

    @classmethod
    def of(cls, result: MeasureResult, plan: MeasurePlan | ReportPlan) -> VerdictSection:
        verdict = verdicts.verdict(result, plan)
        selected = verdict.selected
        return cls(
            headline=verdict.headline,
            sentences=verdict.sentences,
            selected=selected,
            speed=None if selected is None else selected.at(result.objective_point),
            objective=verdicts.OBJECTIVES[plan.objective.metric],
            gates=[verdicts.gate_text(gate) for gate in plan.quality],
            compared=[
                (v.name, [verdicts.gate_value(gate, v) for gate in plan.quality])
                for v in result.everyone
                if v.quality and verdicts.was_measured(v)
            ],
            constraints=[bound_text(each) for each in plan.objective.constraints],
            bounded=[
                (v.name, verdicts.bounded_values(v, result, plan))
                for v in result.everyone
                if v.points and verdicts.was_measured(v)
            ],
        )


@dataclass(frozen=True)
class Tail:
    """An outer percentile, and what it is rather where there were too few calls."""

    text: str
    basis: str | None


@dataclass(frozen=True)
class Row:
    """A form of the model in the table."""

    variant: VariantResult
    state: str
    form: str
    layers: str
    why: str
    measured: bool
    p50: str
    p90: Tail
    p99: Tail
    throughput: str
    size: str
    reduction: str
    load: str
    quality: list[tuple[str, str, str]]

    @classmethod
    def of(cls, variant: VariantResult, result: MeasureResult, objective: Objective) -> Row:
        speed = variant.at(result.objective_point)
        latency = speed.latency_ms if speed else None
        state = verdicts.shown_state(variant, result.selected)
        size = variant.artifact.size_bytes if variant.artifact else None
        passed = variant.name == BASELINE and state == VariantState.PASSED
        throughput = f"{figures.significant(speed.throughput)} /s" if speed else None
        return cls(
            variant=variant,
            state="Baseline" if passed else state,
            form=verdicts.form(variant),
            layers=verdicts.layers(variant),
            why=verdicts.why(variant, result, objective),
            measured=speed is not None,
            p50=figures.milliseconds(latency.p50 if latency else None),
            p90=_tail(latency.p90 if latency else None, speed, 90),
            p99=_tail(latency.p99 if latency else None, speed, 99),
            throughput=throughput or figures.NOT_MEASURED,
            size=figures.size(size),
            load=_under_load(variant),
            reduction=_reduction(variant, size, result.source.size_bytes),
            quality=[_worst_and_mean(figure_name(q), q) for q in variant.quality]
            + [_worst_and_mean(f"to FP32 {figure_name(q)}", q) for q in variant.agreement or []],
        )


def _tail(value: float | None, speed: PointResult | None, percent: int) -> Tail:
    basis = percentile_basis(speed.runs, percent) if speed else None
    return Tail(figures.milliseconds(value), basis)


def _under_load(variant: VariantResult) -> str:
    load = variant.load
    if load is None:
        return figures.NOT_MEASURED
    rate = figures.significant(load.throughput)
    return f"{rate} /s, p99 {figures.milliseconds(load.latency_ms.p99)}; {load.serving.in_words}"


def _reduction(variant: VariantResult, size: int | None, source: int) -> str:
    if size is None or not source or variant.name == BASELINE:
        return ""
    share = 1 - size / source
    return f"{100 * abs(share):.1f} % {'smaller' if share >= 0 else 'larger'}"


def _worst_and_mean(name: str, quality: QualityResult) -> tuple[str, str, str]:
    worst, mean = (
        metric_in_words(quality.metric, value, exact=quality.exact)
        for value in (quality.worst, quality.mean)
    )
    return name, f"{worst} in {quality.part}" if quality.part else worst, mean


@dataclass(frozen=True)
class Fallback:
    """A search for layers to keep in FP32, its gate as text, the listed layers and the number
    of others."""

    report: FallbackReport
    gate: str
    layers: list[LayerReport]
    more: int

    @classmethod
    def of(cls, report: FallbackReport) -> Fallback:
        sign, bound = ("≤", report.maximum) if report.maximum is not None else ("≥", report.minimum)
        shown = "" if bound is None else bound_in_words(report.metric, bound)
        what = " of ".join(filter(None, (report.metric, report.slice, report.output)))
        return cls(
            report=report,
            gate=f"{report.aggregate.lower()} {what} {sign} {shown}",
            layers=report.layers[:_MOST_LAYERS],
            more=max(0, len(report.layers) - _MOST_LAYERS),
        )


@dataclass(frozen=True)
class Precision:
    """A form of reduced precision, layer by layer."""

    name: str
    quantized_nodes: int
    fallbacks: list[Fallback]


def _precisions(manifest: PrepareResult | None) -> list[Precision]:
    return [
        Precision(q.name, q.quantized_nodes, [Fallback.of(report) for report in q.fallbacks])
        for q in (manifest.quantizations if manifest else ())
    ]


@dataclass(frozen=True)
class Page:
    """Everything that the template shows: what it is about, then a field per section.

    Attributes:
        model: Its uri, or its digest where the plan is not known.
        reference: What quality is compared with, as text.
        left_out: What Auto knows of and did not try.
        loaded: Whether figures under load were measured.
        command: The shell command that does the same again.
    """

    result: MeasureResult
    objective: Objective
    digest: str
    manifest: PrepareResult | None
    model: str
    reference: str
    verdict: VerdictSection
    rows: list[Row]
    left_out: list[SearchEntry]
    loaded: bool
    pareto: list[ParetoRow]
    charts: Charts
    samples: list[pictures.Sample]
    limits: LimitSection | None
    precisions: list[Precision]
    times: Times
    command: str

    @classmethod
    def of(
        cls,
        result: MeasureResult,
        plan: MeasurePlan | ReportPlan,
        *,
        digest: str,
        manifest: PrepareResult | None,
        crops: Crops | None,
    ) -> Page:
        """Return the page of a judged result; see render_page."""
        return cls(
            result=result,
            objective=plan.objective,
            digest=digest,
            manifest=manifest,
            model=model_name(result),
            reference=verdicts.reference(result),
            verdict=VerdictSection.of(result, plan),
            rows=[Row.of(variant, result, plan.objective) for variant in result.everyone],
            left_out=left_out(result),
            loaded=any(variant.load for variant in result.everyone),
            pareto=pareto(result, plan),
            charts=Charts.of(result, plan),
            samples=pictures.samples(result, crops),
            limits=LimitSection.of(result),
            precisions=_precisions(manifest),
            times=Times.of(result, manifest),
            command=_command(result, plan),
        )


def model_name(result: MeasureResult) -> str:
    """Return a model's uri, or its digest where the plan is not known."""
    model = (result.plan or {}).get("model")
    uri = model.get("uri") if isinstance(model, dict) else None
    return str(uri) if uri else f"sha256:{result.source.sha256}"


def _command(result: MeasureResult, plan: MeasurePlan | ReportPlan) -> str:
    document = result.plan or plan.to_api()
    text = json.dumps(document, sort_keys=True)
    stage = str(document.get("stage", plan.stage)).lower()
    return f"{PLAN_VARIABLE}={shlex.quote(text)} mopt-optimizer {stage}"
