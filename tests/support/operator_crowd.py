"""A cluster in memory with many resources, its nodes and a quota; watches are never late."""
# ruff: noqa: ARG002 - the fake takes what the real one takes

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from job_messages import measure_message, prepare_message
from operator_clock import Clock
from operator_world import manifest

from mopt_operator.cluster.cache import Key, Store
from mopt_operator.config.settings import Settings
from mopt_operator.errors import Conflict, NotFound, Refused
from mopt_operator.loop.queue import WorkQueue
from mopt_operator.loop.reconciler import Reconciler
from mopt_operator.loop.turns import Turns
from mopt_operator.objects import Job, Raw, Resource

Json = dict[str, Any]

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Crowd:
    """The cluster and an operator in it.

    Attributes:
        calls: How often each call was made.
        quota: Jobs that each namespace may hold; None for any number.
        nodes: Where Pods are put in turn.
    """

    def __init__(self, settings: Settings, *, nodes: Iterable[str] = ("node-1",)) -> None:
        self.settings = settings
        self.now = START
        self.calls: Counter[str] = Counter()
        self.quota: int | None = None
        self.nodes = list(nodes)
        self.resources: dict[Key, Json] = {}
        self.jobs: dict[Key, Json] = {}
        self.pods: dict[Key, Json] = {}
        self._version = 0
        self._scheduled = 0
        self.restart()

    # The operator.

    def restart(self) -> None:
        """Start an operator that knows what there is."""
        self.store, self.queue = Store(), WorkQueue()
        self.turns = Turns(self.settings, self.queue, Clock())
        self._reconciler = Reconciler(
            self,
            self.settings,
            store=self.store,
            queue=self.queue,
            turns=self.turns,
            clock=lambda: self.now,
        )
        known = zip(
            self.store.kinds().values(), (self.resources, self.jobs, self.pods), strict=True
        )
        for kind, objects in known:
            for raw in objects.values():
                kind.put(raw)
        for key in sorted(self.resources, key=self._created):
            self.queue.add(key)

    def _created(self, key: Key) -> tuple[str, Key]:
        return self.resources[key]["metadata"]["creationTimestamp"], key

    async def settle(self) -> None:
        """Let the operator work until its queue is empty."""
        while len(self.queue):
            key = await self.queue.get()
            await self._reconciler.reconcile(key)
            self.queue.done(key)

    # The users and the cluster.

    def apply(self, namespace: str, name: str, **spec: object) -> Key:
        """Create a resource, each a second after the one before."""
        self.now += timedelta(seconds=1)
        raw = manifest(name, **spec)
        raw["metadata"] |= {"namespace": namespace, "generation": 1}
        raw["metadata"] |= {"creationTimestamp": self.now.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return self._put(self.resources, raw)

    def edit(self, raw: Json, **spec: object) -> None:
        """Change fields of a resource's spec."""
        metadata = raw["metadata"]
        changed = {"generation": metadata["generation"] + 1}
        self._put(
            self.resources,
            raw | {"spec": raw["spec"] | spec, "metadata": metadata | changed},
        )

    def delete(self, key: Key) -> None:
        """Delete a resource, and its Jobs with it."""
        for at, job in list(self.jobs.items()):
            if (at[0], job["metadata"]["labels"]["mopt.dev/name"]) == key:
                self._drop_job(at)
        self._drop(self.resources, key)

    def unfinished(self, stage: str | None = None) -> list[Json]:
        """Return the Jobs that are not finished, oldest first."""
        return [
            job
            for job in self.jobs.values()
            if not job.get("status")
            and stage in (None, job["metadata"]["labels"]["mopt.dev/stage"])
        ]

    def start_pods(self) -> None:
        """Give each Job without a Pod one that runs, on the nodes in turn."""
        for job in self.unfinished():
            if not self.pods_of_job(job):
                self._scheduled += 1
                self._start_pod(job, self.nodes[self._scheduled % len(self.nodes)])

    def _start_pod(self, job: Json, node: str) -> None:
        metadata = {
            "name": f"{job['metadata']['name']}-pod",
            "namespace": job["metadata"]["namespace"],
            "labels": job["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [{"uid": job["metadata"]["uid"], "controller": True}],
        }
        status = {"phase": "Running"}
        self._put(self.pods, {"metadata": metadata, "spec": {"nodeName": node}, "status": status})

    def finish(self, job: Json) -> None:
        """Let a Job complete with a result."""
        if not self.pods_of_job(job):
            self._start_pod(job, self.nodes[0])
        pod = self.pods_of_job(job)[0]
        labels = job["metadata"]["labels"]
        measures = labels["mopt.dev/stage"] in ("measure", "verify")
        image = job["spec"]["template"]["spec"]["containers"][0]["image"]
        message = prepare_message()
        if measures:
            message = measure_message(labels["mopt.dev/target"], build=image)
        state = [
            {
                "name": "optimizer",
                "state": {"terminated": {"exitCode": 0, "message": message}},
            }
        ]
        self._put(self.pods, pod | {"status": {"phase": "Succeeded", "containerStatuses": state}})
        done = {"type": "Complete", "status": "True", "reason": "", "message": ""}
        when = {"conditions": [done], "completionTime": self.now.isoformat()}
        self._put(self.jobs, job | {"status": when})

    async def prepare_all(self) -> None:
        """Let all preparations complete."""
        await self.settle()
        for job in self.unfinished("prepare"):
            self.finish(job)
        await self.settle()

    def said(self, key: Key) -> tuple[str, str, str]:
        """Return status, reason and message of a resource's Ready condition."""
        (ready,) = (c for c in self.resources[key]["status"]["conditions"] if c["type"] == "Ready")
        return ready["status"], ready["reason"], ready["message"]

    def pods_of_job(self, job: Json) -> list[Json]:
        uid = job["metadata"]["uid"]
        found = self.pods.values()
        return [p for p in found if p["metadata"]["ownerReferences"][0]["uid"] == uid]

    def _kind(self, objects: dict[Key, Json]) -> Any:
        at = (self.resources, self.jobs, self.pods)
        return list(self.store.kinds().values())[[o is objects for o in at].index(True)]

    def _put(self, objects: dict[Key, Json], raw: Json) -> Key:
        self._version += 1
        raw = copy.deepcopy(raw)
        metadata = raw["metadata"]
        metadata.setdefault("uid", f"uid-{self._version}")
        metadata.setdefault("creationTimestamp", self.now.isoformat())
        metadata["resourceVersion"] = str(self._version)
        key = (metadata["namespace"], metadata["name"])
        objects[key] = raw
        self.queue.add(self._kind(objects).show(raw, deleted=False))
        return key

    def _drop(self, objects: dict[Key, Json], key: Key) -> None:
        gone = objects.pop(key)
        self.queue.add(self._kind(objects).show(gone, deleted=True))

    def _drop_job(self, key: Key) -> None:
        for pod in self.pods_of_job(self.jobs[key]):
            self._drop(self.pods, (key[0], pod["metadata"]["name"]))
        self._drop(self.jobs, key)
        self.turns.refusals.freed(key[0])

    # The API server.

    async def create_job(self, manifest: Mapping[str, Any]) -> Raw:
        self.calls["create_job"] += 1
        metadata = manifest["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if key in self.jobs:
            raise Conflict(409, "AlreadyExists", key[1])
        if self.quota is not None and sum(k[0] == key[0] for k in self.jobs) >= self.quota:
            raise Refused(403, "Forbidden", f'jobs.batch "{key[1]}": exceeded quota: few')
        self._put(self.jobs, dict(manifest))
        return copy.deepcopy(self.jobs[key])

    async def read_job(self, namespace: str, name: str) -> Raw:
        return self.jobs[namespace, name]

    async def delete_job(self, job: Job) -> None:
        self.calls["delete_job"] += 1
        if (job.namespace, job.name) not in self.jobs:
            raise NotFound(404, "NotFound", job.name)
        self._drop_job((job.namespace, job.name))

    async def expire_job(self, job: Job, seconds: int) -> Raw:
        key = (job.namespace, job.name)
        raw = self.jobs[key]
        raw["spec"]["ttlSecondsAfterFinished"] = seconds
        self._put(self.jobs, raw)
        return self.jobs[key]

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> Raw:
        self.calls["write_status"] += 1
        key = (resource.namespace, resource.name)
        raw = self.resources[key]
        if resource.version != raw["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "changed")
        self._put(self.resources, raw | {"status": json.loads(json.dumps(dict(status)))})
        return copy.deepcopy(self.resources[key])

    async def failed_creations(self, namespace: str) -> list[Raw]:
        self.calls["failed_creations"] += 1
        return []

    async def pods_of(self, job: Job) -> list[Raw]:
        return []

    async def workloads(self, job: Job) -> list[Raw]:
        return []

    async def create_event(self, event: Mapping[str, Any]) -> None:
        return None
