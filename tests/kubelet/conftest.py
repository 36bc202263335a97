"""A node whose kubelet and containerd have image volumes, and models that mopt published to a
registry on it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_volumes import HOST_NAMESPACE, NAMESPACE, Json, Published, RunPod, push_base
from published_forms import publish_plan, stored_form, write_model
from registry import Registry, running_registry

from demo.console import Kubectl
from mopt_api.jobs.plan import PLAN_VARIABLE, Credentials
from mopt_api.jobs.publishing import REGISTRY_AUTH_VARIABLE
from mopt_api.jobs.termination import PublishSummary, decode
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120.0


def devcluster(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "hack" / "devcluster"), *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"MOPT_DEVCLUSTER_DIR": str(folder)},
    )
    return done.stdout.strip()


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl for the node; gone with the tests."""
    folder = tmp_path_factory.mktemp("node")
    try:
        kubectl = Kubectl(Path(devcluster("up", "--image-volumes", folder=folder).splitlines()[-1]))
        for name, level in ((NAMESPACE, "restricted"), (HOST_NAMESPACE, "privileged")):
            labels = {"pod-security.kubernetes.io/enforce": level}
            kubectl.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": name, "labels": labels},
                }
            )
        yield kubectl
    finally:
        devcluster("down", folder=folder)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def base(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with a shell, by digest."""
    return push_base(registry, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def published(registry: Registry, base: str, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A model that the Job's program published, on an image with a shell."""
    folder = tmp_path_factory.mktemp("publish")
    output = (folder / "output").absolute()
    output.mkdir()
    blobs = Blobs(*open_store(output.as_uri(), Credentials.OUTPUT, {}))
    source = write_model(folder / "model.onnx")
    form = stored_form(blobs, source, architecture=platform.machine())
    plan = publish_plan([form], registry.repository("linear"), output.as_uri(), base_image=base)
    told = folder / "termination-log"
    environ = {
        PLAN_VARIABLE: plan.model_dump_json(by_alias=True),
        "MOPT_TERMINATION_LOG": str(told),
        REGISTRY_AUTH_VARIABLE: str(folder / "none" / "config.json"),
    }
    subprocess.run(
        [sys.executable, "-m", "mopt_optimizer.main", "publish", "--workdir", str(folder)],
        check=True,
        env=os.environ | environ,
    )
    summary = decode(told.read_text())
    assert isinstance(summary, PublishSummary)
    reference = f"{registry.repository('linear')}@{summary.images[0].digest}"
    return Published(reference, base, form.artifact, "linear/1/model.onnx", source)


@pytest.fixture
def run_pod(kubectl: Kubectl) -> RunPod:
    """Create a Pod, wait until a container has ended, and return its log."""

    def run(manifest: Json, container: str, namespace: str) -> str:
        name = manifest["metadata"]["name"]
        kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(manifest))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            status = kubectl.get("pod", name, "-n", namespace)["status"]
            states = {c["name"]: c["state"] for c in status.get("containerStatuses", ())}
            ended = states.get(container, {}).get("terminated")
            if ended:
                break
            assert time.monotonic() < deadline, json.dumps(status)
            time.sleep(0.5)
        log = kubectl("logs", name, "-n", namespace, "-c", container)
        assert ended["exitCode"] == 0, log
        return log

    return run
