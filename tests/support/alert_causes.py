"""What makes each of the chart's alerts fire, done to a release that runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from http_proxy import Call, Chunks, HttpProxy, Script, lines
from job_messages import Messages
from light_cluster import Api, MakeResource, Operator, Resource
from prometheus_server import NAMESPACE, Prometheus

from mopt_api.reasons import REASONS, Reason
from mopt_operator.loop.resource_metrics import MAX_RESOURCES

LEASE = "mopt-leader"
PATIENCE = 120.0
PUBLISH = {"oci": {"repository": "registry.test/team/sr", "credentialsSecretRef": {"name": "push"}}}
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient memory.",
}
# More resources than the operator has workers, and how long each of their writes takes.
QUEUED = 40
SLOW_SECONDS = 5.0

Labels = dict[str, str]


@dataclass(frozen=True)
class Release:
    """Operators, and a Prometheus that scrapes them.

    Attributes:
        proxy: By which they reach the API server.
        leader: It leads from its start.
        strangers: They take part in no election; not started.
        home: Namespace of resources, and of the Lease.
        closed: Namespace for a quota.
        crowded: Namespace for many resources.
    """

    api: Api
    proxy: HttpProxy
    prometheus: Prometheus
    leader: Operator
    standby: Operator
    strangers: tuple[Operator, ...]
    home: str
    closed: str
    crowded: str


Cause = Callable[[Release, MakeResource], Labels]
"""Takes the release and a maker of resources; returns labels that the alert is to have."""


def until(look: Callable[[], Any], what: str) -> Any:
    """Return the first true answer of a look."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.5)
    return found


# What the API server says.


def _where(meets: Callable[[Call], bool], fault: Script) -> Script:
    """Return a script by which some requests meet a fault; those of the Lease never do."""

    async def script(call: Call) -> web.StreamResponse:
        if "/leases/" in call.path or not meets(call):
            return await call.forward()
        return await fault(call)

    return script


def _says(status: int) -> Script:
    async def script(call: Call) -> web.StreamResponse:
        return await call.answer(status, "{}")

    return script


def _watches(call: Call) -> bool:
    return call.watches is not None


def _reads(call: Call) -> bool:
    return call.method == "GET" and not _watches(call)


def _writes_status(call: Call) -> bool:
    return call.method == "PUT" and call.path.endswith("/status")


async def _bookmarks(chunks: Chunks) -> Chunks:
    async for line in lines(chunks):
        if b'"BOOKMARK"' in line:
            yield line


async def _deaf(call: Call) -> web.StreamResponse:
    return await call.forward(_bookmarks)


async def _slowly(call: Call) -> web.StreamResponse:
    await asyncio.sleep(SLOW_SECONDS)
    return await call.forward()


def reconcile_faults(release: Release, make: MakeResource) -> Labels:
    """The answer to each write of a status is an empty object"""
    release.proxy.play(_where(_writes_status, _says(200)), reopen=False)
    make(name="fault")
    return {"namespace": NAMESPACE}


def queue_slow(release: Release, make: MakeResource) -> Labels:
    """40 resources come while each write takes 5 s"""
    release.proxy.play(_where(lambda call: call.writes, _slowly), reopen=False)
    for number in range(QUEUED):
        make(name=f"queued-{number}")
    return {"namespace": NAMESPACE}


def watch_behind(release: Release, make: MakeResource) -> Labels:
    """Watches bring bookmarks alone, and a resource is made"""
    release.proxy.play(_where(_watches, _deaf))
    make(name="unseen")
    return {"kind": "modeloptimizations"}


def resync_failing(release: Release, make: MakeResource) -> Labels:
    """The API server answers reads and lists with 403"""
    release.proxy.play(_where(_reads, _says(403)), reopen=False)
    return {"namespace": NAMESPACE}


def api_errors(release: Release, make: MakeResource) -> Labels:
    """The API server answers with 500"""
    release.proxy.play(_where(lambda call: not _watches(call), _says(500)), reopen=False)
    return {"namespace": NAMESPACE}


def api_throttled(release: Release, make: MakeResource) -> Labels:
    """The API server answers with 429"""
    release.proxy.play(_where(lambda call: not _watches(call), _says(429)), reopen=False)
    return {"namespace": NAMESPACE}


# What happens to resources.


def _of(resource: Resource, **more: str) -> Labels:
    return {"namespace": resource.namespace, "name": resource.name} | more


def _fail(resource: Resource, stage: str, reason: Reason) -> None:
    code = REASONS[reason].exit_code
    assert code is not None
    message = Messages.error(reason, "as the test says")
    resource.finish(resource.pod_of(stage), message, exit_code=code)


def jobs_failing(release: Release, make: MakeResource) -> Labels:
    """Six preparations end with `InvalidModel`"""
    for resource in [make(name=f"failing-{number}") for number in range(6)]:
        _fail(resource, "prepare", Reason.INVALID_MODEL)
    return {"stage": "prepare"}


def stalled(release: Release, make: MakeResource) -> Labels:
    """A preparation ends with `InvalidModel`"""
    resource = make(name="stalled")
    _fail(resource, "prepare", Reason.INVALID_MODEL)
    return _of(resource, reason="InvalidModel")


def without_progress(release: Release, make: MakeResource) -> Labels:
    """A Pod is unschedulable"""
    resource = make(name="stuck")
    resource.set_pod(resource.pod_of("prepare"), {"conditions": [UNSCHEDULABLE]})
    return _of(resource)


def not_ready(release: Release, make: MakeResource) -> Labels:
    """A preparation does not end"""
    resource = make(name="long")
    resource.pod_of("prepare")
    return _of(resource)


def publishing_failing(release: Release, make: MakeResource) -> Labels:
    """A Job of stage `publish` ends with `RegistryUnreachable`"""
    resource = make(name="unpublished", publish=PUBLISH)
    resource.run(Messages())
    _fail(resource, "publish", Reason.REGISTRY_UNREACHABLE)
    return _of(resource, reason="RegistryUnreachable")


def outdated(release: Release, make: MakeResource) -> Labels:
    """`spec.data` names other data after the measurement"""
    resource = make(name="outdated")
    resource.run(Messages())
    resource.patch({"spec": {"data": {"evaluation": {"uri": "s3://data/other/"}}}})
    return _of(resource, reason="DataChanged")


def withdrawn(release: Release, make: MakeResource) -> Labels:
    """A gate is made stricter than what is served, with `onNoWinner: Fail`"""
    resource = make(name="withdrawn")
    resource.run(Messages())
    gates = [{"metric": "PSNR", "minimum": 150}]
    resource.patch({"spec": {"quality": gates, "objective": {"onNoWinner": "Fail"}}})
    return _of(resource)


def without_series(release: Release, make: MakeResource) -> Labels:
    """1,001 suspended resources in a namespace"""
    for number in range(MAX_RESOURCES + 1):
        make(namespace=release.crowded, name=f"one-{number}", execution={"suspend": True})
    return {"namespace": NAMESPACE}


def namespaces_refused(release: Release, make: MakeResource) -> Labels:
    """A quota of no Jobs"""
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    release.api.call("POST", f"/api/v1/namespaces/{release.closed}/resourcequotas", quota)
    make(namespace=release.closed, name="refused")
    return {"namespace": NAMESPACE}


def profile_not_valid(release: Release, make: MakeResource) -> Labels:
    """A profile requests more CPU than its limit"""
    wrong = {"resources": {"requests": {"cpu": 4}, "limits": {"cpu": 2}}}
    release.api.create(
        {
            "apiVersion": "mopt.dev/v1alpha1",
            "kind": "OptimizationProfile",
            "metadata": {"name": "broken"},
            "spec": wrong,
        }
    )
    return {"profile": "broken"}


# What happens to operators.


def restarting(release: Release, make: MakeResource) -> Labels:
    """The standby is killed and started four times"""
    series = f'process_start_time_seconds{{instance="{release.standby.address}"}}'
    seen = {release.prometheus.value(series), None}
    for _ in range(4):
        release.standby.kill()
        release.standby.start()
        until(lambda: release.prometheus.value(series) not in seen, "a scrape of the new process")
        seen.add(release.prometheus.value(series))
    return {"namespace": NAMESPACE}


def no_leader(release: Release, make: MakeResource) -> Labels:
    """The Lease is given to a holder that is not there, for an hour"""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{release.home}/leases/{LEASE}"
    spec = {"holderIdentity": "nobody", "leaseDurationSeconds": 3600}
    release.api.call("PATCH", path, {"spec": spec}, "merge-patch+json")
    return {"namespace": NAMESPACE}


def two_leaders(release: Release, make: MakeResource) -> Labels:
    """Two operators run without `leaderElection`"""
    for stranger in release.strangers:
        stranger.start()
    return {"namespace": NAMESPACE}


def operator_down(release: Release, make: MakeResource) -> Labels:
    """Every operator is killed"""
    for operator in (release.leader, release.standby, *release.strangers):
        if operator.running:
            operator.kill()
    return {}


CAUSES: dict[str, Cause] = {
    "MoptJobsFailing": jobs_failing,
    "MoptResourceStalled": stalled,
    "MoptResourceWithoutProgress": without_progress,
    "MoptResourceNotReady": not_ready,
    "MoptPublishingFailing": publishing_failing,
    "MoptResultOutdated": outdated,
    "MoptArtifactWithdrawn": withdrawn,
    "MoptNamespacesRefused": namespaces_refused,
    "MoptProfileNotValid": profile_not_valid,
    "MoptReconcileFaults": reconcile_faults,
    "MoptWatchBehind": watch_behind,
    "MoptResyncFailing": resync_failing,
    "MoptApiErrors": api_errors,
    "MoptApiThrottled": api_throttled,
    "MoptQueueSlow": queue_slow,
    "MoptResourcesWithoutSeries": without_series,
    # From here on nobody leads.
    "MoptOperatorRestarting": restarting,
    "MoptNoLeader": no_leader,
    "MoptTwoLeaders": two_leaders,
    "MoptOperatorDown": operator_down,
}
"""By alert, in an order in which none is in the way of the next one."""
