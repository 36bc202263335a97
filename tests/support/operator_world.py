"""A resource with its Jobs and Pods in memory: decisions are applied as the cluster would."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Unpack

from job_messages import MODEL_SHA, Outcome, measure_message, prepare_message

from mopt_api.auto.search import SearchFacts, contenders
from mopt_api.enums import ModelFormat
from mopt_api.jobs.plan import Stage
from mopt_api.status import ModelOptimizationStatus
from mopt_api.variants import Variant
from mopt_operator.cluster.learned import Learned
from mopt_operator.config.settings import Settings
from mopt_operator.decide.decide import Plan, decide
from mopt_operator.objects import Held, Snapshot, observe_job, observe_pod, observe_resource

START = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
AUTO = contenders(SearchFacts(model_format=ModelFormat.EXPORTED_PROGRAM, calibrated=True))


def _without_fallback(variant: Variant) -> dict[str, Any]:
    values = variant.to_api()
    if "quantization" in values:
        values["quantization"]["fallback"] = "Off"
    return values


def manifest(name: str = "sr", **spec: object) -> dict[str, Any]:
    """Return a valid resource as a user writes it."""
    return {
        "apiVersion": "mopt.dev/v1alpha1",
        "kind": "ModelOptimization",
        "metadata": {"name": name, "namespace": "team"},
        "spec": {
            "model": {
                "uri": "s3://models/sr.pt2",
                "sha256": MODEL_SHA,
                "format": "ExportedProgram",
            },
            "inputs": [{"name": "image", "shape": ["batch", 3, "height", "width"]}],
            "dimensions": {
                "batch": {"min": 1, "opt": 1, "max": 4},
                "height": {"min": 32, "opt": 128, "max": 256},
                "width": {"min": 32, "opt": 128, "max": 256},
            },
            "data": {
                "calibration": {"uri": "s3://data/calibration/"},
                "evaluation": {"uri": "s3://data/evaluation/"},
            },
            # What is made does not depend on the gates: they select among figures that are there.
            "variants": [_without_fallback(variant) for variant in AUTO],
            "quality": [{"metric": "PSNR", "minimum": 40}],
            "output": {"uri": "s3://optimized/sr", "credentialsSecretRef": {"name": "store"}},
        }
        | spec,
    }


class World:
    """A cluster with one resource. It refuses what cannot be: a Pod without its Job, a second
    Job of one name, a complete Job whose Pod never succeeded, a status beyond its bounds."""

    def __init__(self, settings: Settings, raw: dict[str, Any]) -> None:
        self.settings = settings
        self.now = START
        self.raw = copy.deepcopy(raw)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.warnings: dict[str, str] = {}
        self.held: dict[str, Held] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.waits: dict[str, str] = {}
        self.crowded: dict[str, str] = {}
        self.may_rerun = True
        self.namespace_labels: dict[str, str] | None = None
        self.other_statuses: list[dict[str, Any]] = []
        self._version = 0
        self.raw["metadata"] |= {"uid": "uid-resource", "generation": 1} | self._versioned()
        self.raw["status"] = {"observedGeneration": -1}
        self.statuses: list[dict[str, Any]] = [self.raw["status"]]

    def _versioned(self) -> dict[str, str]:
        self._version += 1
        return {"resourceVersion": str(self._version)}

    @property
    def status_writes(self) -> int:
        return len(self.statuses) - 1

    # What the cluster and its users do.

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def edit(self, **spec: object) -> None:
        self.raw["spec"] |= spec
        self.raw["metadata"]["generation"] += 1
        self.raw["metadata"] |= self._versioned()

    def stages(self) -> list[str]:
        """Return the stage of each Job, oldest first."""
        return [job["metadata"]["labels"]["mopt.dev/stage"] for job in self.jobs.values()]

    def request(self, value: str) -> None:
        self.raw["metadata"]["annotations"] = {"mopt.dev/requestedAt": value}
        self.raw["metadata"] |= self._versioned()

    def approve(self, *digests: str) -> None:
        """Set the annotation that approves what is to be published."""
        self.raw["metadata"].setdefault("annotations", {})["mopt.dev/approve"] = ",".join(digests)
        self.raw["metadata"] |= self._versioned()

    def fail(self, job: dict[str, Any], message: str, *, exit_code: int) -> None:
        """Let a Job's Pod fail, and with it the Job."""
        self.terminated_pod(job, message, exit_code=exit_code)
        self.end(job, "Failed", "BackoffLimitExceeded")

    def the_job(self, stage: Stage, target: str | None = None) -> dict[str, Any]:
        """Return the unfinished Job of a stage."""
        found = []
        for job in self.jobs.values():
            labels = job["metadata"]["labels"]
            fits = labels["mopt.dev/stage"] == stage.lower()
            fits &= labels.get("mopt.dev/target") == target
            if fits and not job.get("status", {}).get("conditions"):
                found.append(job)
        (only,) = found
        return only

    def pod(self, job: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
        """Add a Pod of a Job."""
        if job["metadata"]["name"] not in self.jobs:
            raise ValueError("a Pod needs its Job")
        name = f"{job['metadata']['name']}-{len(self.pods)}"
        self.pods[name] = {
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": f"uid-{name}",
                "labels": job["spec"]["template"]["metadata"]["labels"],
                "creationTimestamp": self.now.isoformat(),
                "ownerReferences": [{"uid": job["metadata"]["uid"], "controller": True}],
            }
            | self._versioned(),
            "status": status,
        }
        return self.pods[name]

    def terminated_pod(
        self,
        job: dict[str, Any],
        message: str,
        *,
        exit_code: int = 0,
        reason: str = "",
        status: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        ended = {"exitCode": exit_code, "reason": reason, "message": message}
        return self.pod(
            job,
            {
                "phase": "Failed" if exit_code else "Succeeded",
                "containerStatuses": [{"name": "optimizer", "state": {"terminated": ended}}],
            }
            | (status or {}),
        )

    def complete(self, job: dict[str, Any], message: str) -> None:
        """Let a Job's Pod succeed and the Job complete."""
        self.terminated_pod(job, message)
        self.end(job, "Complete")

    def end(self, job: dict[str, Any], kind: str, reason: str = "", message: str = "") -> None:
        pods = [p for p in self.pods.values() if self._belongs(p, job)]
        if kind == "Complete" and not any(p["status"]["phase"] == "Succeeded" for p in pods):
            raise ValueError("a Job completes by a Pod that succeeded")
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        job["status"] = {"conditions": [condition], "completionTime": self.now.isoformat()}
        job["metadata"] |= self._versioned()

    def lose_pods(self, job: dict[str, Any]) -> None:
        self.pods = {n: p for n, p in self.pods.items() if not self._belongs(p, job)}

    def lose_all_jobs(self) -> None:
        self.jobs, self.pods = {}, {}

    @staticmethod
    def _belongs(pod: dict[str, Any], job: dict[str, Any]) -> bool:
        return bool(pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"])

    # What the operator does.

    def snapshot(self) -> Snapshot:
        return Snapshot(
            observe_resource(self.raw),
            tuple(observe_job(job) for job in self.jobs.values()),
            tuple(observe_pod(pod) for pod in self.pods.values()),
            warnings=self.warnings,
            held=self.held,
            refusals=self.refusals,
            waits=self.waits,
            crowded=self.crowded,
            may_rerun=self.may_rerun,
            told=self.learned().told,
            namespace_labels=self.namespace_labels,
        )

    def learned(self) -> Learned:
        """Return what the operator knows of images, nodes and data."""
        learned = Learned()
        for status in (self.raw["status"], *self.other_statuses):
            learned.learn(status, "team")
        return learned

    def decide(self) -> Plan:
        return decide(self.snapshot(), self.now, self.settings)

    def carry_out(self, plan: Plan) -> None:
        for job in plan.delete:
            raw = self.jobs.pop(job.name)  # KeyError: decided twice.
            self.lose_pods(raw)
        for made in plan.create:
            name = made["metadata"]["name"]
            if name in self.jobs:
                raise ValueError(f"a second Job {name}")
            self.jobs[name] = copy.deepcopy(made)
            self.jobs[name]["metadata"] |= {
                "uid": f"uid-{name}-{self._version}",
                "creationTimestamp": self.now.isoformat(),
            } | self._versioned()
        if plan.status is not None:
            json.dumps(plan.status, allow_nan=False)
            ModelOptimizationStatus.model_validate(plan.status)
            self.raw["status"] = plan.status
            self.statuses.append(plan.status)
            self.raw["metadata"] |= self._versioned()
        for job in plan.expire:
            self.jobs[job.name]["spec"]["ttlSecondsAfterFinished"] = 3600

    def settle(self) -> Plan:
        """Decide and carry out until nothing is left to do; return the last plan."""
        for _ in range(6):
            plan = self.decide()
            if plan.create or plan.delete:
                # As the operator: the status is to tell of the Jobs that there are now.
                self.carry_out(replace(plan, status=None))
                plan = self.decide()
            if plan == replace(Plan(), requeue_after=plan.requeue_after):
                return plan
            self.carry_out(plan)
        raise AssertionError("decide does not come to rest")

    def run(self, targets: tuple[str, ...] = ("default",), **outcome: Unpack[Outcome]) -> None:
        """Carry the current run to its end."""
        self.settle()
        self.complete(self.the_job(Stage.PREPARE), prepare_message())
        self.settle()
        self.measure(targets, **outcome)

    def measure(self, targets: tuple[str, ...] = ("default",), **outcome: Unpack[Outcome]) -> None:
        """Carry the measurements to their end."""
        for target in targets:
            self.complete(self.the_job(Stage.MEASURE, target), measure_message(target, **outcome))
        self.settle()

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.raw["status"]
        return status

    @property
    def results(self) -> list[dict[str, Any]]:
        """Return the targets that the present run has a result for."""
        return [t for t in self.status["targets"] if not t.get("fromEarlierRun")]

    def condition(self, kind: str) -> dict[str, Any]:
        """Return the condition of a type, which is there."""
        return next(c for c in self.status["conditions"] if c["type"] == kind)

    def said(self) -> dict[str, tuple[str, str]]:
        """Return status and reason of each condition that tells how the run stands."""
        return {
            c["type"]: (c["status"], c["reason"])
            for c in self.status["conditions"]
            if c["type"] not in ("ArtifactAvailable", "Published")
        }

    def published(self) -> tuple[str, str]:
        """Return status and reason of the condition Published, which is there."""
        condition = self.condition("Published")
        return condition["status"], condition["reason"]


class MakeManifest(Protocol):
    """Makes a valid resource; its arguments are fields of spec."""

    def __call__(self, name: str = ..., **spec: object) -> dict[str, Any]: ...


class MakeWorld(Protocol):
    """Makes a cluster with one resource; its arguments are fields of spec."""

    def __call__(self, *, settings: Settings = ..., name: str = ..., **spec: object) -> World: ...
