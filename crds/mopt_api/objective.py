"""spec.objective: the figure that decides, and the bounds that a winner must keep."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from .base import ApiModel, Name, Rule, int_or_string
from .enums import ObjectiveMetric, OnNoWinner
from .quantities import DURATION_PATTERN, QUANTITY_PATTERN, amount, milliseconds

LATENCIES = (
    ObjectiveMetric.LATENCY_P50,
    ObjectiveMetric.LATENCY_P90,
    ObjectiveMetric.LATENCY_P99,
)
# A duration or a quantity.
_BOUND_PATTERN = rf"{DURATION_PATTERN}|{QUANTITY_PATTERN}"
Bound = Annotated[
    Annotated[int, Field(strict=True, ge=0)]
    | Annotated[str, Field(max_length=32, pattern=_BOUND_PATTERN)],
    Field(json_schema_extra=int_or_string(minimum=0, maxLength=32, pattern=_BOUND_PATTERN)),
]


class Constraint(ApiModel):
    """A bound that a winner keeps, whatever the objective's metric."""

    metric: ObjectiveMetric = Field(description="Figure that is bounded.")
    maximum: Bound | None = Field(
        default=None,
        description="Largest value: of latencies a time such as 50ms, of SizeBytes and PeakMemory "
        "a quantity such as 2Gi, of CostPerMillion a price such as 0.35.",
    )
    minimum: Bound | None = Field(
        default=None, description="Smallest value, of Throughput alone: samples per second."
    )

    RULES = (
        Rule(
            "has(self.maximum) != has(self.minimum) && "
            "has(self.minimum) == (self.metric == 'Throughput')",
            "Throughput takes minimum, every other metric maximum",
            lambda c: (
                (c.maximum is None) != (c.minimum is None)
                and (c.minimum is not None) == (c.metric is ObjectiveMetric.THROUGHPUT)
            ),
        ),
        Rule(
            "!(self.metric in ["
            + ", ".join(f"'{metric}'" for metric in LATENCIES)
            + "]) || !has(self.maximum) || (type(self.maximum) == string && "
            f"string(self.maximum).matches('{DURATION_PATTERN}'))",
            "a latency is bounded by a time with its unit, such as 50ms",
            lambda c: (
                c.metric not in LATENCIES
                or c.maximum is None
                or re.search(DURATION_PATTERN, str(c.maximum)) is not None
            ),
        ),
        Rule(
            "self.metric in ["
            + ", ".join(f"'{metric}'" for metric in LATENCIES)
            + "] || ("
            + " && ".join(
                f"(!has(self.{side}) || type(self.{side}) == int || "
                f"!string(self.{side}).matches('{DURATION_PATTERN}'))"
                for side in ("maximum", "minimum")
            )
            + ")",
            "only latencies are bounded by a time",
            lambda c: (
                c.metric in LATENCIES
                or not any(
                    re.search(DURATION_PATTERN, str(bound)) for bound in (c.maximum, c.minimum)
                )
            ),
        ),
    )

    @property
    def limit(self) -> float:
        """The bound as a number: milliseconds, bytes, samples per second or a price."""
        bound = self.maximum if self.minimum is None else self.minimum
        text = str(bound or 0)
        return float(milliseconds(text) if self.metric in LATENCIES else amount(text))


class Objective(ApiModel):
    """How the winner is chosen, and what it must reach."""

    metric: ObjectiveMetric = Field(
        default=ObjectiveMetric.LATENCY_P50, description="Figure to compare."
    )
    point: Name | None = Field(
        default=None, description="Benchmark point to compare at. Omitted, the first."
    )
    minimum_speedup: float = Field(
        default=1.0,
        ge=1.0,
        le=1000,
        description="Ratio to the baseline, in the objective's metric, that a winner must reach.",
    )
    # No default in the schema: the API server would put it into every resource, also into those
    # that an older operator reads, which does not know the field.
    constraints: list[Constraint] = Field(
        default_factory=list,
        max_length=8,
        description="Bounds that a winner must keep. With benchmark.load latencies and throughput "
        "are those under load.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["metric"],
        },
    )
    on_no_winner: OnNoWinner = Field(
        default=OnNoWinner.KEEP_BASELINE,
        description="KeepBaseline: Ready with the baseline selected. Fail: Stalled.",
    )

    @model_serializer(mode="wrap")
    def _as_without(self, serialized: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out an empty list: keys and names of Jobs are digests of this form, and those of
        objectives without constraints are older than the field."""
        written: dict[str, object] = serialized(self)
        if not self.constraints:
            written.pop("constraints", None)
        return written

    @property
    def latency_bounds(self) -> list[Constraint]:
        """The constraints on latencies."""
        return [entry for entry in self.constraints if entry.metric in LATENCIES]

    @property
    def needs_prices(self) -> bool:
        """Whether it can only be judged where the profiles have prices."""
        metrics = [self.metric, *(entry.metric for entry in self.constraints)]
        return ObjectiveMetric.COST_PER_MILLION in metrics

    def bound(self, metrics: Collection[ObjectiveMetric]) -> Constraint | None:
        """Return the tightest constraint on any of these metrics of one unit, or None."""
        found = [entry for entry in self.constraints if entry.metric in metrics]
        return min(found, key=lambda entry: entry.limit, default=None)
