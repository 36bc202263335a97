"""The manifests of the Jobs: restricted Pods without Kubernetes credentials. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mopt_api.base import API_VERSION, KIND
from mopt_api.enums import StoreCredentials
from mopt_api.jobs.anonymous import CREDENTIALS_KEY
from mopt_api.jobs.plan import (
    DEADLINE_VARIABLE,
    GENERATION_VARIABLE,
    PLAN_VARIABLE,
    RESOURCE_VARIABLE,
    MeasurePlan,
    Stage,
    VerifyPlan,
)
from mopt_api.labels import (
    CONTAINER,
    LABEL_NAME,
    LABEL_PROFILE,
    LABEL_STAGE,
    LABEL_TARGET,
    LABEL_UID,
)
from mopt_api.placement import NodeRequirement
from mopt_api.quantities import amount
from mopt_api.reasons import PERMANENT_EXIT_CODES
from mopt_api.sandbox import SANDBOX_VARIABLE, SCRATCH_VARIABLE
from mopt_api.stores import CLAIMS_FOLDER, CLAIMS_VARIABLE, credential_keys
from mopt_operator.config.quantities import completed
from mopt_operator.config.settings import Settings
from mopt_operator.objects import (
    ANNOTATION_ATTEMPT,
    ANNOTATION_GENERATION,
    ANNOTATION_MEASURED_BY,
    ANNOTATION_PREPARED,
    ANNOTATION_RESULT,
    ANNOTATION_SERVED,
    ANNOTATION_SOURCE,
    ANNOTATION_TRACEPARENT,
    LABEL_MANAGED_BY,
    LABEL_QUEUE,
    LABEL_QUEUE_PRIORITY,
    MANAGED_BY,
    Json,
    Resource,
)

from .traces import job_trace
from .volumes import identity_variables, mounts, ownership, volumes
from .work import WorkItem, job_namer

Manifest = Json

MAX_AVOIDED_NODES = 100
# Exit status of a container that SIGKILL ended: the kernel's way where memory runs out.
KILLED = 137
# The Job controller sets it on its Pods.
LABEL_JOB_UID = "batch.kubernetes.io/controller-uid"
CACHE = "/tmp/cache"  # noqa: S108 - the Pod's own volume


def _variable(name: str, value: str) -> Manifest:
    # The kubelet puts other variables in place of $(NAME), and $ in place of $$.
    return {"name": name, "value": value.replace("$", "$$")}


def _from_field_ref(name: str, path: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _environment(work: WorkItem, resource: Resource, settings: Settings) -> list[Manifest]:
    """Return the container's variables: the administrator's, the plan, writable folders, the
    stores' credentials.

    The administrator's come first: they can refer to none of the others, and replace none.
    """
    variables = [
        *(variable.to_api() for variable in settings.jobs.extra_env),
        _variable(PLAN_VARIABLE, work.traced_plan_json()),
        _variable("MOPT_REQUESTED_AT", resource.requested_at or ""),
        _variable(RESOURCE_VARIABLE, f"{resource.namespace}/{resource.name}"),
        _variable(GENERATION_VARIABLE, str(resource.generation)),
        # The kubelet ends the Pod then without a word, and the Job controller makes another.
        _variable(DEADLINE_VARIABLE, str(work.deadline_seconds)),
        _variable(SANDBOX_VARIABLE, settings.sandbox),
        _variable(SCRATCH_VARIABLE, str(int(amount(work.profile.scratch_size)))),
        _from_field_ref("MOPT_NODE_NAME", "spec.nodeName"),
        # Shared by the Pods of one Job: each records here what it was doing, for the next one.
        _from_field_ref("MOPT_JOB_UID", f"metadata.labels['{LABEL_JOB_UID}']"),
        # The user has no entry in /etc/passwd and the root is read-only: without these, torch
        # and others fail at import.
        _variable("HOME", "/tmp"),  # noqa: S108
        _variable("TMPDIR", "/tmp"),  # noqa: S108
        _variable("USER", MANAGED_BY),
        _variable("XDG_CACHE_HOME", CACHE),
        _variable("TORCH_HOME", f"{CACHE}/torch"),
        _variable("TORCHINDUCTOR_CACHE_DIR", f"{CACHE}/torchinductor"),
    ]
    if told := identity_variables(work, settings):
        variables += [_variable(name, value) for name, value in told.items()]
    if work.claims:
        variables.append(_variable(CLAIMS_VARIABLE, CLAIMS_FOLDER))
    variables += [
        _variable(role.variable(CREDENTIALS_KEY), StoreCredentials.ANONYMOUS)
        for role in work.anonymous
    ]
    for role, secret in work.secrets.items():
        for key, required in credential_keys(anonymous=role in work.anonymous).items():
            reference = {"name": secret, "key": key, "optional": not required}
            variables.append({"name": role.variable(key), "valueFrom": {"secretKeyRef": reference}})
    return [*variables, *(work.trace.variables if work.trace else ())]


def _resources(work: WorkItem) -> Manifest:
    """Return what the target or its profile asks for, or else what the model needs."""
    size = work.source.size_bytes if work.source else None
    claims = [claim.in_container for claim in work.devices]
    return completed(work.resources, size).to_api() | ({"claims": claims} if claims else {})


def _container(work: WorkItem, resource: Resource, settings: Settings) -> Manifest:
    return {
        "name": CONTAINER,
        "image": settings.image_of(work.profile),
        "imagePullPolicy": settings.image_pull_policy,
        "args": [work.stage.lower()],
        "env": _environment(work, resource, settings),
        "resources": _resources(work),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(work, settings),
    }


def _pod_spec(
    work: WorkItem, resource: Resource, settings: Settings, busy: Sequence[str]
) -> Manifest:
    profile = work.profile
    spec: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # On the Pod: a deadline of the Job would count the time that it waits for a node.
        "activeDeadlineSeconds": work.deadline_seconds,
        "securityContext": settings.jobs.pod_security_context.to_api()
        | ownership(work, settings)
        | {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(work, resource, settings)],
        "volumes": volumes(work, settings),
    }
    optional: Manifest = {
        "nodeSelector": dict(work.node_selector),
        "tolerations": [toleration.to_api() for toleration in profile.tolerations],
        "imagePullSecrets": [secret.to_api() for secret in settings.image_pull_secrets],
        "serviceAccountName": profile.service_account_name,
        "runtimeClassName": profile.runtime_class_name,
        "priorityClassName": profile.priority_class_name,
        "resourceClaims": [claim.in_pod for claim in work.devices],
    }
    spec |= {key: value for key, value in optional.items() if value}
    affinity = _required_nodes(profile.node_affinity)
    if isinstance(work.plan, MeasurePlan | VerifyPlan):
        affinity |= _other_nodes(busy)
    if affinity:
        spec["affinity"] = {"nodeAffinity": affinity}
    return spec


def _required_nodes(requirements: list[NodeRequirement]) -> Manifest:
    if not requirements:
        return {}
    expressions = [requirement.to_api() for requirement in requirements]
    terms = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": terms}


def _other_nodes(busy: Sequence[str]) -> Manifest:
    """Return the wish to be put on none of some nodes.

    A wish: a rule would make an autoscaler add a node for each measurement that waits, and anti-
    affinity beyond the namespace is what quotas forbid and what any Pod's labels can fulfil.
    """
    if not busy:
        return {}
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in busy]
    wish = {"weight": 100, "preference": {"matchFields": fields}}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}


def build_job(
    work: WorkItem,
    resource: Resource,
    settings: Settings,
    *,
    attempt: int = 0,
    busy: Sequence[str] = (),
) -> Manifest:
    """Return the manifest of the Job that does a work item.

    Args:
        attempt: See job_names.
        busy: Nodes on which something is measured, which a measurement avoids; at most
            MAX_AVOIDED_NODES.
    """
    name = job_namer(work, resource, settings)(attempt)
    work = replace(work, trace=job_trace(name, work.profile_name, resource, settings))
    labels = _labels(work, resource)
    # Kueue's webhook suspends a Job with this label until its queue has room; on the Pods it
    # would make Kueue count them a second time.
    queued = _queue_labels(work)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": resource.namespace,
            "labels": labels | queued,
            "annotations": _annotations(work, resource, attempt),
            "ownerReferences": [_owner(resource)],
        },
        "spec": {
            "backoffLimit": work.retries,
            "podFailurePolicy": {"rules": _failure_rules(work.stage)},
            "template": {
                "metadata": _pod_metadata(work, labels),
                "spec": _pod_spec(work, resource, settings, busy),
            },
        },
    }


def _pod_metadata(work: WorkItem, labels: dict[str, str]) -> Manifest:
    metadata: Manifest = {"labels": work.profile.pod_labels | labels}
    if annotations := work.profile.pod_annotations:
        metadata["annotations"] = annotations
    return metadata


def _queue_labels(work: WorkItem) -> dict[str, str]:
    if not work.queue:
        return {}
    priority = work.profile.queue_priority_class_name
    return {LABEL_QUEUE: work.queue} | ({LABEL_QUEUE_PRIORITY: priority} if priority else {})


def _labels(work: WorkItem, resource: Resource) -> dict[str, str]:
    labels = {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_NAME: resource.name,
        LABEL_UID: resource.uid,
        LABEL_STAGE: work.stage.lower(),
        LABEL_PROFILE: work.profile_name,
    }
    if work.target:
        labels[LABEL_TARGET] = work.target
    return labels


def _annotations(work: WorkItem, resource: Resource, attempt: int) -> dict[str, str]:
    source = work.source.model_dump_json(by_alias=True, exclude_none=True) if work.source else None
    optional = {
        ANNOTATION_PREPARED: work.prepared,
        ANNOTATION_RESULT: work.result,
        ANNOTATION_MEASURED_BY: work.measured_by,
        ANNOTATION_SERVED: "true" if work.served else None,
        ANNOTATION_SOURCE: source,
        ANNOTATION_ATTEMPT: str(attempt) if work.stage is Stage.PUBLISH else None,
        ANNOTATION_TRACEPARENT: work.trace.context.header if work.trace else None,
    }
    annotations = {ANNOTATION_GENERATION: str(resource.generation)}
    return annotations | {key: value for key, value in optional.items() if value}


def _owner(resource: Resource) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": resource.name,
        "uid": resource.uid,
        "controller": True,
        # True would need a permission on the resource's finalizers.
        "blockOwnerDeletion": False,
    }


def _failure_rules(stage: Stage) -> list[Manifest]:
    """Return which ends of a Pod count: evictions do not, and some faults are final at once.

    A measurement whose container was killed goes on without the variant that was at work; of
    everything else the next Pod would be killed too. The first rule that fits counts.
    """
    measures = stage in (Stage.MEASURE, Stage.VERIFY)
    final = PERMANENT_EXIT_CODES if measures else [*PERMANENT_EXIT_CODES, KILLED]
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": CONTAINER,
                "operator": "In",
                "values": final,
            },
        },
    ]
