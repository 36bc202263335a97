"""A small API server over many settled resources, to measure an operator's start.

What it serves from memory: discovery, lists in pages, watches with bookmarks, leases, and the
operator's writes, each of which it counts. It checks nothing: for that there is the light cluster.
"""

from __future__ import annotations

import asyncio
import copy
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from settled_objects import NAMESPACE, templates

from mopt_operator.cluster.threads import LoopThread

Json = dict[str, Any]

_VERSIONS = {
    "modeloptimizations": ("mopt.dev", "v1alpha1", "ModelOptimization"),
    "jobs": ("batch", "v1", "Job"),
    "pods": ("", "v1", "Pod"),
}
# kopf waits until it has seen these two, whether it watches them or not.
_DISCOVERED = _VERSIONS | {
    "namespaces": ("", "v1", "Namespace"),
    "customresourcedefinitions": ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
}
_BOOKMARK_SECONDS = 30.0
_EXPIRED = b'{"type":"ERROR","object":{"kind":"Status","code":410}}'
# Above the versions of all that is there from the beginning.
_FIRST_VERSION = 10_000_000


class SettledServer:
    """Serves so many resources.

    Attributes:
        requests: How often each verb was called on each kind; whole lists are `list`, those of
            metadata `list metadata`.
        sent: Bytes of all answers but those of the watches.
        page_seconds: What a page of a list takes.
        created: When the first object of each kind was created, on the clock of time.monotonic.
    """

    def __init__(self, resources: int) -> None:
        self.requests: Counter[str] = Counter()
        self.sent = 0
        self.page_seconds = 0.0
        self.created: dict[str, float] = {}
        self._count = resources
        self._templates = templates()
        self._version = _FIRST_VERSION
        self._new: dict[str, dict[str, Json]] = {plural: {} for plural in _VERSIONS}
        self._leases: dict[str, Json] = {}
        self._events: dict[str, list[Json]] = {kind: [] for kind in _VERSIONS}
        self._watches: dict[str, set[asyncio.Queue[bytes]]] = {kind: set() for kind in _VERSIONS}

    def application(self) -> web.Application:
        """Return what is to be served."""
        pages = web.Application()
        pages.router.add_route("*", "/{path:.*}", self._answer)
        return pages

    def expire(self) -> None:
        """End all watches as if what they continue from had been compacted."""
        for watches in self._watches.values():
            for watch in watches:
                watch.put_nowait(_EXPIRED)

    def touch(self) -> None:
        """Let each settled resource change where it does not matter, all at once."""
        (template,) = self._templates["modeloptimizations"]
        for number in range(self._count):
            self._version += 1
            raw = template.of(number, whole=True)
            old = json.loads(template.of(number, whole=False))["metadata"]["resourceVersion"]
            raw = raw.replace(f'"{old}"'.encode(), f'"{self._version}"'.encode())
            for watch in self._watches["modeloptimizations"]:
                watch.put_nowait(b'{"type":"MODIFIED","object":%s}' % raw)

    def holder(self) -> str:
        """Return who holds the only lease."""
        return "".join(lease["spec"]["holderIdentity"] for lease in self._leases.values())

    def give_lease(self, name: str, holder: str) -> None:
        """Let somebody hold a lease for good; nobody where the holder is empty."""
        self._version += 1
        metadata = {"namespace": NAMESPACE, "name": name, "resourceVersion": str(self._version)}
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 3600}
        self._leases[name] = {"metadata": metadata, "spec": spec}

    def restore(self) -> None:
        """Go back to what an old backup held."""
        self._version = _FIRST_VERSION // 2
        for plural in _VERSIONS:
            self._new[plural].clear()
            self._events[plural].clear()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = [part for part in request.path.split("/") if part]
        if parts[:1] == ["bench"]:
            for ask in parts[1:]:
                {"expire": self.expire, "restore": self.restore, "touch": self.touch}[ask]()
            return web.json_response(self._told())
        namespaced = "namespaces" in parts
        root = parts[: parts.index("namespaces")] if namespaced else parts
        rest = parts[parts.index("namespaces") + 2 :] if namespaced else parts[len(root) - 1 :]
        if not rest or (not namespaced and rest[0] not in _VERSIONS):
            return self._json(_discovery(parts))
        kind, *name = rest
        if request.query.get("watch") == "true":
            return await self._watch(request, kind)
        if request.query.get("limit", "1") != "1":
            await asyncio.sleep(self.page_seconds)
        body = await request.json() if request.can_read_body else {}
        status, answer = self._call(request, kind, name, body)
        return self._json(answer, status) if isinstance(answer, dict) else self._body(answer)

    def _call(
        self, request: web.Request, kind: str, name: list[str], body: Json
    ) -> tuple[int, Json | bytes]:
        if request.method == "GET" and not name and kind in _VERSIONS:
            return 200, self._list(request, kind)
        dry = request.query.get("dryRun") == "All"
        self.requests[f"{request.method} {kind}{' dry' * dry}{'/status' * (len(name) > 1)}"] += 1
        if dry:
            return 201, body
        if kind == "leases":
            return self._lease(request.method, name, body)
        if request.method == "POST" and kind in _VERSIONS:
            return 201, self._create(kind, body)
        if request.method == "GET":
            return 404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "message": ""}
        return 200, self._replace(kind, name[0], body) if kind in _VERSIONS else body

    def _list(self, request: web.Request, kind: str) -> bytes:
        whole = "PartialObjectMetadata" not in request.headers.get("Accept", "")
        # The operator's look at whether it may list at all is no list.
        limit = int(request.query.get("limit") or 10**9)
        self.requests[f"list {'' if whole else 'metadata '}{kind}" if limit > 1 else "look"] += 1
        made = self._templates[kind]
        total = self._count * len(made)
        start = int(request.query.get("continue") or 0)
        end = min(start + limit, total)
        items = [
            made[place % len(made)].of(place // len(made), whole=whole)
            for place in range(start, end)
        ]
        if end == total:
            items += [json.dumps(raw).encode() for raw in self._new[kind].values()]
        token = str(end) if end < total else ""
        metadata = json.dumps({"resourceVersion": str(self._version), "continue": token})
        return b'{"metadata":%s,"items":[%s]}' % (metadata.encode(), b",".join(items))

    def _create(self, kind: str, body: Json) -> Json:
        metadata = body["metadata"]
        uid = f"{self._version:08}-1111-4000-8000-000000000000"
        metadata |= {"uid": uid, "generation": 1, "creationTimestamp": "2026-11-01T12:00:00Z"}
        self.created.setdefault(kind, time.monotonic())
        return self._put(kind, body, "ADDED")

    def _replace(self, kind: str, name: str, body: Json) -> Json:
        known = self._new[kind].get(name, body)
        changed = known | {part: body[part] for part in ("status",) if part in body}
        return self._put(kind, changed, "MODIFIED")

    def _put(self, kind: str, raw: Json, event: str) -> Json:
        self._version += 1
        raw["metadata"]["resourceVersion"] = str(self._version)
        raw["metadata"].setdefault("namespace", NAMESPACE)
        self._new[kind][raw["metadata"]["name"]] = raw
        shown = {"type": event, "object": copy.deepcopy(raw)}
        self._events[kind].append(shown)
        for watch in self._watches[kind]:
            watch.put_nowait(json.dumps(shown).encode())
        return raw

    def _lease(self, method: str, name: list[str], body: Json) -> tuple[int, Json]:
        key = name[0] if name else body["metadata"]["name"]
        if method == "GET" and key not in self._leases:
            return 404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "message": ""}
        if method != "GET":
            self._version += 1
            body["metadata"]["resourceVersion"] = str(self._version)
            self._leases[key] = body
        return 200, self._leases[key]

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        self.requests[f"watch {kind}"] += 1
        events: asyncio.Queue[bytes] = asyncio.Queue()
        since = int(request.query["resourceVersion"])
        for event in self._events[kind]:
            if int(event["object"]["metadata"]["resourceVersion"]) > since:
                events.put_nowait(json.dumps(event).encode())
        self._watches[kind].add(events)
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        try:
            while True:
                try:
                    async with asyncio.timeout(_BOOKMARK_SECONDS):
                        line = await events.get()
                except TimeoutError:
                    group, version, name = _VERSIONS[kind]
                    own = {"kind": name, "apiVersion": f"{group}/{version}".lstrip("/")}
                    metadata = {"metadata": {"resourceVersion": str(self._version)}}
                    line = json.dumps({"type": "BOOKMARK", "object": own | metadata}).encode()
                await answer.write(line + b"\n")
                if line == _EXPIRED:
                    return answer
        finally:
            self._watches[kind].discard(events)

    def _told(self) -> Json:
        return {"requests": self.requests, "sent": self.sent, "created": self.created}

    def _json(self, answer: Json, status: int = 200) -> web.Response:
        return self._body(json.dumps(answer).encode(), status)

    def _body(self, content: bytes, status: int = 200) -> web.Response:
        self.sent += len(content)
        return web.Response(body=content, status=status, content_type="application/json")


def _discovery(parts: list[str]) -> Json:
    """Return what kopf asks for: groups, versions, and the kinds of each."""
    groups = {group: version for group, version, _ in _DISCOVERED.values() if group}
    if parts == ["api"]:
        return {"versions": ["v1"]}
    if parts == ["apis"]:
        return {"groups": [_group(name, version) for name, version in groups.items()]}
    group = parts[1] if parts[:1] == ["apis"] else ""
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    return {
        "resources": [
            {"name": plural, "kind": kind, "singularName": "", "namespaced": True, "verbs": verbs}
            for plural, (own, _, kind) in _DISCOVERED.items()
            if own == group
        ]
    }


def _group(name: str, version: str) -> Json:
    own = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [own], "preferredVersion": own}


def kubeconfig(port: int) -> Json:
    """Return how to reach the server."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "any"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


@contextmanager
def served(server: SettledServer) -> Iterator[int]:
    """Serve in a thread of this process, on a free port; yield the port."""
    port: Future[int] = Future()

    async def serve(stop: asyncio.Event) -> None:
        runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port.set_result(int(runner.addresses[0][1]))
            await stop.wait()
        finally:
            await runner.cleanup()

    thread = LoopThread("api server", serve)
    thread.start()
    try:
        yield port.result(30)
    finally:
        thread.stop()
        thread.ended.result(30)


def main() -> None:
    """Serve until standard input is closed; the first line printed is the port."""
    with served(SettledServer(int(sys.argv[1]))) as port:
        print(port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
