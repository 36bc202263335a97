"""The API calls of the operator, all of them.

The permissions it needs, and no others (a ClusterRole, or a Role per watched namespace):

    mopt.dev  modeloptimizations         get list watch
    mopt.dev  modeloptimizations/status  update
    batch     jobs                       get list watch create patch delete
    ""        pods                       get list watch
    ""        events                     list create
    kueue.x-k8s.io  workloads            list

The last one only where Kueue is installed: it says why a Job waits in its queue. Which version of
Kueue's API there is, everybody may ask (system:discovery).
Those on the Lease are in election.py, those on OptimizationProfiles in offers.py, those on readers
of /metrics in bearers.py. Secrets are not among them, nor custom resource definitions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import quote

from kubernetes.aio.client import ApiClient

from mopt_api.base import API_VERSION, GROUP, KIND, PLURAL, VERSION
from mopt_api.profiles import PROFILE_PLURAL
from mopt_operator.objects import SELECTOR, Job, Raw, Resource

from .kueue import Kueue
from .offers import PROFILES_PATH, OfferCalls
from .pages import ListedBytes, Pages
from .requests import JSON, MERGE_PATCH, METADATA_LIST, Requests


class Cluster:
    """The calls that the operator makes.

    Args:
        fence, pace: See Requests.
        listed: See Pages.

    Attributes:
        offers: Those on OptimizationProfiles, and on what they speak of.
    """

    def __init__(
        self,
        client: ApiClient,
        fence: Callable[[], None] | None = None,
        *,
        pace: Callable[[], Awaitable[None]] | None = None,
        listed: ListedBytes = lambda *_: None,
    ) -> None:
        self._request = Requests(client, fence, pace)
        self._pages = Pages(self._request, listed)
        self._kueue = Kueue(self._request, self._pages.items)
        self.offers = OfferCalls(self._request, self._pages)

    async def create_job(self, manifest: Raw) -> Raw:
        """Create a Job and return it as the API server stored it.

        Raises:
            Conflict: There is one of this name.
            Refused: It is rejected.
        """
        path = _jobs(manifest["metadata"]["namespace"])
        return await self._request("POST", path, body=manifest)

    async def try_job(self, manifest: Raw) -> Raw:
        """Have the API server validate a Job strictly, without creating it.

        Raises:
            Refused: It is invalid, or rejected.
            NotFound: There is no such namespace.
        """
        path = _jobs(manifest["metadata"]["namespace"])
        return await self._request(
            "POST", path, body=manifest, dryRun="All", fieldValidation="Strict"
        )

    async def read_job(self, namespace: str, name: str) -> Raw:
        """Return a Job.

        Raises:
            NotFound: There is none.
        """
        return await self._request("GET", _jobs(namespace, name))

    async def delete_job(self, job: Job) -> None:
        """Delete a Job and, in the background, its Pods; not another one of its name.

        Raises:
            NotFound: It is gone.
            Conflict: Another one has its name.
        """
        options = {"propagationPolicy": "Background", "preconditions": {"uid": job.uid}}
        await self._request("DELETE", _jobs(job.namespace, job.name), body=options)

    async def expire_job(self, job: Job, seconds: int) -> Raw:
        """Let a finished Job be deleted after a while; return it.

        Raises:
            NotFound: It is gone.
            Conflict: Another one has its name.
        """
        patch = {"metadata": {"uid": job.uid}, "spec": {"ttlSecondsAfterFinished": seconds}}
        path = _jobs(job.namespace, job.name)
        return await self._request("PATCH", path, body=patch, content_type=MERGE_PATCH)

    async def write_status(self, resource: Resource, status: Raw) -> Raw:
        """Replace a resource's status and return the resource.

        Raises:
            Conflict: It has changed since it was observed.
            NotFound: It is gone.
        """
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": resource.name,
                "namespace": resource.namespace,
                "uid": resource.uid,
                "resourceVersion": resource.version,
            },
            "spec": resource.spec,
            "status": status,
        }
        path = f"{_resources(resource.namespace)}/{resource.name}/status"
        return await self._request("PUT", path, body=body)

    async def failed_creations(self, namespace: str) -> list[Raw]:
        """Return the Events that say why Pods of a namespace's Jobs cannot be created."""
        selector = "involvedObject.kind=Job,reason=FailedCreate"
        path = _in("/api/v1", namespace, "events")
        return await self._pages.items(path, {"fieldSelector": selector})

    async def pods_of(self, job: Job) -> list[Raw]:
        """Return the Job's Pods as they are now."""
        selector = f"batch.kubernetes.io/controller-uid={job.uid}"
        path = _in("/api/v1", job.namespace, "pods")
        return await self._pages.items(path, {"labelSelector": selector})

    async def workloads(self, job: Job) -> list[Raw]:
        """Return Kueue's objects for a Job; none where Kueue is missing or may not be read."""
        return await self._kueue.workloads(job)

    async def create_event(self, event: Raw) -> None:
        """Create an Event.

        Raises:
            Conflict: It exists already.
        """
        path = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        await self._request("POST", path, body=event)

    async def read_lease(self, namespace: str, name: str) -> Raw:
        """Return a Lease.

        Raises:
            NotFound: There is none.
        """
        return await self._request("GET", _leases(namespace, name))

    async def create_lease(self, lease: Raw) -> Raw:
        """Create a Lease and return it.

        Raises:
            Conflict: There is one of this name.
        """
        return await self._request("POST", _leases(lease["metadata"]["namespace"]), body=lease)

    async def replace_lease(self, lease: Raw) -> Raw:
        """Replace a Lease and return it.

        Raises:
            Conflict: It has changed since it was read.
        """
        metadata = lease["metadata"]
        path = _leases(metadata["namespace"], metadata["name"])
        return await self._request("PUT", path, body=lease)

    async def check_access(self, namespace: str | None) -> None:
        """Try what the watches need.

        Raises:
            NotFound: The CRD is not installed.
            Refused: A permission is missing.
        """
        for plural in (PLURAL, "jobs", "pods"):
            path, selector = _listed(plural, namespace)
            await self._request("GET", path, labelSelector=selector, limit="1")

    async def pages(self, plural: str, namespace: str | None, *, whole: bool) -> AsyncIterator[Raw]:
        """Yield a list of ours page by page; all pages are of the first one's moment.

        Args:
            plural: modeloptimizations, jobs, pods or optimizationprofiles.
            namespace: None for all.
            whole: The objects; otherwise only their metadata.

        Raises:
            ApiError: A page is refused, or took so long that the API server forgot its moment.
        """
        path, selector = _listed(plural, namespace)
        query = {"labelSelector": selector} if selector else {}
        async for page in self._pages(path, query, JSON if whole else METADATA_LIST):
            yield page

    async def read(self, plural: str, namespace: str, name: str) -> Raw:
        """Return an object of a kind that is watched.

        Raises:
            NotFound: There is none.
        """
        path, _ = _listed(plural, namespace)
        return await self._request("GET", f"{path}/{quote(name)}")


def _listed(plural: str, namespace: str | None) -> tuple[str, str]:
    """Return the path of a list, and the selector of what is ours in it."""
    if plural == PLURAL:
        return _resources(namespace), ""
    if plural == PROFILE_PLURAL:
        return PROFILES_PATH, ""
    root = "/apis/batch/v1" if plural == "jobs" else "/api/v1"
    return _in(root, namespace, plural), SELECTOR


def _in(root: str, namespace: str | None, plural: str) -> str:
    return f"{root}/namespaces/{quote(namespace)}/{plural}" if namespace else f"{root}/{plural}"


def _resources(namespace: str | None) -> str:
    return _in(f"/apis/{GROUP}/{VERSION}", namespace, PLURAL)


def _jobs(namespace: str | None, name: str | None = None) -> str:
    path = _in("/apis/batch/v1", namespace, "jobs")
    return path if name is None else f"{path}/{quote(name)}"


def _leases(namespace: str, name: str | None = None) -> str:
    path = _in("/apis/coordination.k8s.io/v1", namespace, "leases")
    return path if name is None else f"{path}/{quote(name)}"
