"""A container that is killed, as the kernel does on cgroup v2, costs the variant at work alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from demo_probe import KIND, ROOT, Demo, condition, listed, wait_for

from demo.__main__ import NAMESPACE

pytestmark = pytest.mark.faults

NAME = "killed"
KILLER = "mopt-demo-killer"
VICTIM = "compiled"
# Once while several are compared, so that nobody is blamed yet; then twice by itself.
MOST_KILLS = 3
# SIGKILL for the first process of the Pod's container: the kernel ends the others with it.
KILL = """
import os, pathlib, signal, sys
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        ours = sys.argv[1] in (process / "cgroup").read_text()
        status = (process / "status").read_text().splitlines()
    except OSError:
        continue
    name, ids = (next(l for l in status if l.startswith(k)).split() for k in ("Name:", "NSpid:"))
    if ours and name[1] != "pause" and ids[-1] == "1":
        os.kill(int(process.name), signal.SIGKILL)
        print("killed")
"""


@pytest.fixture
def kill(demo: Demo) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Return a function that kills a Pod's container from its node."""
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    metadata = {"name": KILLER, "labels": labels}
    demo.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    container = {
        "name": "killer",
        "image": demo.optimizer,
        "command": ["python", "-c", "import time; time.sleep(900)"],
        "securityContext": {"runAsUser": 0, "privileged": True},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "killer", "namespace": KILLER},
        "spec": {"hostPID": True, "terminationGracePeriodSeconds": 0, "containers": [container]},
    }
    demo.kubectl.apply(pod)
    demo.kubectl("wait", "pod/killer", "-n", KILLER, "--for=condition=Ready", "--timeout=60s")

    def run(victim: dict[str, Any]) -> None:
        uid = victim["metadata"]["uid"]
        said = demo.kubectl("exec", "-n", KILLER, "killer", "--", "python", "-c", KILL, uid)
        assert said.strip() == "killed"

    yield run
    demo.kubectl("delete", "namespace", KILLER)
    demo.kubectl("delete", KIND, NAME, "-n", NAMESPACE, "--ignore-not-found", "--wait")


def resource() -> dict[str, Any]:
    """Return the example with two variants; what the demo prepared serves them."""
    text = (ROOT / "examples" / "super_resolution" / "resource.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(text)
    found["metadata"] = {"name": NAME, "namespace": NAMESPACE}
    found["spec"]["variants"] = [
        {"name": "openvino", "runtime": "OpenVINO", "precision": "FP32"},
        # It compiles for many seconds: time to be killed in.
        {"name": VICTIM, "runtime": "PyTorch", "precision": "FP32", "torchMode": "Compiled"},
    ]
    found["spec"]["execution"] = {"backoffLimit": 3}
    return found


def test_a_variant_that_kills_the_container_twice_is_given_up(
    demo: Demo, read_object: Callable[[str], bytes], kill: Callable[[dict[str, Any]], None]
) -> None:
    asked = resource()
    demo.kubectl.apply(asked)
    killed: list[str] = []

    def pods() -> list[dict[str, Any]]:
        label = "mopt.dev/stage"
        found = listed(demo.kubectl, "pods", NAME)
        return [p for p in found if p["metadata"]["labels"][label] == "measure"]

    def at_work() -> bool:
        """Whether the victim is at work in a Pod that has not been killed yet."""
        fresh = [p for p in pods() if p["metadata"]["uid"] not in killed]
        if not fresh or fresh[0]["status"]["phase"] != "Running":
            return False
        # Until a Pod has read the record, it speaks of the Pod before.
        logs = demo.kubectl("logs", fresh[0]["metadata"]["name"], "-n", NAMESPACE)
        if killed and "an earlier Pod died" not in logs:
            return False
        (owner,) = fresh[0]["metadata"]["ownerReferences"]
        uri = f"{asked['spec']['output']['uri']}/attempts/{owner['uid']}.json"
        with contextlib.suppress(Exception):  # Not there before the first variant opens.
            return VICTIM in json.loads(read_object(uri))["working"]
        return False

    def ended() -> bool:
        ready = condition(demo.kubectl.get(KIND, NAME, "-n", NAMESPACE), "Ready")
        return ready is not None and ready["status"] == "True"

    wait_for(lambda: at_work() or ended(), 240, f"{VICTIM} is at work")
    while not ended():
        (pod,) = [p for p in pods() if p["metadata"]["uid"] not in killed]
        kill(pod)
        killed.append(pod["metadata"]["uid"])
        assert len(killed) <= MOST_KILLS, "it is opened again and again"
        wait_for(lambda: at_work() or ended(), 240, "the next Pod has it at work, or is Ready")

    (target,) = demo.kubectl.get(KIND, NAME, "-n", NAMESPACE)["status"]["targets"]
    states = {v["name"]: (v["state"], v.get("reason")) for v in target["variants"]}
    assert states == {"openvino": ("Passed", None), VICTIM: ("Failed", "Crashed")}
    # Whether it is quick enough is the machine's; what is lost is never selected.
    assert target["selected"] in ("openvino", "baseline")
    ends = [p["status"]["containerStatuses"][0]["state"]["terminated"] for p in pods()]
    assert sorted(end["exitCode"] for end in ends) == [0, *(137 for _ in killed)]
    assert len(killed) >= 2
