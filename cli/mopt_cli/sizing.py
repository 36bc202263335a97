"""How many replicas serve a rate, and with which resources: from a resource's status, or from
result.json files. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import Field, ValidationError

from mopt_api.base import ObservedModel
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.objective import Objective
from mopt_api.offers import offers_of, predicted
from mopt_api.recommendation import (
    Considered,
    Offer,
    Recommendation,
    Terms,
    Watts,
    best,
    recommend,
    replicas_for,
)
from mopt_api.spec import QualityGate
from mopt_api.status import Report, TargetStatus
from mopt_api.tradeoffs import Tradeoff, tradeoffs

from ._errors import CliError, ExitCode
from .pod_resources import cpu_quantity, memory_quantity
from .selections import status_of
from .table import target_status


class DeploymentResources(ObservedModel):
    """Of the container that serves; requests equal limits, as in the measurement."""

    cpu: str
    memory: str | None = None


class Autoscaling(ObservedModel):
    """For a HorizontalPodAutoscaler on requests per second of each Pod."""

    min_replicas: int
    max_replicas: int
    requests_per_second: float = Field(description="Target of each Pod, averageValue.")


class Sizing(Recommendation):
    """A recommendation with what a Deployment needs."""

    rate: float | None = None
    replicas: int | None = None
    cost_per_day: float | None = None
    cpus: float | None = None
    resources: DeploymentResources | None = None
    autoscaling: Autoscaling | None = None
    tradeoffs: list[Tradeoff] = Field(
        default=[], description="All forms of all targets, those on the Pareto front first."
    )


@dataclass(frozen=True)
class Prices:
    """Prices of one replica for an hour.

    Attributes:
        every: Of targets without one of their own.
    """

    every: float | None = None
    of_target: Mapping[str, float] | None = None

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Prices:
        """Return the prices in texts of the form PRICE or TARGET=PRICE.

        Raises:
            CliError: A text is no such price.
        """
        every, named = None, {}
        for text in texts:
            target, _, amount = text.rpartition("=")
            try:
                price = float(amount)
            except ValueError:
                price = math.nan
            if not 0 <= price < math.inf:
                raise CliError(
                    f"--price-per-hour {text}: write PRICE or TARGET=PRICE, such as 0.05"
                )
            if target:
                named[target] = price
            else:
                every = price
        return cls(every, named)

    def on(self, terms: Terms, target: str) -> Terms:
        """Return a target's terms with the price that is given here, if one is."""
        price = (self.of_target or {}).get(target, self.every)
        return terms if price is None else replace(terms, price=price)

    def check(self, targets: Sequence[str]) -> None:
        """Refuse prices of targets that are not there.

        Raises:
            CliError
        """
        for name in self.of_target or {}:
            if name not in targets:
                known = ", ".join(targets)
                raise CliError(f"--price-per-hour: no target {name} has a winner; these: {known}")


@dataclass(frozen=True)
class Choice:
    """Ways to serve, and the objective that decides.

    Attributes:
        tradeoffs: All forms of all targets.
    """

    offers: list[Offer]
    objective: Objective
    tradeoffs: list[Tradeoff]

    @classmethod
    def of_resource(cls, raw: Mapping[str, object], prices: Prices) -> Choice:
        """Return the choice among a resource's targets.

        Raises:
            CliError: Its status or objective is none.
        """
        status = status_of(raw)
        spec = raw.get("spec")
        asked = spec if isinstance(spec, Mapping) else {}
        known = status.recommendation.considered if status.recommendation else []
        terms = {each.target: _terms(each) for each in known}
        batches = [each.serving.batch for each in known]
        return cls._of(status.targets, asked, terms, prices, max(batches, default=1))

    @classmethod
    def of_results(cls, results: Sequence[MeasureResult], prices: Prices) -> Choice:
        """Return the choice among results, each of one target, by the objective of the first.

        Raises:
            CliError: Two are of one target.
        """
        names = [result.target for result in results]
        if twice := {name for name in names if names.count(name) > 1}:
            raise CliError(f"two results of target {min(twice)}: give one of each target")
        report = Report(digest="", uri="")
        targets = [target_status(result, report) for result in results]
        return cls._of(targets, results[0].plan or {}, {}, prices, 1)

    @classmethod
    def _of(
        cls,
        targets: Sequence[TargetStatus],
        asked: Mapping[str, object],
        terms: Mapping[str, Terms],
        prices: Prices,
        batch: int,
    ) -> Choice:
        all_terms = {
            t.name: prices.on(terms.get(t.name) or _measured_terms(t), t.name) for t in targets
        }
        offers = offers_of(targets, all_terms, batch=batch)
        prices.check([offer.target for offer in offers])
        by_target = {name: each.price for name, each in all_terms.items()}
        every = tradeoffs(targets, by_target, _first_gate(asked.get("quality")))
        return cls(offers, _objective(asked.get("objective")), every)


def _objective(document: object) -> Objective:
    try:
        return Objective.model_validate(document or {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise CliError(f"the objective cannot be read: {first['msg']}") from error


def _first_gate(gates: object) -> QualityGate | None:
    """Return the first of spec.quality; None without gates, or of a newer version."""
    first = next(iter(gates), None) if isinstance(gates, list) else None
    try:
        return None if first is None else QualityGate.model_validate(first)
    except ValidationError:
        return None


def _measured_terms(target: TargetStatus) -> Terms:
    """Return what stands for a CPU limit without a word of the operator: what threads could use."""
    return Terms(cpus=target.hardware.cpus or float(target.hardware.threads or 0) or None)


def _terms(known: Considered) -> Terms:
    watts = None
    if known.watts_idle is not None and known.watts_busy is not None:
        watts = Watts(known.watts_idle, known.watts_busy)
    return Terms(price=known.price_per_hour, cpus=known.cpus, watts=watts)


def sized(
    choice: Choice, *, rate: float | None = None, cpus: float | None = None, prices: Prices
) -> Sizing:
    """Return what to serve on, how many replicas serve a rate, and with which resources.

    Args:
        rate: Requests per second; None for a few usual ones.
        cpus: A CPU limit to predict, in place of those that were measured.

    Raises:
        CliError: There is nothing to recommend.
    """
    if not choice.offers:
        raise CliError("no target has a winner yet, so there is nothing to size", ExitCode.FAILED)
    offers, objective = choice.offers, choice.objective
    if cpus is not None:
        found = predicted(offers, cpus, price=prices.every)
        if found is None:
            raise CliError("no target's CPU limit is known: nothing to predict from")
        offers, objective = [found], Objective(metric=objective.metric)
        if objective.needs_prices and prices.every is None:
            objective = Objective()
    rates = [] if rate is None else [rate]
    told = recommend(offers, objective, **({"rates": rates} if rates else {}))
    chosen = best(offers, objective)
    if told is None or chosen is None:
        raise CliError((told and told.message) or "nothing to recommend", ExitCode.NO_WINNER)
    sizing = Sizing.model_validate(told.model_dump())
    changed: dict[str, object] = {
        # A limit that is predicted has not been measured with every form.
        "tradeoffs": choice.tradeoffs if cpus is None else [],
        "cpus": chosen.terms.cpus,
        "resources": _resources(chosen),
    }
    if rate is not None:
        needed = replicas_for(chosen, rate)
        changed |= {
            "rate": rate,
            "replicas": needed.replicas,
            "cost_per_day": needed.cost_per_day,
            "autoscaling": Autoscaling(
                min_replicas=needed.replicas,
                max_replicas=2 * needed.replicas,
                requests_per_second=float(f"{chosen.capacity:.3g}"),
            ),
        }
    return sizing.model_copy(update=changed)


def _resources(offer: Offer) -> DeploymentResources:
    serving = offer.serving
    return DeploymentResources(
        cpu=cpu_quantity(offer.terms.cpus or serving.instances * serving.threads),
        memory=memory_quantity(offer.figures.peak_memory_bytes, serving.instances),
    )
