"""Targets with GPUs on a cluster without one: engines are built, and a missing GPU is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from demo_probe import KIND, ROOT, Demo, condition, listed, wait_for

from demo.__main__ import NAMESPACE, PROFILES

pytestmark = pytest.mark.e2e

ENGINES, GPU = "engines", "no-gpu"
BUILT_SECONDS = 900
FOUND_SECONDS = 300
RESOURCE = "nvidia.com/gpu"
ReadObject = Callable[[str], bytes]


def example(name: str, target: str, variants: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the example for another target; its output is its own."""
    text = (ROOT / "examples" / "super_resolution" / "resource.yaml").read_text()
    resource: dict[str, Any] = yaml.safe_load(text)
    resource["metadata"] = {"name": name, "namespace": NAMESPACE}
    spec = resource["spec"]
    spec["targets"] = [{"name": target, "profile": target}]
    spec["variants"] = variants
    spec["output"]["uri"] = f"s3://optimized/{name}"
    spec["dimensions"]["height"]["max"] = spec["dimensions"]["width"]["max"] = 256
    return resource


@pytest.fixture
def apply(demo: Demo) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Return a function that applies a resource, which is deleted at the end."""
    names: list[str] = []

    def run(resource: dict[str, Any]) -> None:
        names.append(resource["metadata"]["name"])
        demo.kubectl.apply(resource)

    yield run
    for name in names:
        demo.kubectl("delete", KIND, name, "-n", NAMESPACE, "--ignore-not-found", "--wait")


def get(demo: Demo, name: str) -> dict[str, Any]:
    return demo.kubectl.get(KIND, name, "-n", NAMESPACE)


def wait_for_reason(
    demo: Demo, name: str, reason: str, seconds: float, *, stalled: bool = False
) -> dict[str, Any]:
    """Wait for the reason of Ready, and whether waiting can help; return the resource."""
    found: dict[str, Any] = {}

    def reached() -> bool:
        found.update(get(demo, name))
        ready = condition(found, "Ready")
        stalls = condition(found, "Stalled") is not None
        # What stalls for another reason never gets there.
        assert ready is None or not stalls or ready["reason"] == reason, ready
        return ready is not None and ready["reason"] == reason and stalls == stalled

    try:
        wait_for(reached, seconds, reason)
    except AssertionError as error:
        raise AssertionError(f"{error}; status: {json.dumps(found.get('status'))}") from error
    return found


def message(resource: dict[str, Any]) -> str:
    ready = condition(resource, "Ready")
    assert ready is not None
    return str(ready["message"])


def measure_pods(demo: Demo, name: str) -> list[Any]:
    pods = listed(demo.kubectl, "pods", name)
    return [p for p in pods if p["metadata"]["labels"]["mopt.dev/stage"] == "measure"]


@pytest.fixture
def engines(demo: Demo, apply: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The example's network as engines for GPUs that the cluster does not have."""
    plain = {"calibrator": "Percentile", "fallback": "Off"}
    variants: list[dict[str, Any]] = [
        {"name": "fp16", "runtime": "TensorRT", "precision": "FP16"},
        {"name": "int8", "runtime": "TensorRT", "precision": "INT8", "quantization": plain},
        {"name": "openvino-fp32", "runtime": "OpenVINO", "precision": "FP32"},
    ]
    resource = example(ENGINES, "rtx-engines", variants)
    for kind, samples in (("calibration", 8), ("evaluation", 4)):
        resource["spec"]["data"][kind]["samples"] = samples
    resource["spec"]["quality"][0]["minimum"] = 35
    apply(resource)
    return wait_for_reason(demo, ENGINES, "Built", BUILT_SECONDS)


def test_engines_are_built_without_a_gpu_and_none_is_a_winner(
    demo: Demo, engines: dict[str, Any], read_object: ReadObject
) -> None:
    ready = condition(engines, "Ready")
    assert ready is not None
    assert ready["status"] == "True"
    (target,) = engines["status"]["targets"]
    assert not {"selected", "baseline", "point"} & set(target)
    assert target["computeCapabilities"] == PROFILES["rtx-engines"]["computeCapabilities"]
    states = {v["name"]: v["state"] for v in target["variants"]}
    assert states == {"fp16": "Built", "int8": "Built", "openvino-fp32": "Skipped"}
    result = json.loads(read_object(target["report"]["uri"]))
    layers = {v["name"]: v.get("layerDatatypes", {}) for v in result["variants"]}
    assert layers["fp16"]["FP16"] > 0
    assert layers["int8"]["INT8"] > 0
    for variant in target["variants"]:
        if variant["state"] != "Built":
            continue
        assert "speedup" not in variant
        (quality,) = variant["quality"]
        assert quality["worst"] >= 35
        artifact = variant["artifact"]
        data = read_object(artifact["uri"])
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == artifact["digest"]
        (beside,) = artifact["externalData"]
        root = artifact["uri"].partition("/blobs/")[0]
        place = f"{root}/blobs/sha256/{beside['digest'].removeprefix('sha256:')}"
        manifest = json.loads(read_object(place))
        assert manifest["digest"] == artifact["digest"]
        assert manifest["computeCapabilities"] == target["computeCapabilities"]
    assert "engines are built" in read_object(target["report"]["page"]).decode()
    (pod,) = measure_pods(demo, ENGINES)
    (container,) = pod["spec"]["containers"]
    assert not [name for name in container["resources"]["limits"] if "/" in name]


@pytest.fixture
def node(demo: Demo) -> Iterator[Callable[[int], None]]:
    """Return a function that lets the only node say how many GPUs it has."""
    (found,) = demo.kubectl.get("nodes")["items"]
    name = found["metadata"]["name"]

    def patch(operations: list[dict[str, str]]) -> None:
        words = ("patch", "node", name, "--subresource=status", "--type=json")
        demo.kubectl(*words, "-p", json.dumps(operations))

    def offer(count: int) -> None:
        # The slash of a key is ~1 in a JSON pointer.
        path = f"/status/capacity/{RESOURCE.replace('/', '~1')}"
        patch([{"op": "add", "path": path, "value": str(count)}])

    yield offer
    for side in ("capacity", "allocatable"):
        if RESOURCE in demo.kubectl.get("node", name)["status"][side]:
            path = f"/status/{side}/{RESOURCE.replace('/', '~1')}"
            patch([{"op": "remove", "path": path}])


def test_a_pod_that_asks_for_a_gpu_and_finds_none_ends_in_accelerator_not_found(
    demo: Demo, apply: Callable[[dict[str, Any]], None], node: Callable[[int], None]
) -> None:
    variants = [{"name": "fp16", "runtime": "TensorRT", "precision": "FP16"}]
    resource = example(GPU, "nvidia", variants)
    resource["spec"] |= {"data": {}, "quality": [], "execution": {"backoffLimit": 0}}
    apply(resource)
    # No node has one: the Pod waits, and the words are the scheduler's.
    waiting = wait_for_reason(demo, GPU, "AcceleratorNotFound", FOUND_SECONDS)
    assert f"Insufficient {RESOURCE}" in message(waiting)
    # A node says that it has one: the Pod is scheduled with it, and the words are the Job's.
    node(1)
    ended = wait_for_reason(demo, GPU, "AcceleratorNotFound", FOUND_SECONDS, stalled=True)
    assert message(ended).startswith("Target nvidia: ")
    assert "GPU" in message(ended)
    assert "Insufficient" not in message(ended)
    (pod,) = measure_pods(demo, GPU)
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"][RESOURCE] == "1"
    assert pod["spec"]["nodeName"]
    assert pod["status"]["phase"] == "Failed"
    (ran,) = pod["status"]["containerStatuses"]
    assert ran["state"]["terminated"]["exitCode"] == 83
