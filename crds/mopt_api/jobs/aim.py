"""What a second search for layers that stay FP32 aims at: gates, raised by what was missed."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from mopt_api.base import ApiModel
from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.figures import MOST_AIM_DECIBELS
from mopt_api.noise import minimum_with_margin, signed
from mopt_api.spec import QualityGate


class GateAim(ApiModel):
    """A gate that a form missed on evaluation data, and how far above it to aim.

    output and slice are names, as those of a gate's part.
    """

    metric: QualityMetric
    aggregate: Aggregate
    output: str | None = None
    slice: str | None = None
    decibels: int = Field(ge=1, le=MOST_AIM_DECIBELS, description="Less noise than is allowed.")

    @classmethod
    def of(cls, gate: QualityGate, decibels: int) -> GateAim:
        """Return the aim above a gate."""
        output, part = gate.part
        return cls(
            metric=gate.metric,
            aggregate=gate.aggregate,
            output=output,
            slice=part,
            decibels=decibels,
        )

    def is_of(self, gate: QualityGate) -> bool:
        """Return whether it is of this gate: no two have the same metric, aggregate and part."""
        mine = (self.metric, self.aggregate, self.output, self.slice)
        return mine == (gate.metric, gate.aggregate, *gate.part)


def aim_of(gate: QualityGate, aims: Sequence[GateAim]) -> int | None:
    """Return by how many dB to aim above a gate; None for no more than the gate."""
    return next((aim.decibels for aim in aims if aim.is_of(gate)), None)


def raised(gates: Sequence[QualityGate], aims: Sequence[GateAim]) -> list[QualityGate]:
    """Return the gates, those with an aim as strict as that."""
    return [_raised(gate, aim_of(gate, aims) or 0) for gate in gates]


def _raised(gate: QualityGate, decibels: int) -> QualityGate:
    if not decibels:
        return gate
    bound = signed(gate.metric, minimum_with_margin(gate, decibels))
    return gate.model_copy(update={"minimum" if gate.maximum is None else "maximum": bound})
