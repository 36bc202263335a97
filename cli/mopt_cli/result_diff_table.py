"""What changed between two results, as a table for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.objective_words import words_of
from mopt_api.text import cleaned
from mopt_api.verdict import ratio_in_words

from .judgements import NOT_MEASURED
from .objective_words import objective_of
from .plain_table import add_row, plain_table
from .result_diff import FormDiff, GateChange, Outcome, ResultDiff

IN_WORDS = {
    Outcome.SAME: "same",
    Outcome.BETTER: "better",
    Outcome.WORSE: "worse",
    Outcome.NOT_TOLD_APART: "not told apart",
    Outcome.UNKNOWN: NOT_MEASURED,
}
_STYLES = {Outcome.BETTER: "green", Outcome.WORSE: "red"}


def render_diff(
    found: ResultDiff, names: tuple[str, str], results: tuple[MeasureResult, MeasureResult]
) -> RenderableType:
    """Return what changed for people.

    Args:
        names: What the user calls the results.
    """
    found = cleaned(found)
    sides = Table.grid(padding=(0, 2))
    for letter, name, result in zip("AB", names, map(cleaned, results), strict=True):
        measured = f", measured {result.measured_at}" if result.measured_at else ""
        cpu = result.hardware.cpu or "unknown CPU"
        told = f"{name}: target {result.target}, {cpu}{measured}"
        sides.add_row(Text(letter, style="bold"), Text(told))
    winner = found.winner
    changed = winner.before != winner.after
    won = f"winner: {_pair(winner.before or 'none', winner.after or 'none')}"
    facts = plain_table("DIFFERS", "A", "B", wrapped=["A", "B"])
    others = [*found.facts, *found.settings]
    for fact in others:
        add_row(facts, fact.what, fact.before or NOT_MEASURED, fact.after or NOT_MEASURED)
    parts: list[RenderableType] = [sides, Text(won, style="bold yellow" if changed else "bold")]
    parts += [facts] if others else []
    return Group(*parts, _forms(found.forms, words_of(objective_of(results[1])).heading))


def _forms(forms: Sequence[FormDiff], heading: str) -> Table:
    gates = [gate.gate for gate in forms[0].gates] if forms else []
    rows = plain_table("VARIANT", "STATE", f"{heading} A", f"{heading} B", "CHANGE", *gates, "MiB")
    for form in forms:
        speedup = form.speedup
        add_row(
            rows,
            form.name,
            _pair(form.before_state or NOT_MEASURED, form.after_state or NOT_MEASURED),
            _ratio(speedup.before, speedup.before_interval),
            _ratio(speedup.after, speedup.after_interval),
            Text(IN_WORDS[speedup.outcome], style=_STYLES.get(speedup.outcome, "")),
            *(_gate(gate) for gate in form.gates),
            _pair(_mebibytes(form.before_bytes), _mebibytes(form.after_bytes)),
        )
    return rows


def _gate(gate: GateChange) -> Text:
    before = f"{gate.before}{' MISSED' if gate.before_passed is False else ''}"
    after = f"{gate.after}{' MISSED' if gate.after_passed is False else ''}"
    style = "yellow" if gate.before_passed != gate.after_passed else ""
    return Text(_pair(before, after), style=style)


def _pair(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"


def _ratio(value: float | None, interval: Sequence[float] | None) -> str:
    return NOT_MEASURED if value is None else ratio_in_words(value, interval, digits=2)


def _mebibytes(size: int | None) -> str:
    return NOT_MEASURED if size is None else f"{size / 2**20:.2f}"
