"""An API server, a Job controller and a kubelet in memory, with the faults that clusters have.

The reconciler runs unchanged against it. What it knows comes by watches that may be late, lost or
repeated; it may be killed before or after any write.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from api_in_memory import KEY, KINDS, ApiInMemory, Json, Killed
from pod_environment import environment

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime
from mopt_api.figures import (
    AIMED_BY_EVALUATION,
    Hardware,
    Latency,
    QualityResult,
    SourceInfo,
    VariantState,
)
from mopt_api.jobs.measure_result import MeasureResult, PointResult, VariantResult
from mopt_api.jobs.plan import (
    PLAN_ADAPTER,
    MeasurePlan,
    PreparePlan,
    PublishPlan,
    ReportPlan,
    VerifyPlan,
    objective_point,
)
from mopt_api.jobs.selection import select
from mopt_api.jobs.termination import (
    PrepareSummary,
    PublishedImage,
    PublishSummary,
    encode,
    summarize_measure,
)
from mopt_operator.cluster.cache import Store
from mopt_operator.config.settings import Settings
from mopt_operator.errors import Conflict
from mopt_operator.loop.lists import Lists
from mopt_operator.loop.metrics import Metrics
from mopt_operator.loop.queue import WorkQueue
from mopt_operator.loop.reconciler import Reconciler
from mopt_operator.loop.turns import Turns

if TYPE_CHECKING:
    from mopt_operator.loop.tracing import Traces


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


def _quick(
    model: str, plan: MeasurePlan | VerifyPlan | ReportPlan, *, searched: bool
) -> VariantResult:
    """Return the variant that is the fastest and misses gates; slower and closer where a second
    search made it."""
    if isinstance(plan, MeasurePlan) and plan.prepared == _prepared(plan.model.sha256, again=True):
        second = _variant(model, "quick", 3.0, 41.0, 600)
        return second.model_copy(update={"aimed_by": AIMED_BY_EVALUATION})
    first = _variant(model, "quick", 2.0, 35.0, 500)
    return first.model_copy(update={"aim_decibels": 6 if searched else None})


def _prepared(model: str, *, again: bool) -> str:
    return digest(f"prepared {model}{' again' if again else ''}")


def _images(plan: PublishPlan) -> PublishSummary:
    """Return what is published: the same images for the same forms in the same layout."""

    def named(*parts: str) -> str:
        return digest(" ".join([plan.oci.layout, *parts]))

    images = [
        PublishedImage(target=f.target, digest=named(f.target, f.variant, f.artifact))
        for f in plan.forms
    ]
    return PublishSummary(index=named(*(image.digest for image in images)), images=images)


@dataclass(frozen=True)
class Drift:
    """What an image computes otherwise than the others: of its variant exact."""

    milliseconds: float = 5.0
    psnr: float = 60.0


def message_of(
    job: Json,
    models: dict[str, str],
    *,
    searched: bool = False,
    drifts: Mapping[str, Drift] = MappingProxyType({}),
) -> str:
    """Return what a Job's container returns: the same figures, judged by the Job's plan.

    Args:
        models: The store: of which model each result is. A new one is put there.
        searched: Whether gates shape a variant, so that a second search may follow.
        drifts: By image.
    """
    (container,) = job["spec"]["template"]["spec"]["containers"]
    drift = drifts.get(container["image"], Drift())
    text = environment(container["env"])["MOPT_PLAN"]
    plan = PLAN_ADAPTER.validate_json(text)
    if isinstance(plan, PreparePlan):
        source = SourceInfo(
            sha256=plan.model.sha256, format=ModelFormat.ONNX, size_bytes=1000, opset=18
        )
        made = _prepared(plan.model.sha256, again=bool(plan.aims))
        return encode(PrepareSummary(result=made, source=source, aimed=sorted(plan.aims or ())))
    if isinstance(plan, PublishPlan):
        return encode(_images(plan))
    assert isinstance(plan, MeasurePlan | VerifyPlan | ReportPlan)
    model = plan.model.sha256 if isinstance(plan, MeasurePlan) else models[plan.result]
    result_digest = digest(text + container["image"] * (drift != Drift()))
    models[result_digest] = model
    variants = [
        _quick(model, plan, searched=searched),
        _variant(model, "exact", drift.milliseconds, drift.psnr, 900),
    ]
    if isinstance(plan, VerifyPlan):
        variants = [variant for variant in variants if variant.name in plan.forms]
    selection = select(
        _variant(model, "baseline", 10.0, 200.0, 1000),
        variants,
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
    return encode(summarize_measure(result, result_digest))


class Simulation(ApiInMemory):
    """A cluster with one resource, and an operator that sees it through watches.

    Attributes:
        killed: How often the operator's process has ended.
        traces: What makes its spans; None for none.
        drifts: What images compute otherwise.
    """

    def __init__(
        self,
        spec: Json,
        settings: Settings,
        *,
        searched: bool = False,
        traces: Traces | None = None,
    ) -> None:
        super().__init__(spec)
        self.traces = traces
        self.searched = searched
        self.skew = timedelta(0)
        self.killed = 0
        self.settings = settings
        self.models: dict[str, str] = {}
        self.drifts: dict[str, Drift] = {}
        self.restart()

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
        if key := known.show(raw, deleted=event == "DELETED"):
            self.queue.add(key)

    # What the operator does.

    def restart(self) -> None:
        """Start an operator: it lists everything, its watches start from there."""
        self.store, self.queue = Store(), WorkQueue()
        self.waiting = {kind: [] for kind in KINDS}
        turns = Turns(self.settings, self.queue)
        self._metrics = Metrics(self.settings, store=self.store, queue=self.queue, turns=turns)
        self._lists = Lists(self, [], store=self.store, queue=self.queue, metrics=self._metrics)
        asyncio.run(self._lists.fill())
        self._reconciler = Reconciler(
            self,
            self.settings,
            store=self.store,
            queue=self.queue,
            turns=turns,
            metrics=self._metrics,
            clock=self._time,
            traces=self.traces,
        )

    def _time(self) -> datetime:
        return self.now + self.skew

    def clone(self) -> Simulation:
        """Return this cluster and operator once more, to go another way from here."""
        # The metrics watch over the first one's queue, and say nothing of a decision.
        shared = (self._metrics, self.queue.waited)
        return copy.deepcopy(self, {id(each): each for each in shared})

    def reconcile(self) -> None:
        """Let the operator look once; killed on the way, it starts anew."""
        try:
            asyncio.run(self._reconciler.reconcile(KEY))
        except Conflict:
            return
        except Killed:
            self.kill_after = None
            self.killed += 1
            self.restart()

    def work_off(self) -> int:
        """Let the operator look as often as its queue asks for; return how often that was."""
        looks = 0
        while len(self.queue):
            key = asyncio.run(self.queue.get())
            self.reconcile()
            self.queue.done(key)
            looks += 1
        return looks

    def resync(self) -> None:
        asyncio.run(self._lists.compare())
        self.waiting = {kind: [] for kind in KINDS}

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
        ended = {"exitCode": code, "message": "" if code else self._message(job)}
        state = [{"name": "optimizer", "state": {"terminated": ended}}]
        phase = "Failed" if code else "Succeeded"
        self._put("pods", pod | {"status": {"phase": phase, "containerStatuses": state}})
        if code != 0 and job["spec"]["backoffLimit"] == 0:
            over = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
            over |= {"message": "", "lastTransitionTime": self.now.isoformat()}
            self._put("jobs", job | {"status": {"conditions": [over]}})
        if code == 0:
            done = {"type": "Complete", "status": "True", "reason": "", "message": ""}
            when = {"conditions": [done], "completionTime": self.now.isoformat()}
            self._put("jobs", job | {"status": when})

    def _message(self, job: Json) -> str:
        return message_of(job, self.models, searched=self.searched, drifts=self.drifts)

    def evict_finished_pods(self, job: Json) -> None:
        for pod in self.pods_from(job):
            self._drop("pods", pod["metadata"]["name"])

    def collect(self) -> None:
        """Delete the Jobs that may expire."""
        for name, job in list(self.objects["jobs"].items()):
            if "ttlSecondsAfterFinished" in job["spec"] and job not in self.unfinished():
                self._delete(name)

    def run_to_the_end(self) -> None:
        """Let everything work as it should until nothing changes any more.

        Twice: a complete Job without a Pod is given 15 s.
        """
        self.kill_after = None
        quiet = 0
        for _ in range(60):
            self.resync()
            before = self._version
            self.reconcile()
            for job in self.unfinished():
                self.finish(job)
            self.now += timedelta(seconds=20)
            quiet = quiet + 1 if self._version == before else 0
            if quiet == 2:
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
            "published": [
                (t["name"], t.get("published", {}) | {"time": None}) for t in status["targets"]
            ],
            "progress": status.get("progress"),
        }
