"""The work items of a resource, one Job each, and their deterministic names. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from mopt_api.auto.int8 import CpuClass
from mopt_api.devices import DeviceClaims
from mopt_api.enums import TargetKind
from mopt_api.figures import SourceInfo
from mopt_api.jobs.plan import (
    DEFAULT_TARGET,
    Credentials,
    JobPlan,
    MeasurePlan,
    ReportPlan,
    Stage,
    measure_plan,
    objective_point,
    prepare_plan,
)
from mopt_api.jobs.second_search import Aims
from mopt_api.jobs.stored_plans import report_plan, verify_plan
from mopt_api.spec import ModelOptimizationSpec, Output, Resources, Target
from mopt_api.stores import claim_of
from mopt_operator.config.job_pods import JobPods
from mopt_operator.config.quantities import target_resources
from mopt_operator.config.settings import DEFAULT_PROFILE, Profile, Settings
from mopt_operator.objects import Json, Resource

from .secrets import SecretFile, stage_anonymous, stage_claims, stage_files, stage_secrets
from .traces import JobTrace

MAX_NAME = 63  # of a Job: its Pods carry it as a label value
_NAME_PART = 38
_DIGITS = 10
# A report Job reads one JSON file and writes another.
_REPORT_RESOURCES = Resources(
    requests={"cpu": "100m", "memory": "256Mi"}, limits={"cpu": "1", "memory": "1Gi"}
)
# Jobs for one piece of work whose results got lost before they were recorded.
MAX_ATTEMPTS = 4
_DEFAULT_PODS = JobPods()
_AGAIN = "second search"
_ANY_DIGEST = f"sha256:{'0' * 64}"


@dataclass(frozen=True)
class WorkItem:
    """What one Job does and where, before it has a name.

    Attributes:
        target: Name of the target; empty for the preparation of all.
        node_selector: The target's and the profile's, which no target replaces.
        secrets: Name of the Secret behind each role's store credentials.
        deadline_seconds: Longest time that one Pod may run.
        retries: How often the Job is tried again after a fault that may pass.
        queue: Kueue's LocalQueue; None for none.
        source: The model file, where the preparation has described it. No part of the Job's
            identity: it sizes resources that nobody gave, and outlives the preparation's Pod.
        measured_by: Optimizer image behind the figures of a report Job.
        served: Whether the target's Job had been served those figures from the store.
        basis: Tells the Job from those of another run, or of a second search: of a report, what
            those figures depend on; of a verification, which one was before it.
        files: Secrets that it reads as files.
        claims: PersistentVolumeClaims that are mounted, read-only but for the output's.
        anonymous: Roles whose keys it does not get: it reads without.
        trace: Where its Job's spans belong. No part of the Job's identity.
    """

    plan: JobPlan
    target: str
    profile_name: str
    profile: Profile
    node_selector: Mapping[str, str]
    resources: Resources
    secrets: Mapping[Credentials, str]
    deadline_seconds: int
    retries: int
    queue: str | None = None
    source: SourceInfo | None = None
    measured_by: str | None = None
    served: bool = False
    basis: str = ""
    files: tuple[SecretFile, ...] = ()
    claims: tuple[str, ...] = ()
    anonymous: tuple[Credentials, ...] = ()
    trace: JobTrace | None = None

    @property
    def stage(self) -> Stage:
        return self.plan.stage

    @property
    def prepared(self) -> str | None:
        """Return the digest that a measurement starts from."""
        return self.plan.prepared if isinstance(self.plan, MeasurePlan) else None

    @property
    def result(self) -> str | None:
        """Return the digest of the result.json that a report starts from."""
        return self.plan.result if isinstance(self.plan, ReportPlan) else None

    @property
    def devices(self) -> DeviceClaims:
        """Return what its Pod claims beside its resources: where those are not the profile's,
        nothing."""
        return [] if self.stage in (Stage.PUBLISH, Stage.REPORT) else self.profile.resource_claims

    @property
    def written_claim(self) -> str | None:
        """Return the claim that it writes to; publishing reads the output alone."""
        return None if self.stage is Stage.PUBLISH else claim_of(self.plan.output_uri)

    def plan_json(self) -> str:
        """Return what MOPT_PLAN holds, but the trace: the same bytes for the same plan."""
        return json.dumps(self.plan.to_api(), sort_keys=True, separators=(",", ":"))

    def traced_plan_json(self) -> str:
        """Return what MOPT_PLAN holds."""
        if self.trace is None:
            return self.plan_json()
        header = self.trace.context.header
        return replace(self, plan=self.plan.model_copy(update={"traceparent": header})).plan_json()


def targets_of(spec: ModelOptimizationSpec) -> list[Target]:
    """Return the targets asked for; one named default where none is named."""
    return spec.targets or [Target(name=DEFAULT_TARGET)]


def profile_of(target: Target, settings: Settings) -> Profile:
    """Return a target's profile, which is one of the settings'."""
    return settings.profiles[target.profile or DEFAULT_PROFILE]


def _measure_plan(
    spec: ModelOptimizationSpec, output: Output, target: Target, profile: Profile, prepared: str
) -> MeasurePlan:
    return measure_plan(
        spec,
        target=target.name,
        prepared=prepared,
        output_uri=output.uri,
        kind=profile.kind,
        compute_capabilities=profile.compute_capabilities,
    )


def _node_selector(profile: Profile, target: Target) -> dict[str, str]:
    """Return the labels that a target's node must have; the administrator's word is the last."""
    return {**target.node_selector, **profile.node_selector}


def prepare_work(
    spec: ModelOptimizationSpec,
    output: Output,
    settings: Settings,
    *,
    target: Target | None = None,
    aims: Aims | None = None,
) -> WorkItem:
    """Return the preparation of a resource, for all of its targets; of a second search, for one.

    Args:
        aims: Of a second search.
    """
    profile = settings.profiles[DEFAULT_PROFILE]
    targets = [target] if target else targets_of(spec)
    kinds = {profile_of(t, settings).kind for t in targets}
    elsewhere = [t for t in targets if t.profile not in (None, DEFAULT_PROFILE) or t.node_selector]
    # Nobody knows the CPUs of other nodes before they measure.
    unknown = any(profile_of(t, settings).kind is TargetKind.CPU for t in elsewhere)
    classes = list(CpuClass) if unknown else None
    return WorkItem(
        plan=prepare_plan(spec, output.uri, kinds=kinds, aims=aims, cpu_classes=classes),
        target=target.name if target else "",
        profile_name=DEFAULT_PROFILE,
        profile=profile,
        node_selector=profile.node_selector,
        resources=profile.resources,
        secrets=stage_secrets(spec, output, Stage.PREPARE),
        claims=stage_claims(spec, output, Stage.PREPARE),
        files=stage_files(spec),
        anonymous=stage_anonymous(spec, Stage.PREPARE),
        deadline_seconds=spec.execution.active_deadline_seconds,
        retries=spec.execution.backoff_limit,
        queue=spec.execution.queue_name,
    )


def measure_work(
    spec: ModelOptimizationSpec,
    output: Output,
    settings: Settings,
    *,
    target: Target,
    prepared: str,
    again: bool = False,
    source: SourceInfo | None = None,
) -> WorkItem:
    """Return the measurement on one target.

    Args:
        target: Its profile is one of settings.profiles.
        prepared: Digest of the preparation's manifest.
        again: It follows a second search.
        source: See WorkItem.
    """
    profile = profile_of(target, settings)
    return WorkItem(
        plan=_measure_plan(spec, output, target, profile, prepared),
        target=target.name,
        profile_name=target.profile or DEFAULT_PROFILE,
        profile=profile,
        node_selector=_node_selector(profile, target),
        resources=target_resources(target.resources, profile.resources),
        secrets=stage_secrets(spec, output, Stage.MEASURE),
        claims=stage_claims(spec, output, Stage.MEASURE),
        files=stage_files(spec),
        anonymous=stage_anonymous(spec, Stage.MEASURE),
        deadline_seconds=spec.execution.active_deadline_seconds,
        retries=spec.execution.backoff_limit,
        queue=target.queue_name or spec.execution.queue_name,
        source=source,
        basis=_AGAIN if again else "",
    )


def report_work(
    spec: ModelOptimizationSpec,
    output: Output,
    settings: Settings,
    *,
    target: Target,
    result: str,
    measured_by: str | None,
    served: bool,
    basis: str,
) -> WorkItem:
    """Return the selection among the figures of a measurement in the store.

    Args:
        result: Digest of the measurement's result.json.
        measured_by, served: See WorkItem.
        basis: See measurement_key.
    """
    profile = settings.profiles[DEFAULT_PROFILE]
    return WorkItem(
        plan=report_plan(spec, target=target.name, result=result, output_uri=output.uri),
        target=target.name,
        profile_name=DEFAULT_PROFILE,
        profile=profile,
        node_selector=profile.node_selector,
        resources=_REPORT_RESOURCES,
        secrets=stage_secrets(spec, output, Stage.REPORT),
        claims=stage_claims(spec, output, Stage.REPORT),
        deadline_seconds=spec.execution.active_deadline_seconds,
        retries=spec.execution.backoff_limit,
        queue=spec.execution.queue_name,
        measured_by=measured_by,
        served=served,
        basis=basis,
    )


def verify_work(
    spec: ModelOptimizationSpec,
    output: Output,
    settings: Settings,
    *,
    target: Target,
    result: str,
    forms: Sequence[str],
    basis: str,
) -> WorkItem:
    """Return the verification of a target's result, where and as it is measured.

    Args:
        target: Its profile is one of settings.profiles.
        result: Digest of its result.json.
        forms: Variants, the best first.
        basis: See WorkItem.
    """
    # The preparation matters to the plan alone, which takes it from the result.
    measured = measure_work(spec, output, settings, target=target, prepared=_ANY_DIGEST)
    plan = verify_plan(spec, target=target.name, result=result, forms=forms, output_uri=output.uri)
    return replace(measured, plan=plan, basis=basis)


def measurement_key(
    spec: ModelOptimizationSpec,
    output: Output,
    settings: Settings,
    resource: Resource,
    *,
    target: Target,
) -> str:
    """Return what a target's figures depend on, in 16 hex digits.

    Gates and objective are not among it, since they judge the same figures, except the gates that
    shape INT8 variants, and of the objective what figures under load were searched for. Neither is
    the optimizer image: older figures stay until the
    administrator has them measured again.
    """
    profile = profile_of(target, settings)
    measured = _measure_plan(spec, output, target, profile, _ANY_DIGEST).to_api()
    for judging in ("prepared", "quality", "objective"):
        del measured[judging]
    if spec.benchmark.load is not None and profile.kind is not TargetKind.BUILD_ONLY:
        measured["underLoad"] = _load_identity(spec)
    # The variants of other targets do not matter to this one.
    prepared = prepare_plan(spec, output.uri, kinds=(profile.kind,)).to_api()
    identity = {
        "calibration": prepared.get("calibration"),
        "shapedBy": prepared["quality"],
        "measure": measured,
        "nodeSelector": _node_selector(profile, target),
        "nodeAffinity": [requirement.to_api() for requirement in profile.node_affinity],
        "runtimeClassName": profile.runtime_class_name,
        "resources": target_resources(target.resources, profile.resources).to_api(),
        "requestedAt": resource.requested_at,
    }
    if claims := profile.resource_claims:
        identity["resourceClaims"] = [claim.to_api() for claim in claims]
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _load_identity(spec: ModelOptimizationSpec) -> Json:
    """Return what of the objective figures under load depend on: the point that is loaded, and
    the bounds that the highest rate was found for."""
    bounds = spec.objective.latency_bounds
    return {
        "point": objective_point(spec.objective, spec.benchmark),
        "bounds": sorted([bound.metric.value, bound.limit] for bound in bounds),
    }


def judging_key(spec: ModelOptimizationSpec) -> str:
    """Return what selects among a target's figures, in 16 hex digits: gates and objective."""
    gates = [gate.to_api() for gate in spec.quality]
    text = json.dumps([gates, spec.objective.to_api()], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _identity(work: WorkItem, resource: Resource, settings: Settings) -> Json:
    """Return all that makes a Job another Job, but the attempt."""
    # What is empty, or as it always was, is left out: Jobs keep the names that they had.
    extra: Json = {"files": [astuple(file) for file in work.files]} if work.files else {}
    if work.claims:
        extra["claims"] = list(work.claims)
    if work.anonymous:
        extra["anonymous"] = list(work.anonymous)
    if settings.jobs != _DEFAULT_PODS:
        extra["pods"] = settings.jobs.to_api()
    return extra | {
        "uid": resource.uid,
        "stage": work.stage,
        "target": work.target,
        "plan": work.plan_json(),
        "profile": work.profile.identity(),
        "nodeSelector": dict(work.node_selector),
        "resources": work.resources.to_api(),
        "secrets": dict(work.secrets),
        "deadline": work.deadline_seconds,
        "retries": work.retries,
        "queue": work.queue,
        "basis": work.basis,
        "requestedAt": resource.requested_at,
        "image": settings.image_of(work.profile),
    }


def job_names(work: WorkItem, resource: Resource, settings: Settings) -> tuple[str, ...]:
    """Return the names of the Jobs of all attempts; see job_namer."""
    return tuple(map(job_namer(work, resource, settings), range(MAX_ATTEMPTS)))


def job_namer(work: WorkItem, resource: Resource, settings: Settings) -> Callable[[int], str]:
    """Return what names the Job of an attempt: a DNS label of at most 63 characters.

    The same work of the same resource has the same name, so that creating it twice is refused
    by the API server. The attempt is 0, or one more for each Job whose result was lost before it
    was recorded; of publishing, for each that failed.
    """
    # The rest of the text is the same for all attempts; "attempt" is the first of the sorted keys.
    identity = json.dumps(_identity(work, resource, settings), sort_keys=True)[1:]
    name = resource.name.replace(".", "-")[:_NAME_PART].rstrip("-")
    room = MAX_NAME - len(name) - _DIGITS - 2
    part = (work.target or work.stage.lower())[:room].rstrip("-")

    def named(attempt: int) -> str:
        text = f'{{"attempt": {attempt}, {identity}'
        return f"{name}-{part}-{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}"

    return named
