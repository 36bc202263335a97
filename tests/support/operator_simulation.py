"""An API server, a Job controller and a kubelet in memory, with the faults that clusters have.

The reconciler runs unchanged against it. What it knows comes by watches that may be late, lost or
repeated; it may be killed before or after any write.
"""
# ruff: noqa: ARG002 - the fake takes what the real one takes

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime
from mopt_api.plan import PLAN_ADAPTER, MeasurePlan, PreparePlan, ReportPlan, objective_point
from mopt_api.result import (
    Artifact,
    ArtifactFormat,
    Hardware,
    Latency,
    MeasureResult,
    PointResult,
    QualityResult,
    SourceInfo,
    VariantResult,
    VariantState,
)
from mopt_api.selection import select
from mopt_api.termination import PrepareSummary, encode, summarize_measure
from mopt_operator.cluster.cache import Key, Store
from mopt_operator.config.settings import Settings
from mopt_operator.errors import Conflict, NotFound
from mopt_operator.loop.queue import WorkQueue
from mopt_operator.loop.reconciler import Reconciler
from mopt_operator.objects import Job, Raw, Resource

Json = dict[str, Any]

KEY: Key = ("team", "sr")
START = datetime(2026, 11, 1, 12, tzinfo=UTC)
KINDS = ("modeloptimizations", "jobs", "pods")


class Killed(BaseException):
    """The operator's process ended here."""


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _variant(model: str, name: str, milliseconds: float, psnr: float, size: int) -> VariantResult:
    latency = Latency(p50=milliseconds, p90=milliseconds, p99=2 * milliseconds)
    point = {"runs": 9, "coefficient_of_variation": 0.0, "throughput": 1000 / milliseconds}
    return VariantResult(
        name=name,
        runtime=Runtime.ONNX_RUNTIME,
        precision=Precision.FP32 if name == "baseline" else Precision.INT8,
        state=VariantState.PASSED,
        artifact=Artifact(digest=digest(model + name), size_bytes=size, format=ArtifactFormat.ONNX),
        points=[
            PointResult(point="one", latency_ms=latency, **point),
            PointResult(
                point="four",
                latency_ms=Latency(p50=100 / milliseconds, p90=9.0, p99=9.0),
                **point,
            ),
        ],
        quality=[QualityResult(metric=QualityMetric.PSNR, worst=psnr, mean=psnr)],
    )


def message_of(job: Json, models: dict[str, str]) -> str:
    """Return what a Job's container returns: the same figures, judged by the Job's plan.

    Args:
        models: The store: of which model each result is. A new one is put there.
    """
    (container,) = job["spec"]["template"]["spec"]["containers"]
    text = next(v["value"] for v in container["env"] if v["name"] == "MOPT_PLAN")
    plan = PLAN_ADAPTER.validate_json(text)
    if isinstance(plan, PreparePlan):
        source = SourceInfo(
            sha256=plan.model.sha256, format=ModelFormat.ONNX, size_bytes=1000, opset=18
        )
        return encode(PrepareSummary(result=digest(f"prepared {plan.model.sha256}"), source=source))
    assert isinstance(plan, MeasurePlan | ReportPlan)
    model = models[plan.result] if isinstance(plan, ReportPlan) else plan.model.sha256
    models[digest(text)] = model
    selection = select(
        _variant(model, "baseline", 10.0, 200.0, 1000),
        [
            _variant(model, "quick", 2.0, 35.0, 500),
            _variant(model, "exact", 5.0, 60.0, 900),
        ],
        gates=plan.quality,
        objective=plan.objective,
        benchmark=plan.benchmark,
    )
    result = MeasureResult(
        target=plan.target,
        source=SourceInfo(sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=1000),
        prepared=plan.prepared if isinstance(plan, MeasurePlan) else digest("prepared"),
        hardware=Hardware(cpu="Test CPU"),
        software={},
        baseline=selection.baseline,
        variants=selection.variants,
        selected=selection.selected,
        objective_point=objective_point(plan.objective, plan.benchmark),
    )
    return encode(summarize_measure(result, digest(text)))


class Simulation:
    """A cluster with one resource, and an operator that sees it through watches.

    Attributes:
        made: How often each Job name was created, over the whole life.
    """

    def __init__(self, spec: Json, settings: Settings) -> None:
        self.now = START
        self.skew = timedelta(0)
        self.settings = settings
        self.objects: dict[str, dict[str, Json]] = {kind: {} for kind in KINDS}
        self.waiting: dict[str, list[tuple[str, Json]]] = {kind: [] for kind in KINDS}
        self.made: dict[str, int] = {}
        self.models: dict[str, str] = {}
        self.kill_after: int | None = None
        self._version = 0
        self._uids = 0
        metadata = {"name": KEY[1], "namespace": KEY[0], "generation": 1}
        self._put("modeloptimizations", {"metadata": metadata, "spec": copy.deepcopy(spec)})
        self.resource["status"] = {"observedGeneration": -1}
        self.restart()

    @property
    def resource(self) -> Json:
        return self.objects["modeloptimizations"][KEY[1]]

    def _put(self, kind: str, raw: Json) -> Json:
        """Store an object under a new version and let the watch tell of it."""
        self._version += 1
        raw = copy.deepcopy(raw)
        metadata = raw["metadata"]
        event = "MODIFIED"
        if "uid" not in metadata:
            self._uids += 1
            metadata |= {
                "uid": f"uid-{self._uids}",
                "creationTimestamp": self.now.isoformat(),
            }
            event = "ADDED"
        metadata["resourceVersion"] = str(self._version)
        self.objects[kind][metadata["name"]] = raw
        self.waiting[kind].append((event, copy.deepcopy(raw)))
        return copy.deepcopy(raw)

    def _drop(self, kind: str, name: str) -> None:
        gone = self.objects[kind].pop(name)
        self._version += 1
        gone["metadata"]["resourceVersion"] = str(self._version)
        self.waiting[kind].append(("DELETED", gone))

    # What watches do.

    def deliver(self, kind: str) -> None:
        """Let the watch of a kind bring its oldest event."""
        if self.waiting[kind]:
            self._show(kind, *self.waiting[kind].pop(0))

    def repeat(self, kind: str) -> None:
        """Let the watch bring its oldest event without forgetting it."""
        if self.waiting[kind]:
            self._show(kind, *self.waiting[kind][0])

    def lose(self, kind: str) -> None:
        """Let the watch of a kind miss its oldest event."""
        if self.waiting[kind]:
            self.waiting[kind].pop(0)

    def _show(self, kind: str, event: str, raw: Json) -> None:
        known = self.store.kinds()[kind]
        if event == "DELETED":
            known.remove(raw)
        else:
            known.put(raw)

    # What the operator does.

    def restart(self) -> None:
        """Start an operator: it lists everything, its watches start from there."""
        self.store = Store()
        self.waiting = {kind: [] for kind in KINDS}
        for kind, known in self.store.kinds().items():
            for raw in self.objects[kind].values():
                known.put(copy.deepcopy(raw))
        self._reconciler = Reconciler(
            self,
            self.settings,
            store=self.store,
            queue=WorkQueue(),
            clock=lambda: self.now + self.skew,
        )

    def reconcile(self) -> None:
        """Let the operator look once; killed on the way, it starts anew."""
        try:
            asyncio.run(self._reconciler.reconcile(KEY))
        except Conflict:
            return
        except Killed:
            self.kill_after = None
            self.restart()

    def resync(self) -> None:
        asyncio.run(self._reconciler.resync([]))
        self.waiting = {kind: [] for kind in KINDS}

    def _written(self, step: str) -> None:
        """End the process where the test wants it: before or after a write."""
        if self.kill_after is not None:
            self.kill_after -= 1
            if self.kill_after < 0:
                raise Killed(step)

    # The API server, as the operator calls it.

    async def create_job(self, manifest: Mapping[str, Any]) -> Raw:
        self._written("before a Job")
        name = manifest["metadata"]["name"]
        if name in self.objects["jobs"]:
            raise Conflict(409, "AlreadyExists", name)
        self.made[name] = self.made.get(name, 0) + 1
        made = self._put("jobs", dict(manifest))
        self._written("after a Job")
        return made

    async def read_job(self, namespace: str, name: str) -> Raw:
        if name not in self.objects["jobs"]:
            raise NotFound(404, "NotFound", name)
        return copy.deepcopy(self.objects["jobs"][name])

    async def delete_job(self, job: Job) -> None:
        self._written("before a deletion")
        known = self.objects["jobs"].get(job.name)
        if known is None:
            raise NotFound(404, "NotFound", job.name)
        if known["metadata"]["uid"] != job.uid:
            raise Conflict(409, "Conflict", job.name)
        self._delete(job.name)
        self._written("after a deletion")

    def _delete(self, name: str) -> None:
        for pod in self.pods_from(self.objects["jobs"][name]):
            self._drop("pods", pod["metadata"]["name"])
        self._drop("jobs", name)

    async def expire_job(self, job: Job, seconds: int) -> Raw:
        self._written("before a time to live")
        known = self.objects["jobs"].get(job.name)
        if known is None:
            raise NotFound(404, "NotFound", job.name)
        if known["metadata"]["uid"] != job.uid:
            raise Conflict(409, "Conflict", job.name)
        known["spec"]["ttlSecondsAfterFinished"] = seconds
        return self._put("jobs", known)

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> Raw:
        self._written("before a status")
        if resource.version != self.resource["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "changed")
        written = self._put(
            "modeloptimizations", self.resource | {"status": json.loads(json.dumps(dict(status)))}
        )
        self._written("after a status")
        return written

    async def failed_creations(self, job: Job) -> list[Raw]:
        return []

    async def pods_of(self, job: Job) -> list[Raw]:
        return [copy.deepcopy(pod) for pod in self.pods_from({"metadata": {"uid": job.uid}})]

    async def workloads(self, job: Job) -> list[Raw]:
        return []

    async def create_event(self, event: Mapping[str, Any]) -> None:
        return None

    def _listed(self, kind: str) -> Raw:
        items = [copy.deepcopy(raw) for raw in self.objects[kind].values()]
        return {"metadata": {"resourceVersion": str(self._version)}, "items": items}

    async def list_resources(self, namespace: str | None) -> Raw:
        return self._listed("modeloptimizations")

    async def list_jobs(self, namespace: str | None) -> Raw:
        return self._listed("jobs")

    async def list_pods(self, namespace: str | None) -> Raw:
        return self._listed("pods")

    # The user.

    def edit(self, **spec: object) -> None:
        changed = self.resource["spec"] | spec
        if changed == self.resource["spec"]:
            return
        metadata = self.resource["metadata"]
        generation = {"generation": metadata["generation"] + 1}
        self._put(
            "modeloptimizations",
            self.resource | {"spec": changed, "metadata": metadata | generation},
        )

    def request(self, value: str) -> None:
        asked = {"annotations": {"mopt.dev/requestedAt": value}}
        self._put(
            "modeloptimizations", self.resource | {"metadata": self.resource["metadata"] | asked}
        )

    # Controllers and kubelet.

    def pods_from(self, job: Json) -> list[Json]:
        uid = job["metadata"]["uid"]
        pods = self.objects["pods"].values()
        return [p for p in pods if p["metadata"]["ownerReferences"][0]["uid"] == uid]

    def unfinished(self) -> list[Json]:
        jobs = self.objects["jobs"].values()
        return [job for job in jobs if not job.get("status", {}).get("conditions")]

    def start_pod(self, job: Json) -> Json:
        for pod in self.pods_from(job):
            if pod["status"]["phase"] == "Running":
                return pod
        metadata = {
            "name": f"{job['metadata']['name']}-{len(self.pods_from(job))}",
            "namespace": KEY[0],
            "labels": job["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [{"uid": job["metadata"]["uid"], "controller": True}],
        }
        return self._put("pods", {"metadata": metadata, "status": {"phase": "Running"}})

    def finish(self, job: Json, *, code: int = 0) -> None:
        """End a Pod of a Job; by success the Job completes."""
        pod = self.start_pod(job)
        ended = {"exitCode": code, "message": "" if code else message_of(job, self.models)}
        state = [{"name": "optimizer", "state": {"terminated": ended}}]
        phase = "Failed" if code else "Succeeded"
        self._put("pods", pod | {"status": {"phase": phase, "containerStatuses": state}})
        if code == 0:
            done = {"type": "Complete", "status": "True", "reason": "", "message": ""}
            when = {"conditions": [done], "completionTime": self.now.isoformat()}
            self._put("jobs", job | {"status": when})

    def evict_finished_pods(self, job: Json) -> None:
        for pod in self.pods_from(job):
            self._drop("pods", pod["metadata"]["name"])

    def collect(self) -> None:
        """Delete the Jobs that may expire."""
        for name, job in list(self.objects["jobs"].items()):
            if "ttlSecondsAfterFinished" in job["spec"] and job not in self.unfinished():
                self._delete(name)

    def run_to_the_end(self) -> None:
        """Let everything work as it should until nothing changes any more."""
        self.kill_after = None
        for _ in range(60):
            self.resync()
            before = self._version
            self.reconcile()
            for job in self.unfinished():
                self.finish(job)
            self.now += timedelta(seconds=20)
            if self._version == before:
                return
        raise AssertionError(f"no rest: {self.resource['status']}")

    def verdict(self) -> Json:
        """Return what status says, without times and what depends on the way."""
        status = self.resource["status"]
        return {
            "observed": status["observedGeneration"] == self.resource["metadata"]["generation"],
            "handled": status.get("lastHandledReconcileAt"),
            "conditions": [(c["type"], c["status"], c["reason"]) for c in status["conditions"]],
            "source": status.get("source"),
            "summary": status["summary"],
            "targets": [
                (t["name"], t["point"], t["selected"], t["variants"], t["optimizer"])
                for t in status["targets"]
            ],
            "progress": status.get("progress"),
        }
