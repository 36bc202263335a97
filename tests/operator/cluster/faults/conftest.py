"""An operator behind a faulty proxy, and where the figures of a run go."""

from __future__ import annotations

import base64
import os
import platform
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from faulty_proxy import FaultyProxy
from light_cluster import Api, by_way_of

_HEAD = """# A run with faults

`MOPT_SEED={seed} hack/test faults`, Kubernetes 1.34 (light cluster), Python {python}, {processors}
processors. A proxy between operator and API server makes the faults; the tests play the kubelet.

| What | Figure |
|---|---|
"""


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Iterator[Callable[[str, str], None]]:
    """Return a function that notes a figure for the file that --record names."""
    named: Path | None = request.config.getoption("--record")
    lines: list[str] = []
    yield lambda what, figure: lines.append(f"| {what} | {figure} |\n")
    if named is not None and lines:
        head = _HEAD.format(
            python=platform.python_version(),
            processors=os.cpu_count(),
            seed=request.config.getoption("--hypothesis-seed"),
        )
        named.write_text(head + "".join(lines))


@pytest.fixture(scope="session")
def proxy(api: Api) -> Iterator[FaultyProxy]:
    cluster = api.config["clusters"][0]["cluster"]
    where = urlsplit(cluster["server"])
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    running = FaultyProxy(where.hostname, where.port, context)
    yield running
    running.close()


@pytest.fixture(scope="session")
def proxied(
    proxy: FaultyProxy, operator_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a kubeconfig by which the operator reaches the API server through the proxy."""
    folder = tmp_path_factory.mktemp("proxied")
    return by_way_of(f"http://127.0.0.1:{proxy.port}", operator_kubeconfig, folder)
