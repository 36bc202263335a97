"""Log lines: JSON, one object a line, or text; with the resource that they are about."""

from __future__ import annotations

import json
import logging
import sys
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from mopt_api.text import one_line, plain
from mopt_operator.objects import Resource

from .settings import LogFormat, LogLevel

_ATTRIBUTE = "mopt_about"
reconcile_id: ContextVar[str | None] = ContextVar("reconcile_id", default=None)
"""What the lines of one look at a resource have in common."""


def about(namespace: str, name: str, generation: int | None = None) -> dict[str, Any]:
    """Return the `extra` of a log call that names a resource."""
    fields: dict[str, Any] = {"namespace": namespace, "name": name}
    if generation is not None:
        fields["generation"] = generation
    return {_ATTRIBUTE: fields}


def new_look(namespace: str, name: str, generation: int | None) -> dict[str, Any]:
    """Give the lines of this task an id of their own from here on; return what `about` does."""
    reconcile_id.set(uuid.uuid4().hex[:12])
    return about(namespace, name, generation)


def about_resource(resource: Resource) -> dict[str, Any]:
    """Return the `extra` of a log call about a resource."""
    return about(resource.namespace, resource.name, resource.generation)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the resource's fields, the look at it,
    exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _ATTRIBUTE, {}),
        }
        if (look := reconcile_id.get()) is not None:
            line["reconcileID"] = look
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # ASCII: control characters of whatever the message quotes arrive as escapes.
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """Time, level, resource, message; see one_line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return "\n".join(plain(line) for line in super().formatException(ei).split("\n"))

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        fields = getattr(record, _ATTRIBUTE, None)
        if not fields:
            return line
        generation = f" generation {fields['generation']}" if "generation" in fields else ""
        return f"{line} ({fields['namespace']}/{fields['name']}{generation})"


def configure_logs(log_format: LogFormat, level: LogLevel) -> None:
    """Send the log lines of a level and above to standard error in one format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    if level is LogLevel.INFO:
        # kopf logs each handler call, aiohttp each probe, several times a minute.
        for name in ("kopf.objects", "aiohttp.access"):
            logging.getLogger(name).setLevel(logging.WARNING)
