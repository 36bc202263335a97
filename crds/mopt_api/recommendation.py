"""Which target to serve on, with how many replicas, and what it costs. Pure.

Of each target its winner is considered. All are compared by the objective; a price is that of one
replica, a Pod of the target's profile, for an hour, in the one currency of all profiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .base import Count, Name, ObservedModel, PerSecond
from .constraints import Figures, Miss, keeps
from .enums import ObjectiveMetric
from .figures import Latency, Serving
from .load import LoadScenario
from .objective import Objective

RATES = (10.0, 100.0, 1000.0)
"""Requests per second that status answers for: a service for a team, a product, and a large one.
`mopt recommend --rate` answers for any other."""
UTILIZATION = 0.7
"""How much of a throughput that was measured without a latency bound is planned with. Requests
come at random: at 70 % they wait on average for little more than one computation (M/D/1)."""
_PER_HOUR = 3600
_MILLION = 1e6

Amount = Annotated[float, Field(ge=0, le=1e15)]


class Basis(StrEnum):
    """What a figure rests on."""

    MEASURED = "Measured"
    """Under load, on this target."""
    EXTRAPOLATED = "Extrapolated"
    """Predicted from at least two CPU limits that were measured under load."""
    ESTIMATED = "Estimated"
    """From one call after the other, or from one CPU limit alone."""


class Replicas(ObservedModel):
    """What serves a rate."""

    rate: PerSecond = Field(description="Requests per second, of one sample each.")
    replicas: Count = Field(description="Pods that serve them.")
    cost_per_day: Amount | None = Field(default=None, description="Of them all, for 24 hours.")
    kilowatt_hours_per_day: Amount | None = Field(
        default=None, description="Of them all, where the profile has wattsIdle and wattsBusy."
    )


class Considered(ObservedModel):
    """A target's winner as it would be served."""

    target: Name = Field(description="The target's name.")
    variant: str = Field(max_length=40, description="Its winner; baseline for the source model.")
    serving: Serving = Field(description="Copies, threads of each, and samples in a call.")
    throughput: PerSecond = Field(description="Samples per second of one replica.")
    latency_ms: Latency | None = Field(
        default=None, description="Under load at that throughput; else of one call after the other."
    )
    cost_per_million: Amount | None = Field(
        default=None, description="Of a million samples, by the profile's pricePerHour."
    )
    price_per_hour: Amount | None = Field(default=None, description="Of one replica.")
    cpus: float | None = Field(default=None, ge=0, le=1e6, description="CPU limit of one replica.")
    watts_idle: Amount | None = Field(default=None, description="Of one replica without work.")
    watts_busy: Amount | None = Field(default=None, description="Of one replica always at work.")
    basis: str = Field(max_length=16, description="Measured, Extrapolated or Estimated.")
    message: str | None = Field(
        default=None, max_length=256, description="Why it cannot be recommended."
    )


class Recommendation(ObservedModel):
    """Which target to serve on, and how. Without a target, message says why there is none."""

    target: Name | None = Field(default=None, description="The target's name.")
    variant: str | None = Field(
        default=None, max_length=40, description="Its winner; targets[].artifact names the file."
    )
    uri: str | None = Field(
        default=None, max_length=1200, description="Location of the file, s3://BUCKET/KEY."
    )
    serving: Serving | None = Field(
        default=None, description="Copies, threads of each, and samples in a call."
    )
    throughput: PerSecond | None = Field(
        default=None, description="Samples per second of one replica."
    )
    latency_ms: Latency | None = Field(
        default=None, description="Under load at that throughput; else of one call after the other."
    )
    cost_per_million: Amount | None = Field(
        default=None, description="Of a million samples, by the profile's pricePerHour."
    )
    basis: str | None = Field(
        default=None, max_length=16, description="Measured, Extrapolated or Estimated."
    )
    replicas_for: list[Replicas] = Field(
        default=[],
        max_length=8,
        description="Replicas for some rates.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    message: str | None = Field(
        default=None, max_length=1024, description="Why nothing is recommended."
    )
    considered: list[Considered] = Field(
        default=[],
        max_length=8,
        description="Every target's winner, in the order of targets.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["target"],
        },
    )


@dataclass(frozen=True)
class Watts:
    """Power of one replica: without work, and at its throughput."""

    idle: float
    busy: float


@dataclass(frozen=True)
class Terms:
    """What the administrator says of a target's profile; None where nothing is said.

    Attributes:
        price: Of one replica for an hour.
        cpus: CPU limit of one replica.
    """

    price: float | None = None
    cpus: float | None = None
    watts: Watts | None = None


@dataclass(frozen=True)
class Offer:
    """A way to serve: one target's winner, on the profile's terms.

    Attributes:
        single: How it was served where nothing was measured under load.
    """

    target: str
    variant: str
    figures: Figures
    single: Serving
    terms: Terms = Terms()
    basis: Basis | None = None

    @property
    def serving(self) -> Serving:
        return self.figures.load.serving if self.figures.load else self.single

    @property
    def throughput(self) -> float:
        return self.figures.best_throughput or 0.0

    @property
    def capacity(self) -> float:
        """Requests per second that a replica is planned with."""
        load = self.figures.load
        bounded = load is not None and load.scenario == LoadScenario.SERVER
        return self.throughput * (1.0 if bounded else UTILIZATION)

    @property
    def latency(self) -> Latency | None:
        return self.figures.load.latency_ms if self.figures.load else self.figures.latency_ms

    @property
    def cost_per_million(self) -> float | None:
        return cost_per_million(self.terms.price, self.throughput)

    @property
    def rests_on(self) -> Basis:
        if self.basis is not None:
            return self.basis
        return Basis.MEASURED if self.figures.load else Basis.ESTIMATED


def cost_per_million(price: float | None, throughput: float | None) -> float | None:
    """Return what a million samples cost a replica that is always busy.

    Args:
        price: Of one replica for an hour.
        throughput: Samples per second.
    """
    if price is None or not throughput:
        return None
    return price / _PER_HOUR / throughput * _MILLION


def replicas_for(offer: Offer, rate: float) -> Replicas:
    """Return what serves a rate, at least one replica.

    Args:
        rate: Requests per second.
    """
    # A quotient such as 3.0000000000000004 is 3 replicas.
    count = max(1, math.ceil(round(rate / offer.capacity, 9)))
    terms, watts = offer.terms, offer.terms.watts
    power = None
    if watts is not None:
        busy = min(rate / (count * offer.throughput), 1.0)
        power = count * (watts.idle + busy * (watts.busy - watts.idle)) * 24 / 1000
    cost = None if terms.price is None else count * terms.price * 24
    return Replicas(
        rate=rate, replicas=count, cost_per_day=_shown(cost), kilowatt_hours_per_day=_shown(power)
    )


def objection(offer: Offer, objective: Objective) -> str | None:
    """Return why an offer cannot be recommended, or None."""
    if offer.throughput <= 0:
        return "its throughput was not measured"
    cost = offer.cost_per_million
    for constraint in objective.constraints:
        if constraint.metric is not ObjectiveMetric.COST_PER_MILLION:
            continue
        if cost is None:
            return "CostPerMillion is bounded, and its profile has no pricePerHour"
        if not keeps(constraint, cost):
            return str(Miss(constraint, cost))
    if _cost(offer, objective.metric) is None:
        return f"its {objective.metric} is not known"
    return None


def _cost(offer: Offer, metric: ObjectiveMetric) -> float | None:
    if metric is ObjectiveMetric.COST_PER_MILLION:
        return offer.cost_per_million
    return offer.figures.cost(metric)


def best(offers: Sequence[Offer], objective: Objective) -> Offer | None:
    """Return the best offer by the objective; None where none can be recommended.

    Of equally good ones it is the cheaper, then the first.
    """

    def rank(offer: Offer) -> tuple[float, float]:
        price, cost = offer.cost_per_million, _cost(offer, objective.metric)
        return math.inf if cost is None else cost, math.inf if price is None else price

    able = [offer for offer in offers if objection(offer, objective) is None]
    return min(able, key=rank, default=None)


def recommend(
    offers: Sequence[Offer], objective: Objective, *, rates: Sequence[float] = RATES
) -> Recommendation | None:
    """Return what to serve on; None where no target has a winner.

    Args:
        offers: One of each target that has a winner.
        rates: Requests per second to say the number of replicas for.
    """
    if not offers:
        return None
    considered = [_considered(offer, objection(offer, objective)) for offer in offers]
    chosen = best(offers, objective)
    if chosen is None:
        reasons = "; ".join(f"{each.target}: {each.message}" for each in considered)
        message = f"No target can be recommended. {reasons}"[:1024]
        return Recommendation(message=message, considered=considered)
    return Recommendation(
        target=chosen.target,
        variant=chosen.variant,
        serving=chosen.serving,
        throughput=_shown(chosen.throughput),
        latency_ms=chosen.latency,
        cost_per_million=_shown(chosen.cost_per_million),
        basis=chosen.rests_on.value,
        replicas_for=[replicas_for(chosen, rate) for rate in rates],
        considered=considered,
    )


def _considered(offer: Offer, message: str | None) -> Considered:
    return Considered(
        target=offer.target,
        variant=offer.variant,
        serving=offer.serving,
        throughput=_shown(offer.throughput) or 0.0,
        latency_ms=offer.latency,
        cost_per_million=_shown(offer.cost_per_million),
        price_per_hour=offer.terms.price,
        cpus=offer.terms.cpus,
        watts_idle=offer.terms.watts and offer.terms.watts.idle,
        watts_busy=offer.terms.watts and offer.terms.watts.busy,
        basis=offer.rests_on.value,
        message=message and message[:256],
    )


def _shown(value: float | None) -> float | None:
    """Return a figure with four significant digits, as status has it."""
    return None if value is None else float(f"{value:.4g}")
