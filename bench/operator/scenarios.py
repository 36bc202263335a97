"""What an operator does with N resources: the fleet, idle, a full quota, and how one begins."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import audit
from .audit import Moment
from .cluster import NAMESPACE, client, make_namespace, operator
from .fleet import at_rate, create_resource, numbered, run_fleet, run_floor
from .messages import manifests
from .process import JOBS_STAY_SECONDS, Operator, cpu_of_all, cpu_per_resource, until
from .watching import condition

Json = dict[str, Any]

IDLE_SECONDS = 60.0
# For what follows the last Ready: Jobs that may expire, and their controllers.
REST_SECONDS = 2.0
_PATIENCE = 600.0


@dataclass(frozen=True)
class Bench:
    """A cluster in which an operator can be started.

    Attributes:
        kubeconfig: The administrator's.
        folder: For logs and configurations of operators.
        targets: Of each resource.
        at_once: Jobs that operators let run at once; None bounds nothing.
        ttl: Seconds that finished Jobs stay.
    """

    kubeconfig: Path
    folder: Path
    targets: list[str]
    at_once: int | None = None
    ttl: int = JOBS_STAY_SECONDS

    def operator(self, name: str) -> AbstractContextManager[Operator]:
        """Return an operator to be run."""
        return operator(self.kubeconfig, self.folder, name=name, at_once=self.at_once, ttl=self.ttl)

    @property
    def audit_log(self) -> Path:
        """The API server's."""
        return self.kubeconfig.parent / "audit.log"

    def now(self) -> Moment:
        """Return the present moment of the audit log."""
        return Moment.now(self.audit_log)

    def requests_since(self, since: Moment) -> Counter[str]:
        """Return the operator's requests since a moment."""
        return audit.requests_of_operator(audit.entries(self.audit_log, since))

    def reaction(self, name: str, since: Moment, *, namespace: str = NAMESPACE) -> float:
        """Apply a resource; return the milliseconds until its first Job is there."""
        (manifest,) = manifests([name], namespace, self.targets)
        create_resource(manifest)
        until(lambda: name in self.reactions(since), _PATIENCE)
        return self.reactions(since)[name]

    def reactions(self, since: Moment) -> dict[str, float]:
        """Return the milliseconds from apply to the first Job, by resource."""
        return audit.reaction_milliseconds(audit.entries(self.audit_log, since))


def used(process: Operator) -> Json:
    """Return what an operator process has cost so far."""
    return {
        "cpu_seconds": round(process.cpu_seconds(), 2),
        "peak_mib": round(process.memory_mib("VmHWM"), 1),
        "resident_mib": round(process.memory_mib("VmRSS"), 1),
    }


def one_by_one(bench: Bench, count: int) -> Json:
    """Apply resources one after the other, nothing else going on."""
    found = [bench.reaction(name, bench.now()) for name in numbered("single", count)]
    return _reaction_figures(found)


def _reaction_figures(milliseconds: list[float]) -> Json:
    return {
        "p50_ms": round(audit.percentile(milliseconds, 0.5), 1),
        "p99_ms": round(audit.percentile(milliseconds, 0.99), 1),
    }


def fleet(bench: Bench, process: Operator, count: int, per_second: float) -> Json:
    """Apply N resources at a rate; all of them come to Ready."""
    since, cpu, of_all = bench.now(), process.cpu_seconds(), cpu_of_all(bench.folder)
    seconds = run_fleet(numbered("fleet", count), bench.targets, per_second)
    time.sleep(REST_SECONDS)
    each = cpu_per_resource(of_all, bench.folder, count)
    requests = bench.requests_since(since)
    reacted = bench.reactions(since)
    return {
        "seconds": round(seconds, 2),
        "apply_to_job": _reaction_figures([v for k, v in reacted.items() if k.startswith("fleet")]),
        "requests_per_resource": {k: round(v / count, 2) for k, v in sorted(requests.items())},
        "cpu_ms_per_resource": each,
        **used(process),
        "cpu_seconds": round(process.cpu_seconds() - cpu, 2),
    }


def floor(
    folder: Path, count: int, templates: list[Json], per_second: float, at_once: int | None
) -> Json:
    """Start the Jobs of N resources without an operator."""
    of_all = cpu_of_all(folder)
    seconds = run_floor(numbered("fleet", count), templates, per_second, at_once)
    time.sleep(REST_SECONDS)
    each = cpu_per_resource(of_all, folder, count)
    return {"seconds": round(seconds, 2), "cpu_ms_per_resource": each}


def idle(bench: Bench, process: Operator) -> Json:
    """Let a minute pass in which nothing happens."""
    since, cpu = bench.now(), process.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    return {
        "seconds": IDLE_SECONDS,
        "cpu_seconds": round(process.cpu_seconds() - cpu, 2),
        "requests": dict(bench.requests_since(since)),
    }


def cold_start(bench: Bench) -> Json:
    """Start an operator beside settled resources; a new one waits for it."""
    since, began = bench.now(), time.monotonic()
    (manifest,) = manifests(["after-cold-start"], NAMESPACE, bench.targets)
    create_resource(manifest)
    with bench.operator("cold") as process:
        ready = time.monotonic() - began
        cpu = process.cpu_seconds()
        until(lambda: "after-cold-start" in bench.reactions(since), _PATIENCE)
        first = time.monotonic() - began
        until(lambda: process.metric("mopt_queue_depth") == 0, _PATIENCE)
        time.sleep(5)
        return {
            "seconds_to_ready": round(ready, 2),
            "seconds_to_first_job": round(first, 2),
            "cpu_seconds_to_ready": round(cpu, 2),
            "requests": dict(bench.requests_since(since)),
            **used(process),
        }


def leader_killed(bench: Bench) -> Json:
    """Kill the leader of two operators; a new resource waits for the other one."""
    with (
        bench.operator("first") as first,
        bench.operator("second") as second,
    ):
        pair = (first, second)
        until(lambda: any(one.metric("mopt_leader") == 1 for one in pair), _PATIENCE)
        leader = next(one for one in pair if one.metric("mopt_leader") == 1)
        (manifest,) = manifests(["after-kill"], NAMESPACE, bench.targets)
        since, began = bench.now(), time.monotonic()
        os.kill(leader.process.pid, signal.SIGKILL)
        create_resource(manifest)
        until(lambda: "after-kill" in bench.reactions(since), _PATIENCE)
        return {"seconds_to_first_job": round(time.monotonic() - began, 2)}


def rollout(bench: Bench) -> Json:
    """Replace an operator as a Deployment does; a new resource waits for the next one.

    The requests are those of the new process, from its start to the first Job, and of the old one
    meanwhile.
    """
    with bench.operator("before") as before:
        until(lambda: before.metric("mopt_leader") == 1 and all(_ready()), _PATIENCE)
        since = bench.now()
        with bench.operator("after"):
            (manifest,) = manifests(["after-rollout"], NAMESPACE, bench.targets)
            began = time.monotonic()
            before.process.terminate()
            create_resource(manifest)
            until(lambda: "after-rollout" in bench.reactions(since), _PATIENCE)
            return {
                "seconds_to_first_job": round(time.monotonic() - began, 2),
                "requests": dict(bench.requests_since(since)),
            }


def waiting(bench: Bench, process: Operator, count: int, seconds: float) -> Json:
    """Let N resources wait for a namespace's quota, and another namespace's one come to its Job."""
    make_namespace("full", count_jobs_batch="0")
    found = manifests(numbered("waiting", count), "full", bench.targets)
    at_rate(lambda m=m: create_resource(m) for m in found)  # type: ignore[misc]
    until(lambda: process.metric("mopt_queue_depth") == 0, _PATIENCE)
    since, cpu = bench.now(), process.cpu_seconds()
    beside = bench.reaction("beside-the-full", since)
    time.sleep(seconds)
    minutes = (bench.now().time - since.time).total_seconds() / 60
    requests = bench.requests_since(since)
    return {
        "minutes": round(minutes, 2),
        "requests_per_minute": {k: round(v / minutes, 1) for k, v in sorted(requests.items())},
        "cpu_seconds_per_minute": round((process.cpu_seconds() - cpu) / minutes, 2),
        "beside_ms": round(beside, 1),
    }


def until_settled(count: int) -> None:
    """Wait until that many resources of the bench's namespace are Ready."""
    until(lambda: sum(_ready()) >= count, _PATIENCE)


def _ready() -> list[bool]:
    """Return of each resource of the bench's namespace whether it is Ready."""
    found = client.CustomObjectsApi().list_namespaced_custom_object(
        "mopt.dev", "v1alpha1", NAMESPACE, "modeloptimizations"
    )
    return [condition(item, "Ready") for item in found["items"]]


def empty(namespace: str) -> None:
    """Delete the resources of a namespace."""
    client.CustomObjectsApi().delete_collection_namespaced_custom_object(
        "mopt.dev", "v1alpha1", namespace, "modeloptimizations"
    )
