"""The Python client: what the commands do to a cluster, for programs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mopt_api.base import REQUESTED_AT_ANNOTATION
from mopt_api.jobs.measure_result import MeasureResult

from ._errors import CliError, NotFound, TimedOut
from .access import Access
from .extras import require_cluster, require_store
from .looking import answered, first
from .model_optimization import ModelOptimization, time_of_event
from .resources import checked_kind, load
from .selections import artifact_of, name_of

if TYPE_CHECKING:
    from .cluster import Cluster, Raw

Answer = TypeVar("Answer")


class Client:
    """The ModelOptimizations of a namespace, with the user's permissions, as kubectl has them.

        client = Client(namespace="mopt-demo")
        client.apply("super-resolution.yaml")
        done = client.wait("super-resolution", timeout=3600)
        print(client.result("super-resolution").selected)
        path = client.download("super-resolution", "models/")

    Each call opens a connection, waits for the answer and closes it. Each may raise NoCluster,
    NotFound, Forbidden or another CliError, whose message is one line that says what to do.
    """

    def __init__(
        self,
        namespace: str | None = None,
        *,
        context: str | None = None,
        kubeconfig: Path | str | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            namespace: None is that of the context.
            context: Of the kubeconfig; None is the current one.
            kubeconfig: None is KUBECONFIG, else ~/.kube/config.

        Raises:
            CliError: The Kubernetes client is not installed.
        """
        require_cluster("Client")
        self._access = Access(Path(kubeconfig) if kubeconfig else None, context, namespace)

    def get(self, name: str) -> ModelOptimization:
        """Return a resource as it is now."""

        async def read(cluster: Cluster) -> Raw:
            return await first(cluster, name)

        return ModelOptimization(self._asked(read))

    def resources(
        self, selector: str | None = None, *, everywhere: bool = False
    ) -> list[ModelOptimization]:
        """Return the resources of the namespace, in the order of their names.

        Args:
            selector: Of labels, as kubectl's -l.
            everywhere: Those of all namespaces.
        """

        async def read(cluster: Cluster) -> list[Raw]:
            pages = cluster.pages(everywhere=everywhere, selector=selector)
            return [raw async for page in pages for raw in page]

        found = [ModelOptimization(raw) for raw in self._asked(read)]
        return sorted(found, key=lambda each: (each.namespace, each.name))

    def events(self, resource: ModelOptimization) -> list[Raw]:
        """Return the Events on a resource, the oldest first."""

        async def read(cluster: Cluster) -> list[Raw]:
            return await cluster.events(resource.raw["metadata"]["uid"])

        return sorted(self._asked(read), key=time_of_event)

    def apply(
        self, manifest: Mapping[str, Any] | Path | str, *, force: bool = False
    ) -> ModelOptimization:
        """Create a resource, or change it to this, by server-side apply; return it.

        Args:
            manifest: A ModelOptimization, or the path of a YAML or JSON file with one.
            force: Take over fields that somebody else owns, such as kubectl apply.

        Raises:
            Conflict: Without force: somebody else owns a field.
        """
        if isinstance(manifest, Path | str):
            document = load(Path(manifest))
        else:
            document = checked_kind(dict(manifest), "the manifest")
        return ModelOptimization(_run(self._apply(document, force=force)))

    async def _apply(self, document: dict[str, Any], *, force: bool) -> Raw:
        from .cluster import Refused, connected

        metadata = document.get("metadata") or {}
        if not metadata.get("name"):
            raise CliError("metadata.name is missing: what is applied has one")
        named = metadata.get("namespace")
        if named and self._access.namespace not in (None, named):
            raise CliError(
                f"{name_of(document)} is of namespace {named}, and the client of "
                f"{self._access.namespace}: leave one of them out"
            )
        access = replace(self._access, namespace=named or self._access.namespace)
        async with connected(access) as cluster:
            with answered():
                try:
                    return await cluster.apply(document, force=force)
                except Refused as error:
                    if error.status != 404:
                        raise
                    await cluster.names()  # Refused too where the kind is what is missing.
                    raise NotFound(
                        f"there is no namespace {cluster.namespace}: make it with kubectl create "
                        f"namespace {cluster.namespace}"
                    ) from error

    def wait(self, name: str, timeout: float | None = None) -> ModelOptimization:
        """Return a resource once it is Ready or Stalled, for its present spec; outcome says which.

        Args:
            timeout: Seconds; None waits for as long as it takes.

        Raises:
            TimedOut: It is neither by then.
            NotFound: There is none, or it was deleted meanwhile.
        """
        raw = _run(self._wait(name, timeout))
        if raw is None:
            raise NotFound(f"{name} was deleted while it was waited for")
        return ModelOptimization(raw)

    async def _wait(self, name: str, timeout: float | None) -> Raw | None:
        from .cluster import connected
        from .following import Following
        from .watch_session import WatchSession

        following = Following(name)
        async with connected(self._access) as cluster:
            session = WatchSession(cluster, name, following, lambda _line: None, pods=False)
            try:
                async with asyncio.timeout(timeout):
                    return (await session.run())[1]
            except TimeoutError as error:
                state = following.headline or "not seen yet"
                raise TimedOut(
                    f"{name} was not done within {timeout:g} s: {state}; it goes on"
                ) from error

    def result(self, name: str, target: str | None = None) -> MeasureResult:
        """Return the latest result.json of a target, verified by its digest in status.

        Args:
            target: None is the only one.

        Raises:
            NothingSelected: There is none yet.
            CliError: The store refuses, or holds other bytes.
        """
        from .export_sources import latest_source

        resource = self.get(name)
        require_store("Client", resource.target(target).report.uri)
        return latest_source(resource.raw, target).result

    def download(
        self, name: str, folder: Path | str, target: str | None = None, *, file: str | None = None
    ) -> Path:
        """Bring what a resource serves into a folder, verified by its digest; return its path.

        Files that belong beside it come too. What is there already, undamaged, is left.

        Args:
            target: None is the only one.
            file: What to call it; None is as its format is usually called.

        Raises:
            NothingSelected: Nothing is selected.
            CliError: The store refuses, or holds other bytes; nothing is left behind.
        """
        from .downloading import download, files_of

        files = files_of(artifact_of(self.get(name).raw, target), file)
        require_store("Client", files[-1].uri)
        return download(files, Path(folder), os.environ)

    def rerun(self, name: str, now: datetime | None = None) -> ModelOptimization:
        """Ask for a new run of everything: set the annotation mopt.dev/requestedAt.

        Args:
            now: With its zone; None is the present time.
        """
        stamp = (now or datetime.now(UTC)).astimezone(UTC).isoformat().replace("+00:00", "Z")
        return self._changed(name, {"metadata": {"annotations": {REQUESTED_AT_ANNOTATION: stamp}}})

    def suspend(self, name: str) -> ModelOptimization:
        """Let no Jobs run, and delete those that do; results are kept."""
        return self._changed(name, {"spec": {"execution": {"suspend": True}}})

    def resume(self, name: str) -> ModelOptimization:
        """Let Jobs run again."""
        return self._changed(name, {"spec": {"execution": {"suspend": False}}})

    def _changed(self, name: str, change: Raw) -> ModelOptimization:
        async def write(cluster: Cluster) -> Raw:
            from .cluster import Refused

            try:
                return await cluster.patch(name, change)
            except Refused as error:
                if error.status == 404:
                    await first(cluster, name)  # It says what there is instead.
                raise

        return ModelOptimization(self._asked(write))

    def _asked(self, ask: Callable[[Cluster], Coroutine[Any, Any, Answer]]) -> Answer:
        async def answer() -> Answer:
            from .cluster import connected

            async with connected(self._access) as cluster:
                with answered():
                    return await ask(cluster)

        return _run(answer())


def _run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Return what work returns; also where a loop runs already, as in a notebook."""
    if not _in_loop():
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
