"""The real Flux beside the light cluster: its controllers as processes, and what feeds them.

An artifact reaches kustomize-controller by an ExternalArtifact, which is made for others than
source-controller to fill in; or by source-controller from a registry.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml
from flux import PATIENCE, Git, Kubectl, Kustomization, MakeGit, MakeKustomization
from go_sources import source_of
from light_cluster import Api, Json
from served_program import served

from devcluster.resolving import binaries

CONTROLLERS = ("kustomize-controller", "source-controller")


@pytest.fixture(scope="session")
def kubectl(kubectl: Callable[..., subprocess.CompletedProcess[str]]) -> Kubectl:
    """Return a function that runs kubectl as the administrator and returns what it prints."""

    def run(*arguments: str, stdin: str = "") -> str:
        return kubectl(*arguments, stdin=stdin).stdout

    return run


def _define(kubectl: Kubectl, place: Path) -> None:
    """Install the definitions of a file or folder; return once they are served."""
    kubectl("apply", "--server-side", "-f", str(place))
    # `kubectl wait` fails on one that has no conditions yet.
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        told = kubectl("get", "-f", str(place), "-o", "json")
        found = json.loads(told)
        if all(_established(raw) for raw in found.get("items", [found])):
            return
        time.sleep(0.2)
    raise AssertionError(told)


def _established(raw: Json) -> bool:
    conditions = raw.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


@pytest.fixture(scope="session")
def flux_definitions(kubectl: Kubectl, api: Api) -> None:
    """Install the CustomResourceDefinitions of Flux's controllers."""
    for name in CONTROLLERS:
        folder = source_of(name, f"github.com/fluxcd/{name}") / "config" / "crd" / "bases"
        _define(kubectl, folder)


@pytest.fixture(scope="session")
def argocd_definitions(kubectl: Kubectl, api: Api) -> None:
    """Install the CustomResourceDefinition of Argo CD's Applications."""
    folder = source_of("argocd", "github.com/argoproj/argo-cd/v3") / "manifests" / "crds"
    _define(kubectl, folder / "application-crd.yaml")


@dataclass(frozen=True)
class Flux:
    """What starts one of Flux's controllers."""

    program: Path
    kubeconfig: Path
    folder: Path
    health: int
    arguments: tuple[str, ...]

    @contextmanager
    def running(self) -> Iterator[None]:
        address = f"127.0.0.1:{self.health}"
        flags = [f"--health-addr={address}", "--metrics-addr=0", *self.arguments]
        environment = {"KUBECONFIG": str(self.kubeconfig), "RUNTIME_NAMESPACE": "default"}
        log = self.folder / f"{self.program.name}.log"
        with served([self.program, *flags], f"http://{address}/readyz", log, environment):
            yield


@pytest.fixture(scope="session")
def kustomize_controller(
    flux_definitions: None,
    cluster: Path,
    free_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Run kustomize-controller."""
    program = binaries(["kustomize-controller"])["kustomize-controller"]
    # One that waits takes a place while it does.
    arguments = ("--concurrent=16", "--feature-gates=ExternalArtifact=true")
    folder = tmp_path_factory.mktemp("flux")
    with Flux(program, cluster, folder, free_port(), arguments).running():
        yield


@pytest.fixture(scope="session")
def source_controller(
    flux_definitions: None,
    cluster: Path,
    free_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Run source-controller."""
    program = binaries(["source-controller"])["source-controller"]
    folder = tmp_path_factory.mktemp("flux")
    storage = f"127.0.0.1:{free_port()}"
    arguments = (
        f"--storage-path={folder}",
        f"--storage-addr={storage}",
        f"--storage-adv-addr={storage}",
    )
    with Flux(program, cluster, folder, free_port(), arguments).running():
        yield


@pytest.fixture(scope="session")
def website(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Serve a folder over HTTP; yields it and its URL."""
    folder = tmp_path_factory.mktemp("site")
    handler = partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def make_git(api: Api, flux_definitions: None, website: tuple[Path, str]) -> MakeGit:
    """Return a maker of sources of Kustomizations; its arguments are namespace and name."""
    return lambda namespace, name: Git(api, namespace, name, website)


@pytest.fixture
def make_kustomization(api: Api, kustomize_controller: None) -> MakeKustomization:
    """Return a maker of Kustomizations: namespace, source, and fields of spec."""
    return partial(Kustomization, api)


class Registry:
    """An OCI registry of the test's own, without TLS, and the tools that write to it."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self._folder = folder
        self._programs = binaries(["crane", "cosign"])

    def _run(self, program: str, *arguments: str | Path) -> str:
        done = subprocess.run(
            [self._programs[program], *arguments],
            env=os.environ | {"COSIGN_PASSWORD": ""},
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def push(self, repository: str, packed: bytes) -> str:
        """Push an image of one layer, a tar.gz, and return its digest."""
        layer = self._folder / "layer.tar.gz"
        layer.write_bytes(packed)
        where = f"{self.address}/{repository}:incoming"
        told = self._run("crane", "append", "--oci-empty-base", "-f", layer, "-t", where)
        return told.strip().rpartition("@")[2]

    def sign(self, repository: str, digest: str, key: Path) -> None:
        """Sign what a digest names; offline, so that no transparency log hears of it."""
        self._run(
            *("cosign", "sign", "--yes", "--key", key),
            *("--use-signing-config=false", "--tlog-upload=false"),
            *("--allow-http-registry", f"{self.address}/{repository}@{digest}"),
        )

    def tag(self, repository: str, digest: str, tag: str) -> None:
        """Move a tag to a digest."""
        self._run("crane", "tag", f"{self.address}/{repository}@{digest}", tag)

    def make_key(self, name: str) -> Path:
        """Make a key pair NAME.key and NAME.pub; return the private one's path."""
        self._run("cosign", "generate-key-pair", "--output-key-prefix", name)
        return self._folder / f"{name}.key"


@pytest.fixture(scope="session")
def registry(
    free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """Run the distribution project's registry."""
    folder = tmp_path_factory.mktemp("registry")
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": address},
    }
    file = folder / "config.yml"
    file.write_text(yaml.safe_dump(settings))
    command = [str(binaries(["registry"])["registry"]), "serve", str(file)]
    # Without a telemetry collector it would look for one.
    environment = {"OTEL_TRACES_EXPORTER": "none"}
    with served(command, f"http://{address}/v2/", folder / "registry.log", environment):
        yield Registry(address, folder)
