"""onUpgrade: Verify on a real API server, which prunes what the CRD does not know."""

from __future__ import annotations

from typing import Any

import pytest
from job_messages import HARDWARE, Messages, digest
from light_cluster import MakeOperator, MakeResource, Resource

from mopt_api.figures import DataDigests, QualityResult
from mopt_api.jobs.termination import MeasureSummary, decode, encode

pytestmark = pytest.mark.cluster

NEW = "mopt/optimizer:newer"
BEST, SECOND = "openvino-bf16", "onnxruntime-fp32"
CPU = HARDWARE.model_copy(update={"cpu_features": ["avx2", "avx512f"]})
DATA = DataDigests(evaluation=digest("evaluation"))
READY = ("True", "Optimized")
LATER: dict[str, Any] = {
    "hardware": CPU,
    "data": DATA,
    "build": "0.2.0+ffffffffffff",
    "at": "2026-11-03T00:00:00Z",
}


def verification(*, rejects: bool) -> str:
    """Return what the Job that verifies the two best forms returns."""
    summary = decode(Messages.measure(result="verification", **LATER))
    assert isinstance(summary, MeasureSummary)
    forms = [form for form in summary.variants if form.name in (BEST, SECOND)]
    missed = {
        "state": "Rejected",
        "reason": "QualityGate",
        "message": "worst PSNR 31.00 is below 40",
        "quality": [QualityResult(metric="PSNR", worst=31.0, mean=33.0)],
    }
    changed = [
        form.model_copy(update=missed) if rejects and form.name == BEST else form for form in forms
    ]
    selected = SECOND if rejects else BEST
    return encode(summary.model_copy(update={"variants": changed, "selected": selected}))


def upgraded(make_operator: MakeOperator, namespace: str, resource: Resource) -> None:
    """Let a resource be measured by one operator, and another with a newer image take over."""
    operator = make_operator(watchNamespaces=[namespace])
    operator.start()
    resource.finish(resource.pod_of("prepare"), Messages.prepare())
    resource.finish(resource.pod_of("measure"), Messages.measure(hardware=CPU, data=DATA))
    resource.wait_said(Ready=READY)
    operator.kill()
    make_operator(watchNamespaces=[namespace], onUpgrade="Verify", optimizerImage=NEW).start()


def the_target(resource: Resource) -> dict[str, Any]:
    (target,) = resource.read()["status"]["targets"]
    return dict(target)


def test_result_that_holds_is_not_outdated_by_an_upgrade(
    make_operator: MakeOperator, namespace: str, make_resource: MakeResource
) -> None:
    resource = make_resource(namespace=namespace)
    upgraded(make_operator, namespace, resource)
    pod = resource.pod_of("verify")
    assert pod["spec"]["containers"][0]["image"] == NEW
    assert resource.said()["Ready"] == ("Unknown", "Verifying")
    before = the_target(resource)
    assert before["artifact"]["variant"] == BEST
    resource.finish(pod, verification(rejects=False))
    resource.wait_said(Ready=READY)
    after = the_target(resource)
    assert after["artifact"] == before["artifact"]
    assert after["variants"] == before["variants"]
    held = after["verification"]
    assert (held["state"], held["optimizer"]) == ("Held", NEW)
    assert held["software"]["mopt"] == "0.2.0+ffffffffffff"
    assert held["hardware"]["cpuFeatures"] == ["avx2", "avx512f"]
    stages = [job["metadata"]["labels"]["mopt.dev/stage"] for job in resource.jobs()]
    assert stages == ["verify"]


def test_artifact_that_misses_its_gate_now_is_replaced_before_the_full_run(
    make_operator: MakeOperator, namespace: str, make_resource: MakeResource
) -> None:
    resource = make_resource(namespace=namespace)
    upgraded(make_operator, namespace, resource)
    resource.finish(resource.pod_of("verify"), verification(rejects=True))
    pod = resource.pod_of("prepare")
    resource.wait_for(lambda: the_target(resource)["verification"]["state"] == "Broken")
    target = the_target(resource)
    assert target["artifact"]["variant"] == target["selected"] == SECOND
    resource.finish(pod, Messages.prepare())
    measured = Messages.measure(selected=SECOND, result="anew", **LATER)
    resource.finish(resource.pod_of("measure"), measured)
    resource.wait_said(Ready=READY)
    assert "verification" not in the_target(resource)
