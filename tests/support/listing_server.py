"""An API server that lists ModelOptimizations, page after page."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml


class ListingServer:
    """What it lists, and how it answers.

    Attributes:
        items: The resources of all namespaces.
        refuses: An HTTP status in place of an answer.
        page: Most items of one answer.
        paths: What was asked for.
        tokens: By whom, as requests say it.
        lists: How many lists of all namespaces were begun.
        then: Called as each of these is begun, with its number, from 1.
    """

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self.items = items
        self.refuses: int | None = None
        self.page = 500
        self.paths: set[str] = set()
        self.tokens: set[str] = set()
        self.lists = 0
        self.then: Callable[[int], None] | None = None
        self.url = ""

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        if self.refuses is not None:
            return self.refuses, {"message": "not for you"}
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if "/namespaces/" in parts.path:
            namespace = parts.path.split("/namespaces/")[1].split("/")[0]
            name = query.get("fieldSelector", "").removeprefix("metadata.name=")
            found = [
                raw
                for raw in self.items
                if raw["metadata"]["namespace"] == namespace
                and name in ("", raw["metadata"]["name"])
            ]
            return 200, {"items": found, "metadata": {"resourceVersion": "1"}}
        start = int(query.get("continue", 0))
        if not start:
            self.lists += 1
            if self.then is not None:
                self.then(self.lists)
        end = start + min(self.page, int(query["limit"]))
        metadata = {"continue": str(end)} if end < len(self.items) else {}
        return 200, {"items": self.items[start:end], "metadata": metadata}

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig with the contexts x and, of nobody, y; return its path."""
        path = folder / "kubeconfig"
        context = {"user": "u", "namespace": "team"}
        config = {
            "clusters": [
                {"name": "c", "cluster": {"server": self.url}},
                {"name": "none", "cluster": {"server": "http://127.0.0.1:9"}},
            ],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [
                {"name": "x", "context": context | {"cluster": "c"}},
                {"name": "y", "context": context | {"cluster": "none"}},
            ],
            "current-context": "x",
        }
        path.write_text(yaml.safe_dump(config))
        return path


@contextmanager
def listing(server: ListingServer) -> Iterator[ListingServer]:
    """Let a server answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.paths.add(urlsplit(self.path).path)
            server.tokens.add(self.headers.get("Authorization", ""))
            status, body = server.answer(self.path)
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        serving = threading.Thread(target=http.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield server
        finally:
            http.shutdown()
            serving.join()
