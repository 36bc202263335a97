"""The child's side: answers its parent's questions, one JSON line each.

A line to the parent is {"log": {...}}, progress; {"answer": {...}}; or {"error": ChildError}.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from mopt_api.extensible import load_extensions
from mopt_optimizer.errors import OptimizerError
from mopt_optimizer.progress import Log

from .reports import child_error

Handler = Callable[[dict[str, Any], Path, Log], dict[str, Any]]
"""Answers a request in the folder that is the child's to write in."""


def serve(handler: Handler) -> int:
    """Answer the parent's requests until there are no more; the child's whole main.

    The folder is the first argument. Libraries print as they like: all of it goes to standard
    error, since standard output is for answers.
    """
    load_extensions(os.environ)
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    workdir = Path(sys.argv[1])
    for line in sys.stdin:
        _send(channel, _reply(handler, json.loads(line), workdir, _log_to(channel)))
    return 0


def _reply(
    handler: Handler, request: dict[str, Any], workdir: Path, log: Log
) -> dict[str, dict[str, Any]]:
    try:
        return {"answer": handler(request, workdir, log)}
    except OptimizerError as error:
        return {"error": child_error(error).to_api()}
    except Exception as error:  # noqa: BLE001 - the parent reports it as InternalError
        traceback.print_exc()
        return {"error": child_error(error).to_api()}


def _log_to(channel: TextIO) -> Log:
    def log(step: str, message: str, **fields: object) -> None:
        _send(channel, {"log": {"step": step, "message": message, "fields": fields}})

    return log


def _send(channel: TextIO, line: dict[str, Any]) -> None:
    channel.write(json.dumps(line, default=str) + "\n")
    channel.flush()
