"""The units of work of a resource, one Job each, and their deterministic names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mopt_api.plan import (
    DEFAULT_TARGET,
    Credentials,
    MeasurePlan,
    PreparePlan,
    Stage,
    measure_plan,
    prepare_plan,
)
from mopt_api.spec import ModelOptimizationSpec, Output, Resources, Target

from .observing import Resource
from .settings import DEFAULT_PROFILE, Profile, Settings

MAX_NAME = 63  # of a Job: its Pods carry it as a label value
_NAME_PART = 38
_DIGITS = 10


@dataclass(frozen=True)
class Work:
    """What one Job does and where, before it has a name.

    Attributes:
        target: Name of the target; empty for the prepare stage.
        node_selector: The profile's, with the target's on top.
        secrets: Name of the Secret behind each role's store credentials.
        deadline_seconds: Longest run of one Pod.
        retries: Of the Job, after a fault that a retry may cure.
    """

    plan: PreparePlan | MeasurePlan
    target: str
    profile: Profile
    node_selector: Mapping[str, str]
    resources: Resources
    secrets: Mapping[Credentials, str]
    deadline_seconds: int
    retries: int

    @property
    def stage(self) -> Stage:
        return self.plan.stage

    @property
    def prepared(self) -> str | None:
        """Return the digest that a measurement starts from."""
        return self.plan.prepared if isinstance(self.plan, MeasurePlan) else None

    def plan_json(self) -> str:
        """Return what MOPT_PLAN holds: the same bytes for the same plan."""
        return json.dumps(self.plan.to_api(), sort_keys=True, separators=(",", ":"))


def targets_of(spec: ModelOptimizationSpec) -> list[Target]:
    """Return the targets asked for; one named default where none is named."""
    return spec.targets or [Target(name=DEFAULT_TARGET)]


def _secrets(spec: ModelOptimizationSpec, output: Output, stage: Stage) -> dict[Credentials, str]:
    """Return the Secret of each role that a stage needs; the output's is the default."""
    fallback = output.credentials_secret_ref
    named = {Credentials.MODEL: spec.model.credentials_secret_ref}
    data, role = (
        (spec.data.calibration, Credentials.CALIBRATION)
        if stage is Stage.PREPARE
        else (spec.data.evaluation, Credentials.EVALUATION)
    )
    if data is not None:
        named[role] = data.credentials_secret_ref
    named[Credentials.OUTPUT] = fallback
    return {role: chosen.name for role, ref in named.items() if (chosen := ref or fallback)}


def prepare_work(spec: ModelOptimizationSpec, output: Output, settings: Settings) -> Work:
    """Return the preparation of a resource."""
    profile = settings.profiles[DEFAULT_PROFILE]
    return Work(
        plan=prepare_plan(spec, output.uri),
        target="",
        profile=profile,
        node_selector=profile.node_selector,
        resources=profile.resources,
        secrets=_secrets(spec, output, Stage.PREPARE),
        deadline_seconds=spec.execution.active_deadline_seconds,
        retries=spec.execution.backoff_limit,
    )


def measure_work(
    spec: ModelOptimizationSpec,
    output: Output,
    settings: Settings,
    *,
    target: Target,
    prepared: str,
) -> Work:
    """Return the measurement on one target.

    Args:
        target: Its profile is one of settings.profiles.
        prepared: Digest of the preparation's manifest.
    """
    profile = settings.profiles[target.profile or DEFAULT_PROFILE]
    return Work(
        plan=measure_plan(spec, target=target.name, prepared=prepared, output_uri=output.uri),
        target=target.name,
        profile=profile,
        node_selector={**profile.node_selector, **target.node_selector},
        resources=target.resources or profile.resources,
        secrets=_secrets(spec, output, Stage.MEASURE),
        deadline_seconds=spec.execution.active_deadline_seconds,
        retries=spec.execution.backoff_limit,
    )


def _identity(work: Work, resource: Resource, settings: Settings, attempt: int) -> dict[str, Any]:
    """Return all that makes a Job another Job."""
    return {
        "uid": resource.uid,
        "stage": work.stage,
        "target": work.target,
        "plan": work.plan_json(),
        "profile": work.profile.to_api(),
        "nodeSelector": dict(work.node_selector),
        "resources": work.resources.to_api(),
        "secrets": dict(work.secrets),
        "deadline": work.deadline_seconds,
        "retries": work.retries,
        "requestedAt": resource.requested_at,
        "image": settings.optimizer_image,
        "attempt": attempt,
    }


def job_name(work: Work, resource: Resource, settings: Settings, *, attempt: int = 0) -> str:
    """Return the name of the Job: a DNS label of at most 63 characters.

    The same work of the same resource has the same name, so that creating it twice is refused
    by the API server.

    Args:
        attempt: 0, or one more for each Job whose result was lost before it was recorded.
    """
    identity = json.dumps(_identity(work, resource, settings, attempt), sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_DIGITS]
    name = resource.name.replace(".", "-")[:_NAME_PART].rstrip("-")
    room = MAX_NAME - len(name) - _DIGITS - 2
    part = (work.target or work.stage.lower())[:room].rstrip("-")
    return f"{name}-{part}-{digest}"
