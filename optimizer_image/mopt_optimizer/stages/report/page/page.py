"""Renders the page. Pure: everything it shows is in its arguments."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.figures import VariantState
from mopt_api.jobs.crops import Crops, SampleCrops
from mopt_api.jobs.measure_result import BASELINE, MeasureResult, VariantResult, left_out
from mopt_api.jobs.plan import PLAN_VARIABLE, MeasurePlan, ReportPlan
from mopt_api.jobs.prepare_result import FallbackReport, PrepareResult
from mopt_api.spec import QualityGate

from . import figures, rows, scatters, verdicts

_FOLDER = Path(__file__).parent / "templates"
# Passes and layers beyond this many are counted, not listed.
_MOST_LAYERS = 64


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
    p90: str
    p99: str
    throughput: str
    size: str
    reduction: str
    quality: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Picture:
    """One variant's crop, with what is known of the whole image."""

    name: str
    state: str
    output: str
    difference: str
    whole: str
    part: str
    is_worst: bool


@dataclass(frozen=True)
class Sample:
    """One sample's crops; images are data: URIs."""

    name: str
    crop: SampleCrops
    input: str
    reference: str
    pictures: list[Picture]


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ratio": figures.ratio,
        "size": figures.size,
        "seconds": figures.seconds,
        "ms": figures.milliseconds,
        "significant": figures.significant,
    }
    return environment.get_template("page.html.jinja")


def render_page(
    result: MeasureResult,
    plan: MeasurePlan | ReportPlan,
    *,
    digest: str,
    manifest: PrepareResult | None = None,
    crops: Crops | None = None,
) -> str:
    """Return one measurement as an HTML file that loads nothing.

    Args:
        result: Judged.
        plan: What judged it: gates and objective.
        digest: Of result.json.
        manifest: Of the prepare Job; without it its parts of the page are left out.
        crops: The measurement's pictures, if outputs are images.
    """
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    everyone = result.everyone
    return _template().render(
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        result=result,
        plan=plan,
        digest=digest,
        manifest=manifest,
        model=_model_name(result),
        objective=verdicts.OBJECTIVES[plan.objective.metric],
        verdict=verdicts.verdict(result, plan),
        verdicts=verdicts,
        everyone=everyone,
        compared=[v for v in everyone if v.quality and verdicts.was_measured(v)],
        reference=verdicts.reference(result),
        rows=[_row(variant, result, plan) for variant in everyone],
        left_out=left_out(result),
        scatters=_scatters(result, plan),
        latencies=[
            strips
            for point in (result.baseline.points if result.baseline else ())
            if (strips := rows.latency_strips(result, point.point)) is not None
        ],
        qualities=_qualities(result, plan),
        sizes=rows.bars(
            [(v.name, v.artifact.size_bytes) for v in everyone if v.artifact],
            lambda value: figures.size(int(value)),
            result.selected,
        ),
        memory=rows.bars(
            [(v.name, v.peak_memory_bytes) for v in everyone if v.peak_memory_bytes],
            lambda value: figures.size(int(value)),
            result.selected,
        ),
        samples=_samples(result, crops),
        prepare_times=_times(manifest.seconds if manifest else {}),
        measure_times=_times(result.seconds),
        variant_times=rows.bars(
            [(v.name, v.seconds) for v in everyone if v.seconds is not None],
            figures.seconds,
            result.selected,
        ),
        fallback_gate=_fallback_gate,
        quality_text=figures.quality,
        most_layers=_MOST_LAYERS,
        command=_command(result, plan),
    )


def _times(seconds: Mapping[str, float]) -> list[rows.Bar]:
    longest_first = sorted(seconds.items(), key=lambda item: -item[1])
    return rows.bars(longest_first, figures.seconds)


def _model_name(result: MeasureResult) -> str:
    model = (result.plan or {}).get("model")
    uri = model.get("uri") if isinstance(model, dict) else None
    return str(uri) if uri else f"sha256:{result.source.sha256}"


def _row(variant: VariantResult, result: MeasureResult, plan: MeasurePlan | ReportPlan) -> Row:
    speed = verdicts.at_point(variant, result.objective_point)
    latency = speed.latency_ms if speed else None
    state = verdicts.shown_state(variant, result.selected)
    size = variant.artifact.size_bytes if variant.artifact else None
    reduction = ""
    if size is not None and result.source.size_bytes and variant.name != BASELINE:
        share = 1 - size / result.source.size_bytes
        reduction = f"{100 * abs(share):.1f} % {'smaller' if share >= 0 else 'larger'}"
    return Row(
        variant=variant,
        state="Baseline" if variant.name == BASELINE and state == VariantState.PASSED else state,
        form=verdicts.form(variant),
        layers=verdicts.layers(variant),
        why=verdicts.why(variant, result, plan.objective),
        measured=speed is not None,
        p50=figures.milliseconds(latency.p50 if latency else None),
        p90=figures.milliseconds(latency.p90 if latency else None),
        p99=figures.milliseconds(latency.p99 if latency else None),
        throughput=f"{figures.significant(speed.throughput)} /s" if speed else figures.NOT_MEASURED,
        size=figures.size(size),
        reduction=reduction,
        quality=[
            (
                q.metric.value,
                figures.quality(q.metric, q.worst, exact=q.exact),
                figures.quality(q.metric, q.mean, exact=q.exact),
            )
            for q in variant.quality
        ]
        + [
            (
                f"to FP32 {q.metric}",
                figures.quality(q.metric, q.worst, exact=q.exact),
                figures.quality(q.metric, q.mean, exact=q.exact),
            )
            for q in variant.agreement or []
        ],
    )


def _metrics(result: MeasureResult) -> list[QualityMetric]:
    return list(dict.fromkeys(q.metric for v in result.everyone for q in v.quality))


def _scatters(
    result: MeasureResult, plan: MeasurePlan | ReportPlan
) -> list[tuple[scatters.Scatter, scatters.Scatter]]:
    """Return a wide and a narrow chart per gate; without gates, of the first metric."""
    judged = [(gate, True) for gate in plan.quality]
    if not judged:
        # A gate in form only: it is not drawn.
        judged = [
            (QualityGate.model_construct(metric=metric, aggregate=Aggregate.WORST), False)
            for metric in _metrics(result)[:1]
        ]
    found = []
    for gate, bounded in judged:
        wide, narrow = (
            scatters.scatter(result, gate, bounded=bounded, objective=plan.objective, wide=wide)
            for wide in (True, False)
        )
        if wide is not None and narrow is not None:
            found.append((wide, narrow))
    return found


def _qualities(result: MeasureResult, plan: MeasurePlan | ReportPlan) -> list[rows.Strips]:
    gates = {gate.metric: gate for gate in plan.quality if gate.aggregate is Aggregate.WORST}
    found = (rows.quality_strips(result, metric, gates.get(metric)) for metric in _metrics(result))
    return [strips for strips in found if strips is not None]


def _image(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def _samples(result: MeasureResult, crops: Crops | None) -> list[Sample]:
    variants = {v.name: v for v in result.variants if verdicts.was_measured(v)}
    names = result.evaluation_names
    found = []
    for crop in crops.samples if crops else []:
        known = crop.sample < len(names)
        pictures = []
        for part in crop.variants:
            if (variant := variants.get(part.variant)) is None:
                continue
            values = [
                (q, q.per_sample[crop.sample])
                for q in variant.quality
                if q.per_sample and crop.sample < len(q.per_sample)
            ]
            similar = "" if part.ssim is None else f", SSIM {part.ssim:.4f}"
            pictures.append(
                Picture(
                    name=part.variant,
                    state=verdicts.shown_state(variant, result.selected),
                    output=_image(part.output),
                    difference=_image(part.difference),
                    whole=", ".join(
                        f"{q.metric} {figures.quality(q.metric, value)}" for q, value in values
                    ),
                    part=f"PSNR {part.psnr:.2f} dB{similar}",
                    is_worst=any(value == q.worst for q, value in values),
                )
            )
        found.append(
            Sample(
                name=names[crop.sample] if known else f"sample {crop.sample}",
                crop=crop,
                input=_image(crop.input),
                reference=_image(crop.reference),
                pictures=pictures,
            )
        )
    return found


def _fallback_gate(report: FallbackReport) -> str:
    sign, bound = ("≤", report.maximum) if report.maximum is not None else ("≥", report.minimum)
    unit = " dB" if figures.is_decibels(report.metric) else ""
    return f"{report.aggregate.lower()} {report.metric} {sign} {bound:g}{unit}"


def _command(result: MeasureResult, plan: MeasurePlan | ReportPlan) -> str:
    """Return the shell command that does the same again."""
    told: dict[str, Any] = result.plan or plan.to_api()
    text = json.dumps(told, sort_keys=True)
    stage = str(told.get("stage", plan.stage)).lower()
    return f"{PLAN_VARIABLE}={shlex.quote(text)} mopt-optimizer {stage}"
