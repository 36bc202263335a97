"""`mopt get`, `describe`, `logs`, `rerun`, `suspend`, `resume` on a real API server.

There is no kubelet, so no log can be read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import clean_environ
from job_messages import Messages
from light_cluster import Api, Resource

pytestmark = pytest.mark.cluster

Mopt = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def mopt(cluster: Path, resource: Resource) -> Mopt:
    """Return what runs the command line in the resource's namespace, as the administrator."""

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        where = ("-n", resource.namespace, "--kubeconfig", str(cluster))
        done = subprocess.run(
            [sys.executable, "-m", "mopt_cli.main", *arguments, *where],
            env=clean_environ(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_a_resource_is_listed_and_described(
    resource: Resource, messages: Messages, mopt: Mopt, api: Api
) -> None:
    path = api.path(resource.manifest)
    labels = {"metadata": {"labels": {"team": "vision"}}}
    api.call("PATCH", path, labels, "merge-patch+json")
    resource.run(messages)
    header, row = mopt("get", "-l", "team=vision").stdout.splitlines()
    assert header.split()[:3] == ["NAME", "READY", "STATUS"]
    assert row.split()[:3] == [resource.name, "True", "Optimized"]
    assert "openvino-bf16" in row
    everywhere = mopt("get", "-A", "-l", "team=vision", "-o", "json")
    (item,) = json.loads(everywhere.stdout)["items"]
    assert item["metadata"]["uid"] == resource.read()["metadata"]["uid"]
    described = json.loads(mopt("describe", resource.name, "-o", "json").stdout)
    judged = {each["variant"]: each for each in described["judgements"]["default"]}
    assert judged["openvino-bf16"]["why"] == "selected"
    assert judged["onnxruntime-int8"]["why"].startswith("Rejected: QualityGate")
    assert judged["onnxruntime-int8"]["bounds"][0]["passed"] is False
    assert "Optimized" in [event["reason"] for event in described["events"]]
    text = mopt("describe", resource.name).stdout
    assert "worst PSNR ≥ 40 dB" in text
    assert "MISSED" in text
    bad = mopt("get", "-l", "a=b=c", code=1)
    assert "the API server refuses the request: " in bad.stderr


def test_a_new_run_is_followed_to_its_end(
    resource: Resource, messages: Messages, mopt: Mopt
) -> None:
    resource.run(messages)

    def kubelet() -> None:
        """Play the kubelet of the second run."""
        resource.finish(resource.pod_of("prepare"), messages.prepare())
        resource.finish(resource.pod_of("measure"), messages.measure())

    second = threading.Thread(target=kubelet)
    second.start()
    done = mopt("rerun", resource.name, "--wait")
    second.join()
    assert "a new run is asked for" in done.stderr
    assert "Ready=True Optimized" in done.stdout
    said = mopt("rerun", resource.name, "-o", "json")
    found = json.loads(said.stdout)
    assert (
        found["requestedAt"] == resource.read()["metadata"]["annotations"]["mopt.dev/requestedAt"]
    )


def test_a_suspended_resource_waits_for_resume(
    resource: Resource, messages: Messages, mopt: Mopt
) -> None:
    resource.pod_of("prepare")
    assert "suspended: no Jobs run" in mopt("suspend", resource.name, "--wait").stdout
    assert resource.said()["Ready"] == ("False", "Suspended")
    resource.wait_for(lambda: resource.jobs() == resource.pods() == [])
    assert "the run begins with mopt resume" in mopt("rerun", resource.name).stderr
    kubelet = threading.Thread(target=resource.run, args=(messages,))
    kubelet.start()
    done = mopt("resume", resource.name, "--wait")
    kubelet.join()
    assert "Ready=True Optimized" in done.stdout


def test_kubectl_takes_it_for_a_plugin(
    resource: Resource, cluster: Path, kubectl_program: str
) -> None:
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = clean_environ() | {"KUBECONFIG": str(cluster), "PATH": programs}

    def kubectl(*arguments: str) -> str:
        done = subprocess.run(
            [kubectl_program, *arguments],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "kubectl-mopt" in kubectl("plugin", "list")
    listed = kubectl("mopt", "get", resource.name, "-n", resource.namespace, "-o", "name")
    assert listed == f"modeloptimization.mopt.dev/{resource.name}\n"


def test_logs_that_cannot_be_read_are_told(resource: Resource, mopt: Mopt) -> None:
    resource.pod_of("prepare")
    pending = mopt("logs", resource.name, "--stage", "prepare")
    assert "prepare: Pod " in pending.stderr
    assert pending.stdout == ""
    missing = mopt("logs", resource.name, "--stage", "publish", code=1)
    assert "has no such Pods, there are: prepare;" in missing.stderr
    nobody = mopt("logs", resource.name[:-1], code=2)
    assert f"did you mean {resource.name}" in nobody.stderr
