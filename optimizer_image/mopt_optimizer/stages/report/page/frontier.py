"""What another gate would cost, and what it would bring: the fastest form at each quality. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mopt_api.figures import VariantReason, VariantState
from mopt_api.jobs.gates import judged_result, judged_value
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.metrics import METRICS, metric_in_words
from mopt_api.spec import QualityGate

from . import figures

_NONE = "no form but the baseline is left"


@dataclass(frozen=True)
class Form:
    """A form that would be within all gates if this one were looser.

    Attributes:
        speedup: Times the baseline, in the objective's metric.
        closeness: What the gate judges, larger for what is closer to the reference.
        quality: The same as text.
        passes: Whether it is within the gate as it is.
    """

    name: str
    speedup: float
    closeness: float
    quality: str
    passes: bool


def forms(result: MeasureResult, gate: QualityGate, others: Iterable[QualityGate]) -> list[Form]:
    """Return the forms that miss no gate but, maybe, this one.

    Args:
        others: The other gates.
    """
    beside = [other for other in others if other is not gate]
    found = [_form(variant, gate) for variant in result.variants if _is_eligible(variant, beside)]
    return [form for form in found if form is not None]


def _is_eligible(variant: VariantResult, gates: Iterable[QualityGate]) -> bool:
    if variant.state is VariantState.PASSED:
        return True
    missed = variant.state, variant.reason
    return missed == (VariantState.REJECTED, VariantReason.QUALITY_GATE) and all(
        (value := judged_value(gate, variant.quality)) is not None and gate.passes(value)
        for gate in gates
    )


def _form(variant: VariantResult, gate: QualityGate) -> Form | None:
    value, judged = judged_value(gate, variant.quality), judged_result(gate, variant.quality)
    if variant.speedup is None or value is None or judged is None:
        return None
    return Form(
        name=variant.name,
        speedup=variant.speedup,
        closeness=value if METRICS[gate.metric].higher_is_better else -value,
        quality=metric_in_words(gate.metric, value, exact=judged.exact),
        passes=variant.state is VariantState.PASSED,
    )


def frontier(found: Iterable[Form]) -> list[Form]:
    """Return the fastest form at each quality: the fastest first, each next one closer."""
    steps: list[Form] = []
    for form in sorted(found, key=lambda form: (-form.speedup, -form.closeness)):
        if not steps or form.closeness > steps[-1].closeness:
            steps.append(form)
    return steps


def prices(found: Sequence[Form], selected: str | None) -> list[str]:
    """Return what a stricter gate would cost, and what a looser one would bring, in words."""
    passing = [form for form in found if form.passes]
    chosen = next((form for form in passing if form.name == selected), None)
    now = chosen.speedup if chosen else 1.0
    said = []
    if chosen is not None:
        closer = [form for form in frontier(passing) if form.closeness > chosen.closeness]
        left = f"{closer[0].name} is the fastest, {_speed(closer[0], now)}" if closer else _NONE
        said.append(f"A gate that {chosen.quality} misses: {left}.")
    looser = [form for form in frontier(found) if not form.passes and form.speedup > now]
    if looser:
        # The closest of them asks least of the gate.
        one = looser[-1]
        said.append(f"A gate that {one.quality} passes: {one.name} is let in, {_speed(one, now)}.")
    return said


def _speed(form: Form, now: float) -> str:
    return f"{figures.ratio(form.speedup)} instead of {figures.ratio(now)}, with {form.quality}"
