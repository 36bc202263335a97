"""An API server in memory: objects with versions, and what its watches have yet to show."""
# ruff: noqa: ARG002 - the fake takes what the real one takes

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from mopt_operator.cluster.cache import Key
from mopt_operator.errors import Conflict, NotFound
from mopt_operator.objects import Job, Raw, Resource

Json = dict[str, Any]

KEY: Key = ("team", "sr")
START = datetime(2026, 11, 1, 12, tzinfo=UTC)
KINDS = ("modeloptimizations", "jobs", "pods")


class Killed(BaseException):
    """The operator's process ended here."""


class ApiInMemory:
    """An API server with one resource, as the operator calls it.

    Attributes:
        waiting: What the watch of each kind has yet to show, oldest first.
        made: How often each Job name was created, over the whole life.
        events: Reasons of the Events that were created, oldest first.
        steps: What was reached so far: before and after each write, in words.
        kill_after: Steps around writes after which the operator's process ends.
    """

    def __init__(self, spec: Json) -> None:
        self.now = START
        self.objects: dict[str, dict[str, Json]] = {kind: {} for kind in KINDS}
        self.waiting: dict[str, list[tuple[str, Json]]] = {kind: [] for kind in KINDS}
        self.made: dict[str, int] = {}
        self.events: list[str] = []
        self.steps: list[str] = []
        self.kill_after: int | None = None
        self._version = 0
        self._uids = 0
        metadata = {"name": KEY[1], "namespace": KEY[0], "generation": 1}
        self._put("modeloptimizations", {"metadata": metadata, "spec": copy.deepcopy(spec)})
        self.resource["status"] = {"observedGeneration": -1}

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

    def _written(self, step: str) -> None:
        """End the process where the test wants it: before or after a write."""
        self.steps.append(step)
        if self.kill_after is not None:
            self.kill_after -= 1
            if self.kill_after < 0:
                raise Killed(step)

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
        kept = self._put("jobs", known)
        self._written("after a time to live")
        return kept

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> Raw:
        self._written("before a status")
        if resource.version != self.resource["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "changed")
        written = self._put(
            "modeloptimizations", self.resource | {"status": json.loads(json.dumps(dict(status)))}
        )
        self._written("after a status")
        return written

    async def failed_creations(self, namespace: str) -> list[Raw]:
        return []

    async def pods_of(self, job: Job) -> list[Raw]:
        return [copy.deepcopy(pod) for pod in self.pods_from({"metadata": {"uid": job.uid}})]

    async def workloads(self, job: Job) -> list[Raw]:
        return []

    async def create_event(self, event: Mapping[str, Any]) -> None:
        self._written("before an Event")
        self.events.append(event["reason"])
        self._written("after an Event")

    def _listed(self, kind: str) -> Json:
        items = [copy.deepcopy(raw) for raw in self.objects[kind].values()]
        return {"metadata": {"resourceVersion": str(self._version)}, "items": items}

    async def pages(self, plural: str, namespace: str | None, *, whole: bool) -> AsyncIterator[Raw]:
        listed = self._listed(plural)
        if not whole:
            listed["items"] = [{"metadata": raw["metadata"]} for raw in listed["items"]]
        yield listed

    async def read(self, plural: str, namespace: str, name: str) -> Raw:
        try:
            return copy.deepcopy(self.objects[plural][name])
        except KeyError:
            raise NotFound(404, "NotFound", name) from None

    def pods_from(self, job: Json) -> list[Json]:
        uid = job["metadata"]["uid"]
        pods = self.objects["pods"].values()
        return [p for p in pods if p["metadata"]["ownerReferences"][0]["uid"] == uid]
