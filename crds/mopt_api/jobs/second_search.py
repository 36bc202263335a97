"""Whether a form's layers are searched once more, by what evaluation data showed. Pure.

The search for layers that stay FP32 sees calibration data alone. Where its form misses a gate on
evaluation data all the same, and would win by its speed, a second search aims as much higher as the
first fell short. There is no third: the evaluation data is then no longer unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mopt_api.constraints import Shown, missed_by
from mopt_api.figures import QualityResult, VariantReason, VariantState
from mopt_api.noise import margin_of, signed
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate

from .aim import GateAim
from .gates import judged_value
from .plan import searched_gates

SHARE_OF_EACH = 0.5
"""What each of two searches may take of a budget; where the first took more, there is no second."""

Aims = dict[str, list[GateAim]]
"""What to aim at, by the variant's name."""


class Measured(Shown, Protocol):
    """A measured variant: of a termination message or of status."""

    @property
    def state(self) -> str: ...

    @property
    def reason(self) -> str | None: ...

    @property
    def speedup(self) -> float | None: ...

    @property
    def quality(self) -> list[QualityResult]: ...

    @property
    def aim_decibels(self) -> int | None: ...

    @property
    def aimed_by(self) -> str | None: ...


def second_aims(
    variants: Sequence[Measured],
    selected: str | None,
    *,
    gates: Sequence[QualityGate],
    objective: Objective,
    under_load: bool = False,
) -> Aims:
    """Return what a second search is to aim at; empty where there is none to be made.

    One is made for a variant that a gate alone keeps from being selected: of those that pass, none
    is as good. A target whose variants were aimed before gets no other.

    Args:
        variants: Of one target, measured and judged.
        selected: The target's winner; None, or baseline, where no variant won.
        gates, objective: That they were judged by.
        under_load: Whether benchmark.load asks for figures under load. What misses a constraint
            too is not kept from winning by a gate alone.
    """
    if any(variant.aimed_by for variant in variants):
        return {}
    barred = missed_by(variants, objective.constraints, under_load=under_load)
    standing = next((v.speedup or 0.0 for v in variants if v.name == selected), 1.0)
    return {
        variant.name: [GateAim.of(gate, variant.aim_decibels) for gate in missed]
        for variant in variants
        if variant.aim_decibels
        and variant.name not in barred
        and _would_win(variant, max(standing, 1.0), objective)
        and (missed := missed_gates(variant.quality, gates))
    }


class Judged(Protocol):
    """A variant as gates and constraints judged it."""

    @property
    def state(self) -> str: ...

    @property
    def reason(self) -> str | None: ...


def is_rejected_by_gate(variant: Judged) -> bool:
    """Return whether a variant misses a gate, and nothing else is wrong with it."""
    return (variant.state, variant.reason) == (VariantState.REJECTED, VariantReason.QUALITY_GATE)


def missed_gates(
    quality: Sequence[QualityResult], gates: Sequence[QualityGate]
) -> list[QualityGate]:
    """Return the gates that a rejected variant's quality misses, among those that a search can aim
    at. Status rounds figures: where all of them seem to hold, it is the one that hardly does."""
    margins = [
        (margin_of(signed(gate.metric, value), gate), gate)
        for gate in searched_gates(gates)
        if (value := judged_value(gate, quality)) is not None
    ]
    least = min((margin for margin, _ in margins), default=0.0)
    return [gate for margin, gate in margins if margin < 0 or margin == least]


def _would_win(variant: Measured, standing: float, objective: Objective) -> bool:
    speedup = variant.speedup
    return (
        is_rejected_by_gate(variant)
        and speedup is not None
        and speedup > standing
        and speedup >= objective.minimum_speedup
    )
