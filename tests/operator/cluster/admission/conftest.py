"""The real Kyverno beside the light cluster: its admission controller as a process, installed as by
its authors.

What their manifest holds is applied, but for what needs Pods; the flags are those of the Deployment
in it. The API server reaches the webhooks by the address of the process.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from go_sources import source_of
from light_cluster import Api, Json

from devcluster.resolving import binaries

NAMESPACE, ACCOUNT = "kyverno", "kyverno-admission-controller"
MANIFEST = Path("config") / "install-latest-testing.yaml"
_NEEDS_PODS = ("Deployment", "Service")
# It makes its certificates, elects itself and waits for its own webhook; the machine may be busy.
PATIENCE = 180.0


def _installed() -> list[Json]:
    """Return Kyverno's objects as the sources of the pinned module declare them."""
    text = (source_of("kyverno", "github.com/kyverno/kyverno") / MANIFEST).read_text()
    # Most of its megabytes are definitions: the parser written in Python takes minutes for them.
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))


def _container(objects: list[Json]) -> Json:
    """Return the admission controller's container."""
    (deployment,) = (
        raw for raw in objects if raw["kind"] == "Deployment" and raw["metadata"]["name"] == ACCOUNT
    )
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    container: Json = found
    return container


def _apply(kubeconfig: Path, objects: list[Json]) -> None:
    """Create objects, namespaces first."""
    ordered = sorted(objects, key=lambda raw: raw["kind"] != "Namespace")
    subprocess.run(
        [binaries(["kubectl"])["kubectl"], "apply", "--server-side", "-f", "-"],
        input=yaml.dump_all(ordered, Dumper=yaml.CSafeDumper),
        env=os.environ | {"KUBECONFIG": str(kubeconfig)},
        stdout=subprocess.DEVNULL,
        text=True,
        timeout=PATIENCE,
        check=True,
    )


def _command(container: Json, kubeconfig: Path, port: int) -> list[str]:
    """Return what starts it outside of a Pod; of a flag that is given twice the last one counts."""
    program = binaries(["kyverno"])["kyverno"]
    return [
        str(program),
        *container["args"],
        f"--kubeconfig={kubeconfig}",
        f"--serverIP=127.0.0.1:{port}",
        "--webhookServerHost=127.0.0.1",
        f"--webhookServerPort={port}",
        "--disableMetrics=true",
        "--controllerRuntimeMetricsAddress=0",
        "--registryCredentialHelpers=default",
    ]


def _environment(container: Json, folder: Path) -> dict[str, str]:
    given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    ours = {"KYVERNO_NAMESPACE": NAMESPACE, "KYVERNO_POD_NAME": ACCOUNT}
    # Nobody's credentials, and no trust root of a public log: a key needs none.
    return os.environ | given | ours | {"HOME": str(folder), "TUF_ROOT": str(folder / "sigstore")}


def _is_ready(port: int) -> bool:
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    url = f"https://127.0.0.1:{port}/health/readiness"
    try:
        with urllib.request.urlopen(url, timeout=5, context=unverified):
            return True
    except OSError:
        return False


class Kyverno:
    """The admission controller that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def wait(self, look: Callable[[], Any]) -> None:
        """Wait until a look is true; fail with the log."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if look():
                return
            assert self._process.poll() is None, self._log.read_text()[-4000:]
            time.sleep(0.3)
        raise AssertionError(self._log.read_text()[-4000:])


@pytest.fixture(scope="session")
def kyverno(
    api: Api,
    cluster: Path,
    account_kubeconfig: Callable[[str, str], Path],
    free_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Kyverno]:
    """Install Kyverno and run its admission controller with its own permissions."""
    objects = _installed()
    container = _container(objects)
    _apply(cluster, [raw for raw in objects if raw["kind"] not in _NEEDS_PODS])
    folder, port = tmp_path_factory.mktemp("kyverno"), free_port()
    log = folder / "kyverno.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            _command(container, account_kubeconfig(NAMESPACE, ACCOUNT), port),
            env=_environment(container, folder),
            stdout=output,
            stderr=output,
        )
    try:
        running = Kyverno(process, log)
        running.wait(lambda: _is_ready(port))
        yield running
        assert process.poll() is None, log.read_text()[-4000:]
    finally:
        process.kill()
        process.wait(timeout=60)
