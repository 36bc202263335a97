"""A real API server and controller-manager, the operator as a process, and a kubelet by hand."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import free_ports
import pytest
import yaml
from light_cluster import (
    PATIENCE,
    Api,
    Json,
    Kubectl,
    MakeNamespace,
    MakeOperator,
    MakeResource,
    Operator,
    Refused,
    Resource,
)
from light_operator import OperatorProcess
from operator_rules import LEASE_RULES, PROFILE_RULES, RULES
from operator_world import MakeManifest

ROOT = Path(__file__).resolve().parents[3]
SHARED = "shared"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a light cluster and return its kubeconfig."""
    folder = tmp_path_factory.mktemp("light")
    command = [sys.executable, str(ROOT / "hack" / "devcluster")]
    where = ["--light", "--dir", str(folder)]
    up = subprocess.run(
        [*command, "up", *where, "--audit", "--parent-pid", str(os.getpid())],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    try:
        yield Path(up.stdout.strip().splitlines()[-1])
    finally:
        subprocess.run([*command, "down", *where], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def kubectl_program() -> str:
    """Return the path of kubectl."""
    found = subprocess.run(
        [sys.executable, str(ROOT / "hack" / "devcluster"), "binary", "kubectl"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return found.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="session")
def kubectl(cluster: Path, kubectl_program: str) -> Kubectl:
    """Return a function that runs kubectl as the administrator."""

    def run(*arguments: str, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [kubectl_program, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"KUBECONFIG": str(cluster)},
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def _define(api: Api, crd: Json) -> None:
    """Create a CRD, and wait until it is served."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    api.call("POST", path, crd)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status = api.call("GET", f"{path}/{crd['metadata']['name']}")["status"]
        conditions = status.get("conditions") or ()
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            break
        time.sleep(0.1)


@pytest.fixture(scope="session")
def api(cluster: Path) -> Api:
    """Return the API server with the CRDs and the operator's permissions installed."""
    api = Api(cluster)
    for file in sorted((ROOT / "crds").glob("mopt.dev_*.yaml")):
        _define(api, yaml.safe_load(file.read_text()))
    role = {"kind": "ClusterRole", "name": "mopt-operator", "apiGroup": "rbac.authorization.k8s.io"}
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    metadata = {"metadata": {"name": role["name"]}}
    rules = [*RULES, *PROFILE_RULES, *LEASE_RULES]
    api.call("POST", f"{rbac}/clusterroles", metadata | {"rules": rules})
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": "kube-system"}
    binding = metadata | {"roleRef": role, "subjects": [subject]}
    api.call("POST", f"{rbac}/clusterrolebindings", binding)
    accounts = "/api/v1/namespaces/kube-system/serviceaccounts"
    api.call("POST", accounts, {"metadata": {"name": "operator"}})
    return api


@pytest.fixture(scope="session")
def account_kubeconfig(
    api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """Return a maker of kubeconfigs of a ServiceAccount: its permissions, no others."""

    def make(namespace: str, name: str) -> Path:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = api.call("POST", path, {"spec": {"expirationSeconds": 7200}})
        config = copy.deepcopy(api.config)
        config["users"] = [{"name": name, "user": {"token": answer["status"]["token"]}}]
        config["contexts"][0]["context"]["user"] = name
        file = tmp_path_factory.mktemp(name) / "kubeconfig"
        file.write_text(json.dumps(config))
        return file

    return make


@pytest.fixture(scope="session")
def operator_kubeconfig(account_kubeconfig: Callable[[str, str], Path]) -> Path:
    """Return a kubeconfig of the operator's ServiceAccount."""
    return account_kubeconfig("kube-system", "operator")


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Return a finder of ports of 127.0.0.1 that nobody listens on."""
    return free_ports.free_port


@pytest.fixture(scope="session")
def make_operator(
    operator_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeOperator]:
    """Return a maker of operators (not started); its arguments are settings."""
    made: list[OperatorProcess] = []

    def make(*, kubeconfig: Path = operator_kubeconfig, **config: object) -> Operator:
        # Tests leave measurements unfinished, which are not to hold up those of the next ones.
        profiles = {"default": {"measurementSlots": 1000}}
        settings: Json = {"optimizerImage": "mopt/optimizer:test", "logFormat": "text"}
        settings |= {"profiles": profiles} | config
        made.append(OperatorProcess(kubeconfig, tmp_path_factory.mktemp("operator"), settings))
        return made[-1]

    yield make
    for operator in made:
        if operator.running:
            operator.kill()


@pytest.fixture(scope="session")
def make_namespace(api: Api) -> MakeNamespace:
    """Return a maker of namespaces that enforce restricted Pods."""
    count = iter(range(1000))

    def make(name: str = "") -> str:
        name = name or f"own-{next(count)}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        # The controller-manager makes it; without it no Pod is admitted.
        path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                api.call("GET", path)
            except Refused:
                time.sleep(0.05)
            else:
                return name
        raise AssertionError(f"no default ServiceAccount in {name}")

    return make


@pytest.fixture
def namespace(make_namespace: MakeNamespace) -> str:
    """Return a namespace of the test's own."""
    return make_namespace()


@pytest.fixture(scope="session")
def operator(make_operator: MakeOperator, make_namespace: MakeNamespace) -> Iterator[Operator]:
    """Run an operator for the namespace `shared`, in which each test has its own resource."""
    make_namespace(SHARED)
    running = make_operator(watchNamespaces=[SHARED])
    running.start()
    yield running
    assert running.running, running.log()
    assert "Traceback (most recent call last)" not in running.log(), running.log()


@pytest.fixture
def make_resource(
    api: Api, resource_manifest: MakeManifest, request: pytest.FixtureRequest
) -> MakeResource:
    """Return a maker of resources, named after the test; its arguments are fields of spec."""

    def make(*, namespace: str = SHARED, name: str = "", **spec: object) -> Resource:
        text = request.node.name.replace("test_", "", 1)
        plain = "".join(c if c.isalnum() else "-" for c in text.lower())[:60]
        manifest = resource_manifest(name or plain.strip("-"), **spec)
        manifest["metadata"]["namespace"] = namespace
        api.create(manifest)
        return Resource(api, manifest)

    return make


@pytest.fixture
def existing_resource(api: Api) -> Callable[[Json], Resource]:
    """Return a function that looks at a resource that is there already."""
    return lambda manifest: Resource(api, manifest)


@pytest.fixture
def resource(operator: Operator, make_resource: MakeResource) -> Resource:
    """Create a resource that the shared operator serves."""
    return make_resource()
