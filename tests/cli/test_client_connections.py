"""The Python client leaves no connection behind, whatever its server does."""

from __future__ import annotations

import gc
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from watch_server import kubeconfig
from watched import NAME, resource
from web_server import WebRequest, WebServer, server_pki, web_server

from mopt_cli import Client

READY = resource("True", "Optimized", "fast", progress=None)
READY["metadata"]["resourceVersion"] = "2"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    """An API server by TLS whose watch tells of one change and then holds its connection."""
    over = threading.Event()

    def script(request: WebRequest) -> None:
        if "watch=true" in request.path:
            event = json.dumps({"type": "MODIFIED", "object": READY}).encode()
            request.answer(200, event + b"\n", Content_Length="")
            over.wait()
        else:
            listed = {"items": [READY | {"status": {}}], "metadata": {"resourceVersion": "1"}}
            request.answer(200, json.dumps(listed).encode())

    with web_server(server_pki(tmp_path), script) as server:
        yield server
        over.set()


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Errors that nothing can catch: warnings of what is collected among them."""
    found: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: found.append(one.exc_value))
    return found


def test_a_watch_that_is_left_leaves_no_connection(
    server: WebServer, tmp_path: Path, unraisable: list[Any]
) -> None:
    path = kubeconfig(tmp_path, server.address)
    config = yaml.safe_load(path.read_text())
    config["clusters"][0]["cluster"]["certificate-authority"] = str(tmp_path / "ca.crt")
    path.write_text(yaml.safe_dump(config))
    assert Client("team", kubeconfig=path).wait(NAME, timeout=60).ready
    gc.collect()
    assert any("watch=true" in asked for asked in server.asked)
    assert unraisable == []
