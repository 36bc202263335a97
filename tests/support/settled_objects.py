"""Many settled resources with the Jobs and Pods that their ttl still keeps, as an API server lists.

One resource is carried to Ready by the real decisions; the others are it under other names. Their
objects are made when they are asked for, so that ten thousand of them take no memory.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from job_messages import digest, measured, prepare_message
from operator_world import AUTO, World, manifest

from mopt_api.figures import Hardware
from mopt_api.jobs.plan import Stage
from mopt_api.jobs.termination import MeasureSummary, encode
from mopt_operator.config.settings import Settings

Json = dict[str, Any]

NAMESPACE = "team"
IMAGE = "mopt/optimizer:test"
# Stands for the resource's number, in names, UIDs and versions.
_NUMBER = "zqzqzq"
_DIGITS = len(_NUMBER)


@dataclass(frozen=True)
class Template:
    """One object of each resource; `whole` and `metadata` as the lists hold them."""

    whole: bytes
    metadata: bytes

    def of(self, number: int, *, whole: bool) -> bytes:
        """Return the object of the resource of this number."""
        text = self.whole if whole else self.metadata
        return text.replace(_NUMBER.encode(), f"{number:0{_DIGITS}}".encode())


def resource_name(number: int) -> str:
    return f"settled-{number:0{_DIGITS}}"


def templates() -> dict[str, list[Template]]:
    """Return what belongs to a settled resource, by plural."""
    world = World(Settings(optimizer_image=IMAGE), manifest(resource_name(0)))
    world.raw["metadata"]["name"] = f"settled-{_NUMBER}"
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), prepare_message())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "default"), _measured_message())
    world.settle()
    objects = {
        "modeloptimizations": [world.raw],
        "jobs": list(world.jobs.values()),
        "pods": [_as_run(pod, world) for pod in world.pods.values()],
    }
    uids = [raw["metadata"]["uid"] for found in objects.values() for raw in found]
    text = json.dumps(objects)
    for place, uid in enumerate(sorted(uids, key=len, reverse=True), 1):
        text = text.replace(f'"{uid}"', f'"{place:08}-0000-4000-8000-{_NUMBER:0>12}"')
    made: dict[str, list[Json]] = json.loads(text)
    place = 0
    for found in made.values():
        for raw in found:
            place += 1
            raw["metadata"] |= {
                "resourceVersion": f"{place}{_NUMBER}",
                "managedFields": _managed_fields(raw),
            }
    return {
        plural: [Template(_encoded(raw), _encoded(_partial(raw))) for raw in found]
        for plural, found in made.items()
    }


def _measured_message() -> str:
    """Return a measurement of all variants, each of which passed."""
    names = [variant.name for variant in AUTO]
    variants = [
        measured(name, str(variant.runtime), str(variant.precision), 1 + place / 7, 40 + place / 3)
        for place, (name, variant) in enumerate(zip(names, AUTO, strict=True))
    ]
    baseline = measured("baseline", "PyTorch", "FP32", 1.0, None)
    untold = {"artifact_digest": None, "artifact_format": None, "size_bytes": None}
    return encode(
        MeasureSummary(
            target="default",
            result=digest("result"),
            point="opt",
            hardware=Hardware(cpu="Test CPU", threads=2, node="node-1"),
            software={"mopt": "0.1.0+000000000000", "openvino": "2026.1"},
            measured_at="2026-11-01T12:00:00Z",
            baseline=baseline.model_copy(update=untold),
            variants=variants,
            selected=names[-1],
        )
    )


def _encoded(raw: Json) -> bytes:
    return json.dumps(raw, separators=(",", ":")).encode()


def _partial(raw: Json) -> Json:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": raw["metadata"],
    }


def _as_run(pod: Json, world: World) -> Json:
    """Return a Pod with what scheduler and kubelet add to it."""
    uid = pod["metadata"]["ownerReferences"][0]["uid"]
    job = next(job for job in world.jobs.values() if job["metadata"]["uid"] == uid)
    spec = copy.deepcopy(job["spec"]["template"]["spec"]) | {"nodeName": "node-1"}
    time = pod["metadata"]["creationTimestamp"]
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": time}
        for kind in kinds
    ]
    addresses = {"hostIP": "10.0.0.1", "podIP": "10.244.0.7", "podIPs": [{"ip": "10.244.0.7"}]}
    status = pod["status"] | {"conditions": conditions, "qosClass": "Burstable", **addresses}
    return pod | {"spec": spec, "status": status}


def _managed_fields(raw: Json) -> list[Json]:
    """Return who owns which fields, as the API server keeps it for each writer."""
    writers = {"kubectl-client-side-apply": "spec", "mopt-operator": "status"}
    return [
        {
            "manager": manager,
            "operation": "Update",
            "apiVersion": "mopt.dev/v1alpha1",
            "time": "2026-11-01T12:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {f"f:{part}": _owned(raw.get(part))},
        }
        for manager, part in writers.items()
    ]


def _owned(value: object) -> Json:
    if not isinstance(value, Mapping):
        return {}
    return {f"f:{key}": _owned(inner) for key, inner in value.items()}
