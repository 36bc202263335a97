"""How the forms of a target stand to gates and constraints, and why each lost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mopt_api.constraints import bound_text, keeps, shown_figures, value_text
from mopt_api.enums import ObjectiveMetric
from mopt_api.figures import QualityResult, VariantState
from mopt_api.jobs.gates import gate_name, judged_result, judged_value
from mopt_api.jobs.measure_result import BASELINE
from mopt_api.metrics import bound_in_words, metric_in_words
from mopt_api.objective import Objective
from mopt_api.objective_words import words_of
from mopt_api.spec import QualityGate
from mopt_api.status import TargetStatus, VariantStatus
from mopt_api.text import one_line
from mopt_api.verdict import TIE

_GATES = TypeAdapter(list[QualityGate])
NOT_MEASURED = "-"


@dataclass(frozen=True)
class Judged:
    """A form's value for one bound.

    Attributes:
        text: The value for people; - where there is none.
        passed: None where there is no value, or a price decides.
    """

    text: str
    passed: bool | None = None


@dataclass(frozen=True)
class Bounds:
    """What a spec asks of a winner.

    Attributes:
        under_load: Constraints are about figures under load.
        known: False where the spec is one of a newer version: nothing else is told then.
    """

    gates: Sequence[QualityGate] = ()
    objective: Objective = field(default_factory=Objective)
    under_load: bool = False
    known: bool = True

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Bounds:
        """Return those of a spec."""
        try:
            gates = _GATES.validate_python(spec.get("quality") or [])
            objective = Objective.model_validate(spec.get("objective") or {})
        except ValidationError:
            return cls(known=False)
        return cls(gates, objective, bool((spec.get("benchmark") or {}).get("load")))

    @property
    def names(self) -> list[str]:
        """Each bound for people: worst PSNR ≥ 40 dB."""
        constraints = [bound_text(each) for each in self.objective.constraints]
        return [one_line(text) for text in (*map(gate_text, self.gates), *constraints)]

    def judge(self, form: VariantStatus) -> list[Judged]:
        """Return how a form stands to each, in the order of names."""
        gates = [judge_gate(gate, form.quality) for gate in self.gates]
        figures, found = shown_figures(form), []
        for each in self.objective.constraints:
            if each.metric is ObjectiveMetric.COST_PER_MILLION:
                found.append(Judged("judged across targets"))
                continue
            value = figures.bounded(each.metric, under_load=self.under_load)
            if value is None:
                found.append(Judged(NOT_MEASURED))
            else:
                found.append(Judged(value_text(each.metric, value), keeps(each, value)))
        return [*gates, *found]


def gate_text(gate: QualityGate) -> str:
    """Return a gate for people: worst PSNR ≥ 40 dB."""
    sign, limit = ("≥", gate.minimum) if gate.maximum is None else ("≤", gate.maximum)
    bound = bound_in_words(gate.metric, limit or 0.0)
    return f"{gate.aggregate.lower()} {gate_name(gate)} {sign} {bound}"


def judge_gate(gate: QualityGate, quality: Sequence[QualityResult]) -> Judged:
    """Return how a form's quality stands to a gate."""
    value, found = judged_value(gate, quality), judged_result(gate, quality)
    if value is None or found is None:
        return Judged(NOT_MEASURED)
    shown = metric_in_words(gate.metric, value, exact=found.exact)
    where = f" in {found.part}" if found.part else ""
    return Judged(one_line(f"{shown}{where}"), gate.passes(value))


def why(form: VariantStatus, target: TargetStatus, objective: Objective) -> str:
    """Return why a form is selected, or why it is not, in one line."""
    if form.name == target.selected:
        kept = form.name == BASELINE
        return "kept: nothing within the bounds is certainly better" if kept else "selected"
    if form.state != VariantState.PASSED:
        return one_line(": ".join(filter(None, (form.state, form.reason, form.message))))
    if form.name == BASELINE:
        return "the source model: the others are measured against it"
    verdict, winner = target.verdict, target.selected
    if verdict is not None and form.name in verdict.ties:
        return f"as good as {winner} within {TIE:.0%}, which comes first in a tie"
    if verdict is not None and form.name in verdict.undecided:
        return f"whether it is better than {winner} is undecided"
    if form.speedup is None:
        return "what the objective compares was not measured"
    if form.speedup < objective.minimum_speedup:
        return f"below minimumSpeedup {objective.minimum_speedup:g}"
    return _ahead(target, objective)


def _ahead(target: TargetStatus, objective: Objective) -> str:
    """Return what the winner has that a form which passed has not."""
    winner, words = target.winner, words_of(objective.metric)
    if winner is None or winner.name == BASELINE or winner.speedup is None:
        return "not certainly better than the baseline"
    better = words.better(
        winner.speedup, "the baseline", digits=2, interval=winner.speedup_interval
    )
    return one_line(f"{winner.name} is better: {better}")
