"""One page for several targets: what to serve on which, and how every form does on each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mopt_api.constraints import bound_text
from mopt_api.figures import VariantState
from mopt_api.jobs.measure_result import BASELINE, MeasureResult, VariantResult, left_out
from mopt_api.metrics import metric_in_words
from mopt_api.objective import Objective
from mopt_api.recommendation import Considered, Recommendation, recommend
from mopt_api.text import cleaned, one_line
from mopt_api.tradeoffs import Tradeoff
from mopt_api.verdict import verdict_in_words
from mopt_cli.result_diff import gates_of
from mopt_cli.sizing import Choice
from mopt_optimizer.stages.report.page import figures
from mopt_optimizer.stages.report.page.rendering import rendered
from mopt_optimizer.stages.report.page.rows import Strips, latency_axis, latency_strip
from mopt_optimizer.stages.report.page.sections import model_name
from mopt_optimizer.stages.report.page.verdicts import (
    OBJECTIVES,
    GateValue,
    form,
    gate_text,
    gate_value,
    shown_state,
    was_measured,
)

_FOLDER = Path(__file__).parent / "templates"
_BASIS = {
    "Measured": "measured under load, on that target",
    "Extrapolated": "predicted from CPU limits that were measured under load",
    "Estimated": "estimated from one call after the other",
}


@dataclass(frozen=True)
class Stored:
    """A target's result, and the digest of its result.json."""

    result: MeasureResult
    digest: str


def render_targets_page(name: str, stored: Sequence[Stored], choice: Choice) -> str:
    """Return the results of several targets as an HTML file that loads nothing, its texts clean:
    see cleaned.

    Args:
        name: What the model is called.
        stored: Each of another target.
        choice: What there is to choose from among them.
    """
    clean = [Stored(cleaned(each.result), each.digest) for each in stored]
    page = TargetsPage.of(one_line(name), clean, choice)
    return rendered("targets.html.jinja", folder=_FOLDER, page=page)


@dataclass(frozen=True)
class TargetRow:
    """A target, and what won there.

    Attributes:
        chosen: Whether it is recommended.
        winner: None where nothing is selected.
        gates: Each gate as text, and how the winner stands to it.
        certainty: Of the verdict; empty where nothing was measured.
    """

    name: str
    chosen: bool
    hardware: str
    software: str
    winner: VariantResult | None
    form: str
    p50: str
    size: str
    memory: str
    gates: list[tuple[str, GateValue]]
    certainty: str
    certain: bool
    measured_at: str
    digest: str

    @classmethod
    def of(cls, stored: Stored, recommended: str | None) -> TargetRow:
        """Return a target's result as a row."""
        result = stored.result
        winner = next((v for v in result.everyone if v.name == result.selected), None)
        speed = winner.at(result.objective_point) if winner else None
        verdict = result.verdict
        return cls(
            name=result.target,
            chosen=result.target == recommended,
            hardware=_hardware(result),
            software=", ".join(f"{name} {version}" for name, version in result.software.items()),
            winner=winner,
            form=form(winner) if winner else "",
            p50=figures.milliseconds(speed.latency_ms.p50 if speed else None),
            size=figures.size(winner.artifact.size_bytes if winner and winner.artifact else None),
            memory=figures.size(winner.peak_memory_bytes if winner else None),
            gates=[(gate_text(g), gate_value(g, winner)) for g in gates_of(result)]
            if winner
            else [],
            certainty=verdict_in_words(verdict) if verdict else "",
            certain=verdict is None or verdict.certain,
            measured_at=result.measured_at or "",
            digest=stored.digest,
        )


def _hardware(result: MeasureResult) -> str:
    hardware = result.hardware
    if hardware.gpu is not None:
        return hardware.gpu.name
    return f"{hardware.cpu or 'unknown CPU'}, {hardware.threads or '?'} threads"


@dataclass(frozen=True)
class Cell:
    """How a form did on a target; note is its latency and quality, or why there are none."""

    state: str
    ratio: str
    note: str


@dataclass(frozen=True)
class FormRow:
    """A form on each target, in the order of targets."""

    name: str
    kind: str
    cells: list[Cell]


def _forms(results: Sequence[MeasureResult]) -> list[FormRow]:
    """Return every form of any target, in the order in which they come first."""
    first = {v.name: v for result in reversed(results) for v in reversed(result.everyone)}
    names = dict.fromkeys(v.name for result in results for v in result.everyone)
    return [
        FormRow(name, form(first[name]), [_cell(name, result) for result in results])
        for name in names
    ]


def _cell(name: str, result: MeasureResult) -> Cell:
    found = next((v for v in result.everyone if v.name == name), None)
    if found is None:
        why = next((e.reason for e in left_out(result) if e.variant == name), "")
        return Cell("Not tried", "", why)
    state = shown_state(found, result.selected)
    if not was_measured(found):
        return Cell(state, "", str(found.reason or ""))
    speed = found.at(result.objective_point)
    gate = next(iter(gates_of(result)), None)
    judged = gate_value(gate, found) if gate is not None and found.quality else None
    parts = [figures.milliseconds(speed.latency_ms.p50) if speed else "", judged and judged.text]
    if found.state is VariantState.REJECTED:
        parts.append(str(found.reason or ""))
    return Cell(
        state="Baseline" if (state, name) == (VariantState.PASSED, BASELINE) else state,
        ratio=figures.ratio(found.speedup, found.speedup_interval) if found.speedup else "",
        note=", ".join(part for part in parts if part),
    )


def _latencies(results: Sequence[MeasureResult]) -> list[Strips]:
    """Return how each form's calls spread on every target, all on one axis."""
    measured = [
        (found.name, result, speed)
        for result in results
        for found in result.everyone
        if (speed := found.at(result.objective_point)) is not None
    ]
    if not measured:
        return []
    axis = latency_axis([speed for _, _, speed in measured])
    return [
        Strips(
            title=name,
            ticks=axis.ticks(),
            rows=[
                latency_strip(speed, axis, name=result.target, chosen=result.selected == form_name)
                for form_name, result, speed in measured
                if form_name == name
            ],
        )
        for name in dict.fromkeys(name for name, _, _ in measured)
    ]


@dataclass(frozen=True)
class Costs:
    """What every target serves, and what that costs.

    Attributes:
        rows: The winner of each target that has one.
        priced, powered: Whether a price, or a power, is known of any.
    """

    told: Recommendation
    rows: list[Considered]
    priced: bool
    powered: bool

    @classmethod
    def of(cls, told: Recommendation) -> Costs:
        """Return the costs in a recommendation."""
        return cls(
            told=told,
            rows=told.considered,
            priced=any(each.price_per_hour is not None for each in told.considered),
            powered=any(each.kilowatt_hours_per_day is not None for each in told.replicas_for),
        )


def _sentences(told: Recommendation | None, objective: Objective, targets: int) -> list[str]:
    if told is None:
        return ["No target has a winner, so there is nothing to recommend."]
    bounds = ", ".join(bound_text(each) for each in objective.constraints)
    within = f" within {bounds}" if bounds else ""
    if told.target is None:
        return [told.message or "Nothing can be recommended."]
    basis = _BASIS.get(told.basis or "", told.basis or "")
    return [
        f"Best {OBJECTIVES[objective.metric]} of the winners of {targets} targets{within}.",
        f"Served by {told.serving.in_words if told.serving else 'one copy'}: {basis}.",
    ]


def _headline(told: Recommendation | None) -> str:
    if told is None:
        return "Nothing is selected"
    if told.target is None:
        return "No target can be recommended"
    what = "the source model" if told.variant == BASELINE else told.variant
    return f"Serve {what} on {told.target}"


@dataclass(frozen=True)
class FrontRow:
    """A form of a target beside all others; by is the one that is nowhere worse, if any."""

    target: str
    name: str
    chosen: bool
    quality: str
    p50: str
    memory: str
    cost: float | None
    by: str | None

    @classmethod
    def of(cls, found: Tradeoff, told: Recommendation | None) -> FrontRow:
        """Return a form with what is compared of it."""
        shown = found.quality
        value = shown and metric_in_words(shown.metric, shown.worst, exact=shown.exact)
        chosen = told is not None and (found.target, found.variant) == (told.target, told.variant)
        return cls(
            target=found.target,
            name=found.variant,
            chosen=chosen,
            quality=f"{shown.metric} {value}" if shown else figures.NOT_MEASURED,
            p50=figures.milliseconds(found.latency_p50_ms),
            memory=figures.size(found.peak_memory_bytes),
            cost=found.cost_per_million,
            by=found.dominated_by,
        )


@dataclass(frozen=True)
class TargetsPage:
    """Everything that the template shows.

    Attributes:
        model: Its location, of the first target.
        uri: The file to serve; None where that is not known.
        costs: None where no target has a winner.
        front: Every form of every target, those on the Pareto front first.
    """

    name: str
    model: str
    headline: str
    sentences: list[str]
    uri: str | None
    costs: Costs | None
    targets: list[TargetRow]
    forms: list[FormRow]
    latencies: list[Strips]
    front: list[FrontRow]

    @classmethod
    def of(cls, name: str, stored: Sequence[Stored], choice: Choice) -> TargetsPage:
        """Return the page; see render_targets_page."""
        told = recommend(choice.offers, choice.objective)
        told = told and cleaned(told)
        results = [each.result for each in stored]
        recommended = told.target if told else None
        rows = [TargetRow.of(each, recommended) for each in stored]
        served = next((row.winner for row in rows if row.chosen), None)
        return cls(
            name=name,
            model=model_name(results[0]),
            headline=_headline(told),
            sentences=_sentences(told, choice.objective, len(results)),
            uri=served.artifact.uri if served and served.artifact else None,
            costs=Costs.of(told) if told else None,
            targets=rows,
            forms=_forms(results),
            latencies=_latencies(results),
            front=[FrontRow.of(cleaned(each), told) for each in choice.tradeoffs],
        )
