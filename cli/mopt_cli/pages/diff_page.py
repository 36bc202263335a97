"""What changed from one result to another, as a page. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mopt_api.figures import VariantState
from mopt_api.jobs.measure_result import BASELINE, MeasureResult
from mopt_api.objective_words import words_of
from mopt_api.text import cleaned, one_line
from mopt_api.verdict import is_telling, verdict_in_words
from mopt_cli.judgements import NOT_MEASURED
from mopt_cli.objective_words import objective_of
from mopt_cli.result_diff import Change, FormDiff, GateChange, Outcome, ResultDiff
from mopt_cli.result_diff_table import IN_WORDS
from mopt_cli.table import verdict
from mopt_optimizer.stages.report.page.axes import Axis, from_zero
from mopt_optimizer.stages.report.page.figures import NOT_MEASURED as UNKNOWN
from mopt_optimizer.stages.report.page.figures import milliseconds, ratio, size
from mopt_optimizer.stages.report.page.rendering import rendered
from mopt_optimizer.stages.report.page.rows import Strip, Strips

_FOLDER = Path(__file__).parent / "templates"
_SHORT = 17
_MARKS = {None: "", True: " ✓", False: " ✗ misses"}
_TONES = {None: "", True: "holds", False: "misses"}
_CLASSES = {Outcome.BETTER: "holds", Outcome.WORSE: "misses"}


def render_diff_page(
    found: ResultDiff, names: tuple[str, str], results: tuple[MeasureResult, MeasureResult]
) -> str:
    """Return what changed as an HTML file that loads nothing, its texts clean: see cleaned.

    Args:
        names: What the user calls the results.
    """
    before, after = map(cleaned, results)
    return rendered(
        "diff.html.jinja",
        folder=_FOLDER,
        page=DiffPage.of(cleaned(found), (one_line(names[0]), one_line(names[1])), (before, after)),
    )


@dataclass(frozen=True)
class Side:
    """One of the results.

    Attributes:
        told: What was decided, in one sentence.
        certainty: How certain that is; empty where it is not known.
    """

    letter: str
    name: str
    measured: str
    told: str
    certainty: str

    @classmethod
    def of(cls, letter: str, name: str, result: MeasureResult) -> Side:
        """Return a result as a side."""
        hardware = result.hardware
        where = hardware.gpu.name if hardware.gpu else hardware.cpu or "unknown CPU"
        when = f", {result.measured_at}" if result.measured_at else ""
        return cls(
            letter=letter,
            name=name,
            measured=f"target {result.target}, {where}{when}",
            told=verdict(result),
            certainty=verdict_in_words(result.verdict) if result.verdict else "",
        )


@dataclass(frozen=True)
class Cell:
    """What something is in A and in B: one part where that is the same.

    Attributes:
        tone: The style's word for whether the change is good or bad.
    """

    parts: tuple[str, ...]
    tone: str = ""

    @classmethod
    def of(cls, before: str, after: str, tone: str = "") -> Cell:
        """Return two texts as a cell."""
        shown = (_shown(before), _shown(after))
        return cls(shown if before != after else shown[:1], tone)

    @property
    def short(self) -> bool:
        """Whether it is better not broken into lines."""
        return sum(map(len, self.parts)) <= _SHORT

    @property
    def absent(self) -> bool:
        """Whether nothing is known in either."""
        return self.parts == (UNKNOWN,)


def _shown(text: str) -> str:
    """Return a text as pages have it: another dash where there is nothing."""
    return UNKNOWN if text == NOT_MEASURED else text


@dataclass(frozen=True)
class FormRow:
    """A form in both results; cells by their headings, which all rows share."""

    name: str
    chosen: bool
    cells: dict[str, Cell]

    @classmethod
    def of(cls, form: FormDiff, winner: Change, ratios: str) -> FormRow:
        """Return what changed of a form.

        Args:
            ratios: What its ratios are called.
        """
        speed = form.speedup
        files = (form.before_bytes, form.after_bytes)
        memory = (form.before_peak_memory_bytes, form.after_peak_memory_bytes)
        return cls(
            name=form.name,
            chosen=form.name == winner.after,
            cells={
                "State": _state(form),
                f"{ratios} A": Cell((ratio(speed.before, speed.before_interval),)),
                f"{ratios} B": Cell((ratio(speed.after, speed.after_interval),)),
                "Change": _change(speed.outcome),
                "Median latency": Cell.of(
                    milliseconds(form.before_p50_ms), milliseconds(form.after_p50_ms)
                ),
                **{_gate_name(gate): _gate(gate) for gate in form.gates},
                "Size": Cell.of(*map(size, files)),
                "Peak memory": Cell.of(*map(size, memory)),
            },
        )


def _gate_name(gate: GateChange) -> str:
    return gate.gate.replace(" -> ", " → ")


def _change(outcome: Outcome) -> Cell:
    text = IN_WORDS[outcome]
    return Cell.of(text, text, _CLASSES.get(outcome, ""))


def _state(form: FormDiff) -> Cell:
    before, after = form.before_state or "not there", form.after_state or "not there"
    tone = "holds" if _passes_now(form) else "misses" if _passes_no_more(form) else ""
    if before != after and form.after_reason:
        after += f" ({form.after_reason})"
    return Cell.of(before, after, tone)


def _passes_now(form: FormDiff) -> bool:
    return form.after_state == VariantState.PASSED != form.before_state


def _passes_no_more(form: FormDiff) -> bool:
    return form.before_state == VariantState.PASSED != form.after_state


def _gate(gate: GateChange) -> Cell:
    before, after = (
        _shown(text) + _MARKS[passed]
        for text, passed in ((gate.before, gate.before_passed), (gate.after, gate.after_passed))
    )
    changed = gate.before_passed is not gate.after_passed
    return Cell.of(before, after, _TONES[gate.after_passed] if changed else "")


@dataclass(frozen=True)
class DiffPage:
    """Everything that the template shows.

    Attributes:
        ratios: What the ratios are called: Speedup.
        chart: The ratios with their intervals; None where none is known.
    """

    headline: str
    sentences: list[str]
    sides: list[Side]
    facts: list[Change]
    settings: list[Change]
    ratios: str
    headings: list[str]
    forms: list[FormRow]
    chart: Strips | None

    @classmethod
    def of(
        cls,
        found: ResultDiff,
        names: tuple[str, str],
        results: tuple[MeasureResult, MeasureResult],
    ) -> DiffPage:
        """Return the page; see render_diff_page."""
        ratios = words_of(objective_of(results[1])).heading.capitalize()
        forms = [FormRow.of(form, found.winner, ratios) for form in found.forms]
        return cls(
            headline=_headline(found.winner),
            sentences=_sentences(found),
            sides=[Side.of(*side) for side in zip("AB", names, results, strict=True)],
            facts=found.facts,
            settings=found.settings,
            ratios=ratios,
            headings=list(dict.fromkeys(name for form in forms for name in form.cells)),
            forms=forms,
            chart=_chart(found),
        )


def _headline(winner: Change) -> str:
    before, after = (_called(name) for name in (winner.before, winner.after))
    if before != after:
        return f"{before} → {after}"
    return f"{after} in both" if winner.after is None else f"{after} stays selected"


def _called(name: str | None) -> str:
    if name is None:
        return "Nothing selected"
    return "The baseline" if name == BASELINE else name


def _sentences(found: ResultDiff) -> list[str]:
    """Return what changed for certain, and what makes the results hard to compare."""
    there = [form for form in found.forms if form.before_state and form.after_state]
    groups = {
        "Better for certain": _names(found, Outcome.BETTER),
        "Worse for certain": _names(found, Outcome.WORSE),
        "Not told apart, since the intervals overlap": _names(found, Outcome.NOT_TOLD_APART),
        "Passes now": [form.name for form in there if _passes_now(form)],
        "Passes no more": [form.name for form in there if _passes_no_more(form)],
        "In B alone": [form.name for form in found.forms if form.before_state is None],
        "In A alone": [form.name for form in found.forms if form.after_state is None],
    }
    told = [f"{what}: {', '.join(names)}." for what, names in groups.items() if names]
    apart = {"model", "objective", "point", "CPU", "threads", "GPU", "evaluation data"}
    if differ := [fact.what for fact in found.facts if fact.what in apart]:
        told.append(
            f"Not of the same {_listed(differ)}: each result's ratios are over its own baseline."
        )
    return told if found.differs or differ else [*told, "No winner, state, gate or size differs."]


def _names(found: ResultDiff, outcome: Outcome) -> list[str]:
    return [form.name for form in found.forms if form.speedup.outcome is outcome]


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _chart(found: ResultDiff) -> Strips | None:
    """Return both ratios of each form, side by side on one axis."""
    shown = [form for form in found.forms if form.name != BASELINE]
    axis = _axis(shown)
    if axis is None:
        return None
    rows = []
    for form in shown:
        speed = form.speedup
        for letter, value, interval, winner in (
            ("A", speed.before, speed.before_interval, found.winner.before),
            ("B", speed.after, speed.after_interval, found.winner.after),
        ):
            if value is not None:
                name = f"{form.name} {letter}"
                rows.append(_strip(name, value, interval, axis, chosen=form.name == winner))
    return Strips("", axis.ticks(), rows, gate=axis.percent(1.0))


def _axis(forms: Iterable[FormDiff]) -> Axis | None:
    ratios = [form.speedup for form in forms]
    values = [value for each in ratios for value in (each.before, each.after) if value is not None]
    known = [b for each in ratios for b in (each.before_interval, each.after_interval) if b]
    ends = [end for bounds in known if is_telling(bounds) for end in bounds]
    return from_zero([*values, *ends, 1.0]) if values else None


def _strip(
    name: str, value: float, interval: Sequence[float] | None, axis: Axis, *, chosen: bool
) -> Strip:
    drawn = interval if interval and is_telling(interval) else None
    return Strip(
        name=name,
        chosen=chosen,
        text=ratio(value, interval),
        whisker=(axis.percent(drawn[0]), axis.percent(drawn[1])) if drawn else None,
        middle=axis.percent(value),
    )
