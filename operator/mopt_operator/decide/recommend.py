"""What status recommends to serve on, from its figures and the profiles' prices. Pure.

No Job knows a price, so another one makes another recommendation and measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from mopt_api.benchmark import Benchmark
from mopt_api.inputs import DimensionRange
from mopt_api.jobs.plan import objective_point
from mopt_api.objective import Objective
from mopt_api.offers import offers_of
from mopt_api.quantities import amount
from mopt_api.recommendation import Recommendation, Terms, Watts, recommend
from mopt_api.spec import Target
from mopt_api.status import ModelOptimizationStatus, TargetStatus
from mopt_operator.config.quantities import completed, target_resources
from mopt_operator.config.settings import DEFAULT_PROFILE, Profile, Settings
from mopt_operator.objects import Json, Resource

_TARGETS = TypeAdapter(list[Target])
_DIMENSIONS = TypeAdapter(dict[str, DimensionRange])
_BATCH = "batch"


def recommendation(
    resource: Resource,
    targets: Sequence[TargetStatus],
    before: ModelOptimizationStatus,
    settings: Settings,
    *,
    running: bool = False,
) -> Recommendation | None:
    """Return what to serve on; None where nobody asked: without figures under load and prices.

    Of the spec only what is needed is read: this is asked of every settled resource.

    Args:
        targets: As status is going to show them.
        before: Status as it is: where this version cannot read the spec, its word stays.
        running: Targets are being measured: as what is served, it stays until they are.
    """
    if running:
        return before.recommendation
    profiles = {name: settings.profiles.get(name) for name in _profiles(resource.spec)}
    priced = any(profile and profile.price_per_hour is not None for profile in profiles.values())
    loaded = any(target.winner and target.winner.load for target in targets)
    if not (priced or loaded):
        return None
    try:
        objective = Objective.model_validate(resource.spec.get("objective") or {})
        asked = {t.name: t for t in _TARGETS.validate_python(resource.spec.get("targets") or [])}
        batch = _batch(resource.spec, objective)
    except ValidationError:
        return before.recommendation
    terms = {
        target.name: _terms(asked.get(target.name) or Target(name=target.name), settings)
        for target in targets
    }
    found = recommend(offers_of(targets, terms, batch=batch), objective)
    artifacts = {target.name: target.artifact for target in targets}
    artifact = artifacts.get(found.target) if found and found.target else None
    return found and found.model_copy(update={"uri": artifact and artifact.uri})


def _profiles(spec: Json) -> set[str]:
    """Return the names of the profiles of a spec's targets, which need not be valid."""
    asked = spec.get("targets")
    named = [t for t in asked if isinstance(t, dict)] if isinstance(asked, list) else []
    return {str(t.get("profile") or DEFAULT_PROFILE) for t in named} or {DEFAULT_PROFILE}


def _terms(target: Target, settings: Settings) -> Terms:
    profile = settings.profiles.get(target.profile or DEFAULT_PROFILE)
    if profile is None:
        return Terms()
    price = profile.price_per_hour
    limits = completed(target_resources(target.resources, profile.resources), None).limits
    return Terms(
        price=None if price is None else float(amount(price)),
        cpus=float(amount(limits["cpu"])) if "cpu" in limits else None,
        watts=_watts(profile),
    )


def _watts(profile: Profile) -> Watts | None:
    if profile.watts_idle is None or profile.watts_busy is None:
        return None
    return Watts(profile.watts_idle, profile.watts_busy)


def _batch(spec: Json, objective: Objective) -> int:
    """Return the samples of a call at the objective's point.

    Raises:
        ValidationError
    """
    benchmark = Benchmark.model_validate(spec.get("benchmark") or {})
    dimensions = _DIMENSIONS.validate_python(spec.get("dimensions") or {})
    name = objective_point(objective, benchmark)
    sizes = next((p.dimensions for p in benchmark.points if p.name == name), {})
    return sizes.get(_BATCH) or (dimensions[_BATCH].opt if _BATCH in dimensions else 1)
