"""A program in the place of a model, in a Pod exactly as a Job's: it reaches nothing outside."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attacker import outcomes_in
from demo_probe import Demo, wait_for

from demo.__main__ import NAMESPACE

pytestmark = pytest.mark.e2e

SUPPORT = Path(__file__).parents[1] / "support"
NAME = "hostile"


def config_map() -> dict[str, Any]:
    programs = {path.name: path.read_text() for path in SUPPORT.glob("attacker*.py")}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": programs,
    }


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    """Return a Pod as the Job's, whose program starts the hostile one where a model is opened."""
    spec = copy.deepcopy(job["spec"]["template"]["spec"])
    spec.pop("affinity", None)
    (container,) = spec["containers"]
    container["command"] = ["python", "-P", "-m", "attacker_in_pod"]
    container.pop("args")
    container["env"] += [
        {"name": "PYTHONPATH", "value": "/opt/mopt/src:/attacker"},
        {"name": "MOPT_EXTENSIONS", "value": "attacker_extension"},
    ]
    container["volumeMounts"].append({"name": NAME, "mountPath": "/attacker", "readOnly": True})
    spec["volumes"].append({"name": NAME, "configMap": {"name": NAME}})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": spec,
    }


@pytest.fixture
def log(demo: Demo) -> Iterator[str]:
    """The log of the Pod, once it has ended."""
    (job,) = [job for job in demo.jobs if job["metadata"]["labels"]["mopt.dev/stage"] == "measure"]
    pod = pod_of(job)
    demo.kubectl.apply(config_map(), pod)
    try:

        def ended() -> bool:
            found = demo.kubectl.get("pod", NAME, "-n", NAMESPACE)
            return found.get("status", {}).get("phase") in ("Succeeded", "Failed")

        wait_for(ended, 180, "the Pod's end")
        yield demo.kubectl("logs", NAME, "-n", NAMESPACE)
    finally:
        for kind in ("pod", "configmap"):
            demo.kubectl("delete", kind, NAME, "-n", NAMESPACE, "--wait=false")


def test_a_program_in_a_models_place_reaches_nothing(log: str) -> None:
    outcomes = outcomes_in(log)
    assert len(outcomes) >= 100, log[-2000:]
    assert {name: found.got for name, found in outcomes.items() if found.refused is None} == {}
    (told,) = [json.loads(line) for line in log.splitlines() if line.startswith('{"kind"')]
    assert (told["kind"], told["answers"]) == ("", 1)
