"""Living with a resource: another gate, a suspended run that is resumed, a leader that dies.

The resource shares the example's output: what the demo made is served from the store.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from demo_probe import KIND, ROOT, Demo, condition, listed, stages_of_jobs, wait_for

from demo.__main__ import NAMESPACE, SYSTEM_NAMESPACE

pytestmark = pytest.mark.e2e

NAME = "operating"
READY_SECONDS = 240


def resource(**execution: Any) -> dict[str, Any]:
    text = (ROOT / "examples" / "super_resolution" / "resource.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(text)
    found["metadata"] = {"name": NAME, "namespace": NAMESPACE}
    found["spec"]["execution"] = execution
    return found


@pytest.fixture
def applied(demo: Demo) -> Iterator[Demo]:
    """The demo's cluster, without this file's resource before and after."""
    yield demo
    demo.kubectl("delete", KIND, NAME, "-n", NAMESPACE, "--ignore-not-found", "--wait")
    wait_for(lambda: not listed(demo.kubectl, "jobs", NAME), 60, "no Job is left")


def get(demo: Demo) -> dict[str, Any]:
    return demo.kubectl.get(KIND, NAME, "-n", NAMESPACE)


def is_ready(demo: Demo) -> bool:
    found = get(demo)
    ready = condition(found, "Ready")
    return (
        ready is not None
        and ready["status"] == "True"
        and found["status"]["observedGeneration"] == found["metadata"]["generation"]
    )


def jobs(demo: Demo) -> dict[str, str]:
    return stages_of_jobs(demo.kubectl, NAME)


def test_a_lower_gate_selects_anew_without_a_job(applied: Demo) -> None:
    first = resource()
    # Plain INT8: with fallback Auto another gate is another file, which has to be made first.
    plain = {"mode": "Static", "fallback": "Off"}
    first["spec"]["variants"] = [
        {"name": "bf16", "runtime": "OpenVINO", "precision": "BF16"},
        {"name": "int8", "runtime": "OpenVINO", "precision": "INT8", "quantization": plain},
    ]
    # Which is quicker may be the machine's; which is smaller is not.
    first["spec"]["objective"] = {"metric": "SizeBytes"}
    applied.kubectl.apply(first)
    wait_for(lambda: is_ready(applied), READY_SECONDS, "Ready")
    before = get(applied)["status"]["targets"][0]
    ran = jobs(applied)
    lower = copy.deepcopy(first)
    lower["spec"]["quality"][0]["minimum"] = 30
    applied.kubectl.apply(lower)
    wait_for(lambda: is_ready(applied), 30, "a new selection")
    target = get(applied)["status"]["targets"][0]
    assert [v["state"] for v in before["variants"]][1] == "Rejected"
    assert [v["state"] for v in target["variants"]][1] == "Passed"
    assert before["selected"] != "int8"
    assert target["selected"] == "int8"
    # The finished measure Job was told the old gate and may be gone; none is new.
    assert set(jobs(applied)) <= set(ran)


def test_a_resumed_run_whose_leader_is_lost_has_one_job_per_stage(applied: Demo) -> None:
    applied.kubectl.apply(resource(suspend=True))

    def suspended() -> bool:
        ready = condition(get(applied), "Ready")
        return ready is not None and ready["reason"] == "Suspended"

    wait_for(suspended, 30, "Suspended")
    assert not jobs(applied)
    applied.kubectl.apply(resource(suspend=False))
    wait_for(lambda: bool(jobs(applied)), 30, "the prepare Job")
    lease = applied.kubectl.get("lease", "mopt-leader", "-n", SYSTEM_NAMESPACE)
    leader = lease["spec"]["holderIdentity"]
    pods = applied.kubectl.get("pods", "-n", SYSTEM_NAMESPACE)["items"]
    (pod,) = [p["metadata"]["name"] for p in pods if p["metadata"]["name"] in leader]
    applied.kubectl("delete", "pod", pod, "-n", SYSTEM_NAMESPACE, "--grace-period=0", "--force")
    wait_for(lambda: is_ready(applied), READY_SECONDS, "Ready under another leader")
    assert sorted(jobs(applied).values()) == ["measure", "prepare"]
    holder = applied.kubectl.get("lease", "mopt-leader", "-n", SYSTEM_NAMESPACE)
    assert holder["spec"]["holderIdentity"] != leader
