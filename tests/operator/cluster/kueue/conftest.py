"""The real Kueue beside the light cluster: its manager as a process, installed as by its authors.

What `kubectl kustomize config/default` of its Go module renders is applied, but for what needs
Pods: the manager's Deployment and its extra API. The API server reaches the webhooks by Kueue's own
Service, which here is another name for localhost.
"""

from __future__ import annotations

import base64
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from go_sources import source_of
from light_cluster import Api

from devcluster.resolving import binaries

Json = dict[str, Any]

NAMESPACE = "kueue-system"
SERVICE = "kueue-webhook-service"
SECRET = "kueue-webhook-server-cert"
ACCOUNT = "kueue-controller-manager"
_NEEDS_PODS = ("Deployment", "APIService", "ConfigMap")
# It starts two managers, one after the other, and the machine may be busy.
PATIENCE = 120.0


def _rendered(kubectl: Path) -> list[Json]:
    """Return Kueue's objects as the sources of the pinned module declare them."""
    source = source_of("kueue", "sigs.k8s.io/kueue")
    render = [str(kubectl), "kustomize", str(source / "config" / "default")]
    text = subprocess.run(render, capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(text))


def _webhook_clients(raw: Json) -> Iterator[Json]:
    for webhook in raw.get("webhooks", ()):
        yield webhook["clientConfig"]
    conversion = raw.get("spec", {}).get("conversion", {})
    if raw["kind"] == "CustomResourceDefinition" and "webhook" in conversion:
        yield conversion["webhook"]["clientConfig"]


def _for_a_process(objects: list[Json], port: int) -> list[Json]:
    """Return the objects by which Kueue's manager runs outside of the cluster."""
    found = []
    for raw in objects:
        if raw["kind"] in _NEEDS_PODS:
            continue
        if raw["kind"] == "Service":
            if raw["metadata"]["name"] != SERVICE:
                continue
            raw["spec"] = {"type": "ExternalName", "externalName": "localhost"}
        for client in _webhook_clients(raw):
            client["service"]["port"] = port
        found.append(raw)
    return found


def _configuration(health: int, webhooks: int, certificates: Path) -> Json:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": webhooks, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": True},
        "integrations": {"frameworks": ["batch/job"]},
    }


def _wait(look: Callable[[], Any], process: subprocess.Popen[bytes], log: Path) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        assert process.poll() is None, log.read_text()[-4000:]
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-4000:])


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def kueue(
    api: Api,
    cluster: Path,
    account_kubeconfig: Callable[[str, str], Path],
    free_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Install Kueue and run its manager with its own permissions."""
    programs = binaries(["kubectl", "kueue"])
    folder = tmp_path_factory.mktemp("kueue")
    health, port = free_port(), free_port()
    objects = _for_a_process(_rendered(programs["kubectl"]), port)
    # The webhooks come last: Kueue's own objects need none while it is not there.
    objects.sort(key=lambda raw: (raw["kind"] != "Namespace", "webhooks" in raw))
    subprocess.run(
        [programs["kubectl"], "apply", "--server-side", "-f", "-"],
        input=yaml.safe_dump_all(objects),
        env=os.environ | {"KUBECONFIG": str(cluster)},
        stdout=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    config, log, certificates = (
        folder / "config.yaml",
        folder / "kueue.log",
        folder / "certificates",
    )
    config.write_text(yaml.safe_dump(_configuration(health, port, certificates)))
    with log.open("ab") as output:
        process = subprocess.Popen(
            [programs["kueue"], f"--config={config}", "--feature-gates=VisibilityOnDemand=false"],
            env=os.environ | {"KUBECONFIG": str(account_kubeconfig(NAMESPACE, ACCOUNT))},
            stdout=output,
            stderr=output,
        )
    try:
        secret = f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}"
        data = _wait(lambda: api.call("GET", secret).get("data"), process, log)
        # What the kubelet does for a Pod.
        certificates.mkdir()
        for name, value in data.items():
            (certificates / name).write_bytes(base64.b64decode(value))
        _wait(lambda: _is_ready(health), process, log)
        yield
        assert process.poll() is None, log.read_text()[-4000:]
    finally:
        process.kill()
        process.wait(timeout=60)
