"""Named by MOPT_EXTENSIONS: takes over the process that a plan names, once its walls stand.

Every process of mopt imports it. In a worker it stands before the handler, as a model would that
runs code when it is opened; elsewhere it does nothing.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from attacker import World, plan, tried

from mopt_optimizer.progress import Log
from mopt_optimizer.sandbox import server


def _place() -> str:
    """Return the module that runs as this process's main one."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else ""


def _readable(request: dict[str, Any], otherwise: str) -> Path:
    """Return a file that the parent gave the process to read."""
    opening = request.get("opening") or {}
    files = request.get("files") or []
    given = request.get("path") or opening.get("path") or request.get("onnx") or "".join(files[:1])
    return Path(given or otherwise)


def _take_over() -> None:
    task = plan()
    place = _place()
    if task is None or place not in task.place.split(","):
        return
    answer_honestly = server._reply
    asked = 0

    def reply(
        handler: server.Handler, request: dict[str, Any], workdir: Path, log: Log
    ) -> dict[str, Any]:
        nonlocal asked
        if not workdir.name.startswith(task.folder_prefix):
            return answer_honestly(handler, request, workdir, log)
        asked += 1
        if asked == 1:
            readable = _readable(request, task.readable)
            _attempt_all(World(os.getppid(), Path(task.outside), readable, workdir))
        if task.behaviour:
            from attacker_behaviours import BEHAVIOURS, Scene

            def honest() -> dict[str, Any]:
                return answer_honestly(handler, request, workdir, log)

            return BEHAVIOURS[task.behaviour](
                Scene(request, workdir, log, honest, asked, task.options)
            )
        return answer_honestly(handler, request, workdir, log)

    server._reply = reply

    def _attempt_all(world: World) -> None:
        import attacker_all

        assert attacker_all.BY_MODULE
        for name in task.attempts:
            outcome = replace(tried(name, world), place=place)
            print(outcome.line(), file=sys.stderr, flush=True)


_take_over()
