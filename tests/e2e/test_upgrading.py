"""The chart is upgraded, and rolled back, while Jobs run: they end as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from demo_probe import KIND, ROOT, Demo, condition, listed, stages_of_jobs, wait_for

from demo.__main__ import NAMESPACE, RELEASE, SYSTEM_NAMESPACE, helm

pytestmark = pytest.mark.faults

NAME = "upgrading"
READY_SECONDS = 300


def resource(request: str) -> dict[str, Any]:
    """Return the example, measured anew for each request."""
    text = (ROOT / "examples" / "super_resolution" / "resource.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(text)
    annotations = {"mopt.dev/requestedAt": request}
    found["metadata"] = {"name": NAME, "namespace": NAMESPACE, "annotations": annotations}
    return found


@pytest.fixture
def demo_alone(demo: Demo) -> Iterator[Demo]:
    """The demo's cluster; its release as it was and none of our resources in the end."""
    revision = helm(demo.kubectl, "history", RELEASE, "--max=1", "-o=json")
    yield demo
    demo.kubectl("delete", KIND, NAME, "-n", NAMESPACE, "--ignore-not-found", "--wait")
    helm(demo.kubectl, "rollback", RELEASE, str(yaml.safe_load(revision)[-1]["revision"]), "--wait")


def jobs(demo: Demo) -> dict[str, str]:
    return stages_of_jobs(demo.kubectl, NAME)


def is_measuring(demo: Demo) -> bool:
    """Tell whether a measurement is at work."""
    return any(
        pod["status"]["phase"] == "Running"
        for pod in listed(demo.kubectl, "pods", NAME)
        if pod["metadata"]["labels"]["mopt.dev/stage"] == "measure"
    )


def has_handled(demo: Demo, request: str) -> bool:
    found = demo.kubectl.get(KIND, NAME, "-n", NAMESPACE)
    ready = condition(found, "Ready")
    handled = found.get("status", {}).get("lastHandledReconcileAt")
    return handled == request and ready is not None and ready["status"] == "True"


def operators(demo: Demo) -> set[str]:
    pods = demo.kubectl.get("pods", "-n", SYSTEM_NAMESPACE)["items"]
    return {pod["metadata"]["uid"] for pod in pods}


def through(demo: Demo, request: str, *change: str) -> None:
    """Ask for a run; change the release while it is measured; wait until Ready."""
    before, earlier = operators(demo), jobs(demo)
    demo.kubectl.apply(resource(request))
    wait_for(lambda: is_measuring(demo), READY_SECONDS, "the measurement runs")
    running = jobs(demo)
    helm(demo.kubectl, *change, "--wait")
    wait_for(lambda: not operators(demo) & before, 60, "every operator was replaced")
    wait_for(lambda: has_handled(demo, request), READY_SECONDS, "Ready")
    # What ran goes on, and each stage has one Job.
    assert running.items() <= jobs(demo).items()
    made = [stage for uid, stage in jobs(demo).items() if uid not in earlier]
    assert sorted(made) == ["measure", "prepare"]
    for job in listed(demo.kubectl, "jobs", NAME):
        assert job["status"]["succeeded"] == 1
        assert not job["status"].get("failed")


def test_jobs_outlive_an_upgrade_and_a_rollback(demo_alone: Demo) -> None:
    chart = str(ROOT / "helm" / "mopt")
    change = ("upgrade", RELEASE, chart, "--reuse-values", "--set", "logFormat=text")
    through(demo_alone, "first", *change)
    through(demo_alone, "second", "rollback", RELEASE)
