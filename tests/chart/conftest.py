"""The real helm, and what it makes of the chart."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_objects import Command, Manifest, RunOperator
from free_ports import free_port

ROOT = Path(__file__).resolve().parents[2]

Values = Mapping[str, Any]
AccountEnvironment = Callable[[Path, str, str], dict[str, str]]

NAMESPACE = "mopt-system"
RESTRICTED = [
    "pod-security.kubernetes.io/enforce=restricted",
    "pod-security.kubernetes.io/warn=restricted",
]
# Seconds until a controller has done its part; it needs about one.
PATIENCE = 20.0


def _run(arguments: list[str], *, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="session")
def chart() -> Path:
    """Return the chart's folder."""
    return ROOT / "helm" / "mopt"


@pytest.fixture(scope="session")
def devcluster() -> Callable[..., str]:
    """Return a function that runs `hack/devcluster` and returns its last line of output."""

    def run(*arguments: str) -> str:
        # Without a network and a cache a tool is built from source, which takes minutes.
        done = subprocess.run(
            [sys.executable, ROOT / "hack" / "devcluster", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            timeout=1800,
            check=True,
        )
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""

    return run


@pytest.fixture(scope="session")
def helm(devcluster: Callable[..., str]) -> str:
    """Return the path of helm: MOPT_HELM, else the one that devcluster finds or fetches."""
    return os.environ.get("MOPT_HELM") or devcluster("binary", "helm")


@pytest.fixture(scope="session")
def render(helm: str, chart: Path) -> Callable[..., list[Manifest]]:
    """Return a function that renders the chart as release `mopt` in namespace `mopt-system`.

    Its arguments are the values, whether what `helm test` runs is rendered too, and APIs that the
    cluster has besides Kubernetes' own.
    """

    @functools.cache
    def rendered(values: str, more: tuple[str, ...]) -> str:
        command = [helm, "template", "mopt", str(chart), "--namespace", NAMESPACE, *more]
        done = _run([*command, "--values", "-"], stdin=values)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(
        values: Values | None = None, *, tests: bool = False, apis: tuple[str, ...] = ()
    ) -> list[Manifest]:
        more = (*(f"--api-versions={api}" for api in apis), *(() if tests else ("--skip-tests",)))
        # The CRD is long: the loader in Python takes longer over it than helm.
        documents = yaml.load_all(rendered(json.dumps(values or {}), more), yaml.CSafeLoader)
        return [document for document in documents if document]

    return run


@pytest.fixture(scope="session")
def only(render: Callable[..., list[Manifest]]) -> Callable[..., Manifest]:
    """Return a function that renders the chart and returns its only object of a kind."""

    def run(kind: str, values: Values | None = None, **more: Any) -> Manifest:
        (found,) = [manifest for manifest in render(values, **more) if manifest["kind"] == kind]
        return found

    return run


@pytest.fixture(scope="session")
def refusal(helm: str, chart: Path) -> Callable[[Values], str]:
    """Return a function that returns what helm says of values it must refuse."""

    def run(values: Values) -> str:
        done = _run([helm, "template", "mopt", str(chart), "-f", "-"], stdin=json.dumps(values))
        assert done.returncode != 0, "the values were accepted"
        return done.stderr

    return run


@pytest.fixture(scope="session")
def resource() -> Callable[[str, str], Manifest]:
    """Return a function that returns a small valid resource of a name, in a namespace."""

    def make(name: str, namespace: str) -> Manifest:
        return {
            "apiVersion": "mopt.dev/v1alpha1",
            "kind": "ModelOptimization",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "model": {"uri": "s3://models/m.onnx", "sha256": "0" * 64, "format": "ONNX"},
                "inputs": [{"name": "image", "shape": [1, 3, 8, 8]}],
                "output": {"uri": "s3://optimized", "credentialsSecretRef": {"name": "store"}},
            },
        }

    return make


@pytest.fixture(scope="session")
def kubeconfig(
    devcluster: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Start a light cluster; it ends with this process even when the process is killed."""
    folder = str(tmp_path_factory.mktemp("cluster"))
    yield Path(devcluster("up", "--light", "--dir", folder, "--parent-pid", str(os.getpid())))
    devcluster("down", "--light", "--dir", folder)


@pytest.fixture(scope="session")
def kubectl(kubeconfig: Path, devcluster: Callable[..., str]) -> Command:
    """Return a function that runs kubectl; check=False leaves a failure to the caller."""
    program = devcluster("binary", "kubectl")
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def run(
        *arguments: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def release(
    helm: str,
    chart: Path,
    kubeconfig: Path,
    kubectl: Command,
    tmp_path_factory: pytest.TempPathFactory,
) -> Command:
    """Install `mopt` for all namespaces and return a function that runs helm.

    The function replaces CHART by the chart's folder.
    """
    home = tmp_path_factory.mktemp("helm")
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)} | {
        f"HELM_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [helm, *(str(chart) if a == "CHART" else a for a in arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # Where admission warns, helm passes the warning on.
        assert "PodSecurity" not in done.stderr
        return done

    for namespace in (NAMESPACE, "team-a", "team-b"):
        kubectl("create", "namespace", namespace)
        kubectl("label", "namespace", namespace, *RESTRICTED)
    run("install", "mopt", "CHART", "--namespace", NAMESPACE)
    return run


@pytest.fixture(scope="session")
def get(kubectl: Command) -> Callable[..., Manifest]:
    """Return a function that returns what `kubectl get` finds."""

    def run(*arguments: str) -> Manifest:
        found = json.loads(kubectl("get", *arguments, "--output", "json").stdout)
        assert isinstance(found, dict)
        return found

    return run


@pytest.fixture(scope="session")
def account_environment(kubectl: Command) -> AccountEnvironment:
    """Return a function that returns the environment of a process that has an account's rights.

    Its arguments are a folder, which becomes its home, and the account's namespace and name.
    """

    def write(folder: Path, namespace: str, account: str) -> dict[str, str]:
        token = kubectl("create", "token", account, "--namespace", namespace).stdout.strip()
        config = json.loads(kubectl("config", "view", "--raw", "--output", "json").stdout)
        for user in config["users"]:
            user["user"] = {"token": token}
        file = folder / f"{account}.kubeconfig"
        file.write_text(json.dumps(config))
        kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
        return kept | {"HOME": str(folder), "KUBECONFIG": str(file)}

    return write


@pytest.fixture(scope="session")
def run_operator(
    get: Callable[..., Manifest], account_environment: AccountEnvironment
) -> RunOperator:
    """Return a context that runs the operator's process as a release sets it up.

    Its arguments are a folder, and the release's namespace and full name; it yields its health port
    and its log. The light cluster has no kubelet: only the Pod around it is missing.
    """

    @contextmanager
    def run(folder: Path, namespace: str, release: str) -> Iterator[tuple[int, Path]]:
        port, log = free_port(), folder / "log"
        data = get("configmap", release, "-n", namespace)["data"]
        settings = json.loads(data["config.json"])
        settings["profilesFile"] = str(folder / "profiles.json")
        settings["restartsFile"] = str(folder / "restarts.json")
        (folder / "profiles.json").write_text(data["profiles.json"])
        # 8080 may be taken here; in a Pod it is not.
        settings["healthAddress"] = f"127.0.0.1:{port}"
        (folder / "config.json").write_text(json.dumps(settings))
        environment = account_environment(folder, namespace, release)
        environment["MOPT_OPERATOR_CONFIG"] = str(folder / "config.json")
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "mopt_operator.main"],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                yield port, log
                assert process.poll() is None, log.read_text()
            finally:
                process.terminate()
                process.wait(20)

    return run


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool], str], None]:
    """Return a function that waits until a condition holds."""

    def wait(condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
            time.sleep(0.2)

    return wait
