"""An API server whose watches and logs do what a test says, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

OLD = "too old resource version"
CUT = b"the connection ends here"
"""Among the lines of a log."""


class Server:
    """A list, a watch and a log as the API server gives them.

    Attributes:
        logs: What each request for a log gets: lines, or an HTTP status.
        since: The sinceTime of each such request.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {"modeloptimizations": {}, "pods": {}}
        self.refuses: dict[str, int] = {}
        self.logs: list[list[bytes] | int] = []
        self.since: list[str | None] = []
        self.lists = 0
        self._version = 1
        self._events: list[tuple[int, str, dict[str, Any]]] = []
        self._changed = asyncio.Condition()
        self._open: set[web.StreamResponse] = set()
        self._broken = ""

    async def set(self, plural: str, *raws: dict[str, Any]) -> None:
        """Let there be these objects and no others."""
        async with self._changed:
            before = self.objects[plural]
            after = {raw["metadata"]["uid"]: raw for raw in raws}
            gone = [("DELETED", raw) for uid, raw in before.items() if uid not in after]
            for kind, raw in gone + [("MODIFIED", raw) for raw in raws]:
                self._version += 1
                raw["metadata"]["resourceVersion"] = str(self._version)
                self._events.append((self._version, plural, {"type": kind, "object": raw}))
            self.objects[plural] = after
            self._changed.notify_all()

    async def break_watches(self, how: str) -> None:
        """End open watches: "cut" the connection, "end" in order, or "expire" (410)."""
        async with self._changed:
            self._broken = how
            self._changed.notify_all()
        await asyncio.sleep(0.05)
        self._broken = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        if plural == "log":
            return await self._log(request)
        if status := self.refuses.get(plural):
            return web.json_response({"message": f"{plural} are not for you"}, status=status)
        if "watch" in request.query:
            return await self._watch(request, plural)
        self.lists += 1
        items = list(self.objects[plural].values())
        metadata = {"resourceVersion": str(self._version)}
        return web.json_response({"items": items, "metadata": metadata})

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        version = int(request.query["resourceVersion"])
        while True:
            async with self._changed:
                for at, kind, event in self._events:
                    if at > version and kind == plural:
                        await response.write(json.dumps(event).encode() + b"\n")
                version = self._version
                await self._changed.wait()
            match self._broken:
                case "cut":
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                case "end":
                    return response
                case "expire":
                    gone = {"kind": "Status", "code": 410, "message": OLD}
                    await response.write(json.dumps({"type": "ERROR", "object": gone}).encode())
                    await response.write(b"\n")
                    return response

    async def _log(self, request: web.Request) -> web.StreamResponse:
        self.since.append(request.query.get("sinceTime"))
        told = self.logs.pop(0) if self.logs else []
        if isinstance(told, int):
            return web.json_response({"message": "no log for you"}, status=told)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"".join(line for line in told if line != CUT))
        if CUT in told:
            assert request.transport is not None
            request.transport.close()
        return response


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[str]:
    """Let a server answer; give its URL."""
    application = web.Application()
    application.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def kubeconfig(folder: Path, url: str) -> Path:
    """Write a kubeconfig for a server, of namespace team; return its path."""
    path = folder / "kubeconfig"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(config))
    return path


def newlines(lines: list[bytes]) -> list[bytes]:
    """Return lines with their ends."""
    return [line + b"\n" for line in lines]
