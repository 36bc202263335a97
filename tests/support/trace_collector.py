"""A collector of traces: OTLP over HTTP, the requests parsed by the protocol's own classes."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from json_server import running
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Received:
    """A span as it arrived.

    Attributes:
        about: Its attributes, and those of the resource that it is of.
        failed: Its status is ERROR.
        start, end: In seconds of the epoch.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    about: dict[str, Any]
    failed: bool
    message: str
    events: list[str]
    start: float
    end: float


class Collector(ThreadingHTTPServer):
    """Takes spans at /v1/traces.

    Attributes:
        headers: Of the last request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Received] = []
        self.headers: dict[str, str] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def tree(self, above: str) -> dict[str, Any]:
        """Return what is below a span, by names."""
        below = [span for span in self.spans if span.parent_id == above]
        return {span.name: self.tree(span.span_id) for span in below}

    def the(self, name: str) -> Received:
        """Return the only span of a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        self.server.headers = dict(self.headers)
        self.server.spans += _spans(ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _spans(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for of_process in request.resource_spans:
        shared = _values(of_process.resource.attributes)
        for scope in of_process.scope_spans:
            for span in scope.spans:
                yield Received(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    about=shared | _values(span.attributes),
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    message=span.status.message,
                    events=[event.name for event in span.events],
                    start=span.start_time_unix_nano / 1e9,
                    end=span.end_time_unix_nano / 1e9,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Let a collector run."""
    with running(Collector()) as server:
        yield server
