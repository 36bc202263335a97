"""A real API server and controller-manager, the operator as a process, and a kubelet by hand."""

from __future__ import annotations

import base64
import copy
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import light_cluster
import pytest
import urllib3
import yaml
from job_messages import Messages
from light_cluster import Kubectl, MakeNamespace, MakeOperator, MakeResource, Refused
from operator_world import MakeManifest

ROOT = Path(__file__).resolve().parents[3]
SHARED = "shared"
# Everything here happens within a second or two; the machine may be busy.
PATIENCE = 60.0

Json = dict[str, Any]

# What operator/mopt_operator/cluster/api.py lists.
RULES = [
    {
        "apiGroups": ["mopt.dev"],
        "resources": ["modeloptimizations"],
        "verbs": ["get", "list", "watch"],
    },
    {"apiGroups": ["mopt.dev"], "resources": ["modeloptimizations/status"], "verbs": ["update"]},
    {
        "apiGroups": ["batch"],
        "resources": ["jobs"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "create"]},
    {"apiGroups": ["kueue.x-k8s.io"], "resources": ["workloads"], "verbs": ["list"]},
    # What operator/mopt_operator/cluster/offers.py lists.
    {
        "apiGroups": ["mopt.dev"],
        "resources": ["optimizationprofiles"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": ["mopt.dev"], "resources": ["optimizationprofiles/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
    # What operator/mopt_operator/cluster/election.py lists.
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    },
]


class Api:
    """The API server, as the administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self.config = config
        user = config["users"][0]["user"]
        authority = config["clusters"][0]["cluster"]["certificate-authority-data"]
        self.context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
        with tempfile.NamedTemporaryFile() as chain:
            for key in ("client-certificate-data", "client-key-data"):
                chain.write(base64.b64decode(user[key]))
            chain.flush()
            self.context.load_cert_chain(chain.name)
        # One connection for all: a handshake takes longer than most answers.
        server = urllib3.util.parse_url(config["clusters"][0]["cluster"]["server"])
        assert server.host is not None
        self._pool = urllib3.HTTPSConnectionPool(
            server.host, server.port, timeout=30, retries=False, ssl_context=self.context
        )

    def call(self, method: str, path: str, body: Any = None, kind: str = "json") -> Json:
        answer = self._pool.request(
            method,
            path,
            body=None if body is None else json.dumps(body),
            headers={"Content-Type": f"application/{kind}"},
        )
        result: Json = answer.json()
        if answer.status >= 400:
            raise Refused(answer.status, result["message"])
        return result

    def create(self, manifest: Json) -> Json:
        return self.call("POST", self.path(manifest, collection=True), manifest)

    @staticmethod
    def path(manifest: Json, *, collection: bool = False) -> str:
        version, kind = manifest["apiVersion"], manifest["kind"]
        root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        namespace = manifest["metadata"].get("namespace")
        middle = f"/namespaces/{namespace}" if namespace else ""
        end = "" if collection else f"/{manifest['metadata']['name']}"
        return f"{root}{middle}/{kind.lower()}s{end}"


class Resource:
    """One ModelOptimization in the cluster, seen from outside the operator."""

    def __init__(self, api: Api, manifest: Json) -> None:
        self._api = api
        self.manifest = manifest
        self.namespace = manifest["metadata"]["namespace"]
        self.name = manifest["metadata"]["name"]
        self._path = api.path(manifest)

    def read(self) -> Json:
        return self._api.call("GET", self._path)

    def patch(self, body: Json) -> Json:
        return self._api.call("PATCH", self._path, body, "merge-patch+json")

    def delete(self) -> None:
        self._api.call("DELETE", self._path)

    def _labelled(self, root: str, plural: str) -> list[Json]:
        path = (
            f"{root}/namespaces/{self.namespace}/{plural}?labelSelector=mopt.dev/name={self.name}"
        )
        return list(self._api.call("GET", path)["items"])

    def jobs(self) -> list[Json]:
        found = self._labelled("/apis/batch/v1", "jobs")
        return sorted(found, key=lambda job: job["metadata"]["creationTimestamp"])

    def pods(self) -> list[Json]:
        return self._labelled("/api/v1", "pods")

    def events(self) -> list[Json]:
        selector = f"fieldSelector=involvedObject.name={self.name}"
        path = f"/api/v1/namespaces/{self.namespace}/events?{selector}"
        return list(self._api.call("GET", path)["items"])

    def said(self) -> dict[str, tuple[str, str]]:
        """Return status and reason of each condition that tells how the run stands."""
        conditions = self.read().get("status", {}).get("conditions", [])
        return {
            c["type"]: (c["status"], c["reason"])
            for c in conditions
            if c["type"] not in ("ArtifactAvailable", "Published")
        }

    def published(self) -> tuple[str, str, str]:
        """Return status, reason and message of Published; empty where there is none."""
        conditions = self.read().get("status", {}).get("conditions", [])
        found = (c for c in conditions if c["type"] == "Published")
        return next(((c["status"], c["reason"], c["message"]) for c in found), ("", "", ""))

    def wait_published(self, status: str, reason: str) -> None:
        self.wait_for(lambda: self.published()[:2] == (status, reason))

    def message(self) -> str:
        conditions = self.read()["status"]["conditions"]
        return next((str(c["message"]) for c in conditions if c["type"] == "Ready"), "")

    def wait_for(self, look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Return the first true answer of a look, or fail with what there is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.1)
        state = json.dumps(self.read().get("status"), indent=1)
        jobs = [(j["metadata"]["name"], j.get("status")) for j in self.jobs()]
        raise AssertionError(f"waited {seconds} s in vain; status {state}; Jobs {jobs}")

    def wait_said(self, **conditions: tuple[str, str]) -> None:
        self.wait_for(lambda: self.said() == conditions)

    def pod_of(self, stage: str, target: str | None = None) -> Json:
        """Wait for the Pod at work of a stage."""

        def look() -> Json | None:
            for pod in self.pods():
                labels = pod["metadata"]["labels"]
                fits = labels["mopt.dev/stage"] == stage
                fits &= target is None or labels.get("mopt.dev/target") == target
                if fits and pod["status"]["phase"] not in ("Succeeded", "Failed"):
                    return pod
            return None

        found: Json = self.wait_for(look)
        return found

    def set_pod(self, pod: Json, status: Json) -> None:
        """Report what a kubelet would."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/status"
        self._api.call("PATCH", path, {"status": status}, "merge-patch+json")

    def waiting(self, pod: Json, reason: str, message: str) -> None:
        state = {"waiting": {"reason": reason, "message": message}}
        self.set_pod(pod, {"phase": "Pending", "containerStatuses": [_container(state)]})

    def finish(self, pod: Json, message: str, *, exit_code: int = 0, reason: str = "") -> None:
        state = {"terminated": {"exitCode": exit_code, "message": message, "reason": reason}}
        phase = "Failed" if exit_code else "Succeeded"
        self.set_pod(pod, {"phase": phase, "containerStatuses": [_container(state)]})

    def run(self, messages: Messages) -> None:
        """Play the kubelet from the first Job to the last."""
        self.finish(self.pod_of("prepare"), messages.prepare())
        self.finish(self.pod_of("measure"), messages.measure())
        self.wait_said(Ready=("True", "Optimized"))


def _container(state: Json) -> Json:
    return {
        "name": "optimizer",
        "image": "mopt/optimizer:test",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }


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
def api(cluster: Path) -> light_cluster.Api:
    """Return the API server with the CRDs and the operator's permissions installed."""
    api = Api(cluster)
    for file in sorted((ROOT / "crds").glob("mopt.dev_*.yaml")):
        _define(api, yaml.safe_load(file.read_text()))
    role = {"kind": "ClusterRole", "name": "mopt-operator", "apiGroup": "rbac.authorization.k8s.io"}
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    metadata = {"metadata": {"name": role["name"]}}
    api.call("POST", f"{rbac}/clusterroles", metadata | {"rules": RULES})
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


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Return a finder of ports of 127.0.0.1 that nobody listens on."""
    return _free_port


class Operator:
    """The operator's process.

    Attributes:
        address: HOST:PORT of its pages.
        command: What starts it.
    """

    def __init__(self, kubeconfig: Path, folder: Path, config: Json) -> None:
        self.address = f"127.0.0.1:{_free_port()}"
        tls = config.get("healthTls")
        self._context = tls and ssl.create_default_context(cafile=f"{tls['folder']}/ca.crt")
        self._url = f"{'https' if tls else 'http'}://{self.address}"
        file = folder / "config.json"
        own = {"healthAddress": self.address, "restartsFile": str(folder / "restarts.json")}
        file.write_text(json.dumps(config | own))
        self._log = folder / "operator.log"
        self._environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "MOPT_OPERATOR_CONFIG": str(file),
            # kopf leaves its streams to the end of the process: told, but no error.
            "PYTHONWARNINGS": "error,default::ResourceWarning",
        }
        self.command = [sys.executable, "-m", "mopt_operator.main"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.page("readyz")
            except OSError:
                assert self._process.poll() is None, self.log()
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"not ready: {self.log()}")

    def page(self, name: str, token: str = "") -> str:
        """Return a page of its HTTP port.

        Raises:
            OSError: It does not answer, or not with 200.
        """
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"{self._url}/{name}", headers=shown)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:  # noqa: S310
            text: str = answer.read().decode()
            return text

    def metric(self, series: str) -> float:
        """Return the value of a series; 0 where there is none."""
        for line in self.page("metrics").splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return 0.0

    def stop(self) -> int:
        """End it as Kubernetes does; return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=30)

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=60)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def run(self) -> int:
        """Run until it ends by itself; return its exit code."""
        with self._log.open("ab") as log:
            ended = subprocess.run(
                self.command,
                env=self._environment,
                stdout=log,
                stderr=log,
                timeout=PATIENCE,
                check=False,
            )
        return ended.returncode

    def log(self) -> str:
        return self._log.read_text()

    def log_lines(self, count: int) -> list[str]:
        """Return the lines of the log, which are to be so many."""
        lines = self.log().splitlines()
        assert len(lines) == count, self.log()
        return lines


@pytest.fixture(scope="session")
def make_operator(
    operator_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeOperator]:
    """Return a maker of operators (not started); its arguments are settings."""
    made: list[Operator] = []

    def make(*, kubeconfig: Path = operator_kubeconfig, **config: object) -> Operator:
        # Tests leave measurements unfinished, which are not to hold up those of the next ones.
        profiles = {"default": {"measurementSlots": 1000}}
        settings: Json = {"optimizerImage": "mopt/optimizer:test", "logFormat": "text"}
        settings |= {"profiles": profiles} | config
        made.append(Operator(kubeconfig, tmp_path_factory.mktemp("operator"), settings))
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
def operator(
    make_operator: MakeOperator, make_namespace: MakeNamespace
) -> Iterator[light_cluster.Operator]:
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
def existing_resource(api: Api) -> Callable[[Json], light_cluster.Resource]:
    """Return a function that looks at a resource that is there already."""
    return lambda manifest: Resource(api, manifest)


@pytest.fixture
def resource(operator: Operator, make_resource: MakeResource) -> light_cluster.Resource:
    """Create a resource that the shared operator serves."""
    return make_resource()
