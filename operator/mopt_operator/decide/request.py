"""What a resource asks for, with the administrator's defaults filled in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from mopt_api.reasons import Reason
from mopt_api.spec import ModelOptimizationSpec, Output, Target
from mopt_api.status import ConditionType, ModelOptimizationStatus
from mopt_operator.config.offers import withheld
from mopt_operator.config.quantities import target_fault
from mopt_operator.config.settings import DEFAULT_PROFILE, Profile, Settings
from mopt_operator.objects import Json, Resource

from .conditions import is_true
from .work import targets_of

# What a target's entry is without its figures.
_ESSENTIAL = ("name", "artifact", "hardware", "report")
_PUBLISHED = (*_ESSENTIAL, "published")


class InvalidRequest(ValueError):
    """The resource asks for something that cannot be carried out.

    Attributes:
        by_namespace: The labels of its namespace are why.
    """

    by_namespace = False


class NoProfile(InvalidRequest):
    """A profile cannot be used: a matter of the administrator's, who may change it any time."""


class WithheldProfile(NoProfile):
    """A profile is not for the namespace."""

    by_namespace = True


@dataclass(frozen=True)
class Request:
    """A valid resource."""

    spec: ModelOptimizationSpec
    output: Output
    targets: tuple[Target, ...]


def read_request(resource: Resource, settings: Settings) -> Request:
    """Return what a resource asks for.

    Raises:
        InvalidRequest: A field is wrong; the message names it.
    """
    try:
        spec = ModelOptimizationSpec.model_validate(resource.spec)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in ("spec", *first["loc"]))
        raise InvalidRequest(f"{field}: {first['msg'].removeprefix('Value error, ')}") from error
    output = spec.output or settings.output_in(resource.namespace)
    if output is None:
        raise InvalidRequest("spec.output is missing, and the administrator set no defaultOutput")
    targets = targets_of(spec)
    for target in targets:
        profile = _profile_of(target, settings)
        if spec.objective.needs_prices and profile.is_unpriced:
            raise InvalidRequest(
                f"spec.objective: CostPerMillion needs prices, and profile "
                f"{target.profile or DEFAULT_PROFILE} of target {target.name} has no pricePerHour "
                "(Helm values, profiles)"
            )
        if fault := _target_fault(target, profile):
            raise InvalidRequest(f"spec.targets: {target.name}: {fault}")
    if DEFAULT_PROFILE not in settings.profiles:
        raise NoProfile(f"Models are prepared on {_unusable(DEFAULT_PROFILE, settings)}")
    return Request(spec, output, tuple(targets))


def _profile_of(target: Target, settings: Settings) -> Profile:
    name = target.profile or DEFAULT_PROFILE
    if name in settings.profiles:
        return settings.profiles[name]
    raise NoProfile(f"spec.targets: {target.name} names {_unusable(name, settings)}")


def _unusable(name: str, settings: Settings) -> str:
    if refusal := settings.refusal_of(name):
        return f"profile {name}, which is not valid: {refusal}"
    return f"profile {name}; available profiles: {', '.join(sorted(settings.profiles)) or 'none'}"


def refuse_withheld(request: Request, settings: Settings, labels: Mapping[str, str] | None) -> None:
    """Make sure that all profiles of a request are for its namespace.

    Args:
        labels: The namespace's; None where they are not known.

    Raises:
        WithheldProfile: One is not.
    """
    wanted = {target.profile or DEFAULT_PROFILE: target.name for target in request.targets}
    for name, target in ({DEFAULT_PROFILE: ""} | wanted).items():
        if withheld(settings.profiles[name], labels):
            where = f"spec.targets: {target} names" if target else "Models are prepared on"
            raise WithheldProfile(
                f"{where} profile {name}, which is not for this namespace (its namespaceSelector)"
            )


def _target_fault(target: Target, profile: Profile) -> str | None:
    """Return what a target may not ask of its profile, its field first; None for nothing."""
    for label, value in target.node_selector.items():
        if (given := profile.node_selector.get(label, value)) != value:
            return (
                f"nodeSelector.{label}: the administrator's profile says {given!r}; leave it out, "
                "or name another profile"
            )
    if target.resources and (fault := target_fault(target.resources, profile.resources)):
        return f"resources.{fault}"
    return None


class Reading(NamedTuple):
    """A status as this version understands it.

    Attributes:
        complete: Nothing is left out. Otherwise a newer version wrote it, and whatever is written
            in its place may lose what that version knew.
    """

    status: ModelOptimizationStatus
    complete: bool


def read_status(resource: Resource) -> Reading:
    """Return the status, without the fields and items that another version wrote differently."""
    try:
        return Reading(ModelOptimizationStatus.model_validate(resource.status), complete=True)
    except ValidationError:
        found: Json = {}
        for field, value in resource.status.items():
            kept = value
            if isinstance(value, list):
                items = (_readable(field, item) for item in value)
                kept = [item for item in items if item is not None]
            if _fits({field: kept}):
                found[field] = kept
        return Reading(ModelOptimizationStatus.model_validate(found), complete=False)


def _readable(field: str, item: object) -> object:
    """Return a list's item, or what is needed of a target to serve its artifact; else None."""
    if _fits({field: [item]}):
        return item
    if field != "targets" or not isinstance(item, dict):
        return None
    known = ({k: item[k] for k in keys if k in item} for keys in (_PUBLISHED, _ESSENTIAL))
    return next((essential for essential in known if _fits({field: [essential]})), None)


def _fits(status: Json) -> bool:
    try:
        ModelOptimizationStatus.model_validate(status)
    except ValidationError:
        return False
    return True


def is_suspended(resource: Resource) -> bool:
    """Tell whether the user wants no Jobs now; the spec need not be valid."""
    execution = resource.spec.get("execution")
    return isinstance(execution, dict) and execution.get("suspend") is True


def speaks_of_this_run(status: ModelOptimizationStatus, resource: Resource) -> bool:
    """Tell whether a status is about the current spec and the current request to run again."""
    return (
        status.observed_generation == resource.generation
        and status.last_handled_reconcile_at == resource.requested_at
    )


def is_refusal(status: ModelOptimizationStatus) -> bool:
    """Tell whether the operator or the API server refused the request.

    A refusal has no progress. It is judged anew each time, since the administrator's settings may
    have changed, and the rest of status is from an earlier run.
    """
    if _was_suspended(status):
        return False
    return is_true(status, ConditionType.STALLED) and status.progress is None


def _was_suspended(status: ModelOptimizationStatus) -> bool:
    """Tell whether status speaks of a run that may not go on, and is not over."""
    return any(
        c.type == ConditionType.READY and c.reason == Reason.SUSPENDED for c in status.conditions
    )


def is_settled(status: ModelOptimizationStatus, resource: Resource) -> bool:
    """Tell whether the run is over and recorded, so that it needs no Job any more."""
    if not speaks_of_this_run(status, resource) or is_true(status, ConditionType.RECONCILING):
        return False
    if _was_suspended(status):
        return False
    if is_true(status, ConditionType.READY):
        return True
    if status.progress is not None and status.progress.waiting_since is not None:
        return False  # Stalled by what it waits for: it goes on once that is there.
    return is_true(status, ConditionType.STALLED) and not is_refusal(status)
