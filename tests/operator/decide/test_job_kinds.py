"""What a profile makes of its targets: CPU, GPU, or engines that are only built."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mopt_api.auto.int8 import CpuClass
from mopt_api.auto.search import contenders_on
from mopt_api.enums import TargetKind
from mopt_api.jobs.plan import MeasurePlan, PreparePlan, search_facts
from mopt_api.spec import ModelOptimizationSpec, Output, Target
from mopt_operator.config.job_pods import JobPods
from mopt_operator.config.settings import Settings, parse_settings
from mopt_operator.decide.jobs import build_job
from mopt_operator.decide.work import (
    WorkItem,
    job_names,
    measure_work,
    measurement_key,
    prepare_work,
    report_work,
)
from mopt_operator.objects import Resource

OUTPUT = Output(uri="s3://out/sr")
RESOURCE = Resource("team", "sr", "uid-1", 3, "7", {}, {})
PREPARED = f"sha256:{'b' * 64}"
CAPABILITIES = ["8.6", "8.9", "12.0"]
PROFILES: dict[str, Any] = {
    "default": {},
    "l4": {"resources": {"limits": {"nvidia.com/gpu": 1}}, "image": "mopt/optimizer-gpu:1"},
    "mig": {"resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}}},
    "engines": {"buildOnly": True, "computeCapabilities": CAPABILITIES},
}
KINDS = {
    "default": TargetKind.CPU,
    "l4": TargetKind.GPU,
    "mig": TargetKind.GPU,
    "engines": TargetKind.BUILD_ONLY,
}


def make_settings(**profiles: object) -> Settings:
    document = {"optimizerImage": "mopt/optimizer:1", "profiles": PROFILES | profiles}
    return parse_settings(json.dumps(document))


SETTINGS = make_settings()


def spec(*profiles: str, **fields: object) -> ModelOptimizationSpec:
    return ModelOptimizationSpec.model_validate(
        {
            "model": {"uri": "s3://models/m.onnx", "sha256": "a" * 64, "format": "ONNX"},
            "inputs": [{"name": "x", "shape": [1, 3, 8, 8]}],
            "targets": [{"name": name, "profile": name} for name in profiles],
        }
        | fields
    )


def measuring(
    profile: str, asked: ModelOptimizationSpec | None = None, settings: Settings = SETTINGS
) -> WorkItem:
    target = Target(name="t", profile=profile)
    return measure_work(asked or spec(), OUTPUT, settings, target=target, prepared=PREPARED)


def pod(work: WorkItem, settings: Settings = SETTINGS) -> dict[str, Any]:
    found: dict[str, Any] = build_job(work, RESOURCE, settings)["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_measurement_is_told_its_kind(profile: str) -> None:
    plan = measuring(profile).plan
    assert isinstance(plan, MeasurePlan)
    assert plan.kind is KINDS[profile]
    assert plan.compute_capabilities == (CAPABILITIES if profile == "engines" else [])
    assert plan.search is not None
    assert plan.search.kind is KINDS[profile]


def test_preparation_makes_what_any_target_may_need() -> None:
    asked = spec("default", "engines", "l4")
    plan = prepare_work(asked, OUTPUT, SETTINGS).plan
    assert isinstance(plan, PreparePlan)
    assert plan.kinds == [TargetKind.CPU, TargetKind.GPU, TargetKind.BUILD_ONLY]
    assert plan.variants == contenders_on(search_facts(asked), plan.kinds)
    made = {variant.name for variant in plan.variants}
    for profile in ("default", "engines", "l4"):
        told = measuring(profile, asked).plan
        assert isinstance(told, MeasurePlan)
        assert {variant.name for variant in told.variants} <= made


def test_another_kind_of_target_prepares_anew_and_leaves_what_was_measured() -> None:
    alone, both = spec("default"), spec("default", "engines")
    target = alone.targets[0]

    def key(asked: ModelOptimizationSpec) -> str:
        return measurement_key(asked, OUTPUT, SETTINGS, RESOURCE, target=target)

    assert key(alone) == key(both)
    names = {
        job_names(prepare_work(s, OUTPUT, SETTINGS), RESOURCE, SETTINGS) for s in (alone, both)
    }
    assert len(names) == 2


def test_listed_variants_are_every_target_s() -> None:
    listed = [{"name": "a", "runtime": "TensorRT", "precision": "FP16"}]
    asked = spec("default", "engines", variants=listed)
    prepared = prepare_work(asked, OUTPUT, SETTINGS).plan
    assert isinstance(prepared, PreparePlan)
    for profile in PROFILES:
        told = measuring(profile, asked).plan
        assert isinstance(told, MeasurePlan)
        assert told.variants == prepared.variants == asked.variants


def test_image_of_a_profile_is_its_jobs_and_part_of_their_name() -> None:
    assert pod(measuring("l4"))["containers"][0]["image"] == "mopt/optimizer-gpu:1"
    assert pod(measuring("mig"))["containers"][0]["image"] == "mopt/optimizer:1"
    assert pod(prepare_work(spec("l4"), OUTPUT, SETTINGS))["containers"][0]["image"] == (
        "mopt/optimizer:1"
    )
    newer = make_settings(l4=PROFILES["l4"] | {"image": "mopt/optimizer-gpu:2"})
    names = {
        job_names(measuring("l4", settings=settings), RESOURCE, settings)
        for settings in (SETTINGS, newer)
    }
    assert len(names) == 2


@pytest.mark.parametrize("profile", PROFILES)
def test_measurements_and_builds_avoid_nodes_where_one_runs(profile: str) -> None:
    job = build_job(measuring(profile), RESOURCE, SETTINGS, busy=("node-1",))
    (wish,) = job["spec"]["template"]["spec"]["affinity"]["nodeAffinity"].values()
    assert wish[0]["preference"]["matchFields"][0]["values"] == ["node-1"]
    # No rule, which would let an autoscaler add a node for each, or quotas refuse the Pod.
    assert "affinity" not in pod(measuring(profile))


def test_preparation_shares_a_node_with_measurements() -> None:
    job = build_job(prepare_work(spec(), OUTPUT, SETTINGS), RESOURCE, SETTINGS, busy=("node-1",))
    assert "affinity" not in job["spec"]["template"]["spec"]


def test_when_jobs_run_makes_no_other_jobs() -> None:
    when = {"maxRunning": 3, "measurementSlots": 2, "queuePriorityClassName": "low"}
    other = make_settings(l4=PROFILES["l4"] | when)
    assert job_names(measuring("l4"), RESOURCE, SETTINGS) == job_names(
        measuring("l4", settings=other), RESOURCE, other
    )


def test_what_serving_costs_makes_no_other_jobs() -> None:
    terms = {"pricePerHour": "0.7", "wattsIdle": 20, "wattsBusy": 72}
    other = make_settings(l4=PROFILES["l4"] | terms)
    assert job_names(measuring("l4"), RESOURCE, SETTINGS) == job_names(
        measuring("l4", settings=other), RESOURCE, other
    )


CLAIMED = {
    "resourceClaims": [
        {"name": "gpu", "resourceClaimTemplateName": "l4", "request": "one", "kind": "GPU"},
        {"name": "nic", "resourceClaimName": "shared"},
    ]
}


def test_claimed_gpu_makes_a_gpu_profile_and_is_the_container_s() -> None:
    settings = make_settings(dra=CLAIMED)
    work = measuring("dra", settings=settings)
    assert isinstance(work.plan, MeasurePlan)
    assert work.plan.kind is TargetKind.GPU
    found = pod(work, settings)
    assert found["resourceClaims"] == [
        {"name": "gpu", "resourceClaimTemplateName": "l4"},
        {"name": "nic", "resourceClaimName": "shared"},
    ]
    (container,) = found["containers"]
    assert container["resources"]["claims"] == [{"name": "gpu", "request": "one"}, {"name": "nic"}]


def test_device_that_is_no_gpu_leaves_a_target_a_cpu_s() -> None:
    settings = make_settings(dra={"resourceClaims": CLAIMED["resourceClaims"][1:]})
    plan = measuring("dra", settings=settings).plan
    assert isinstance(plan, MeasurePlan)
    assert plan.kind is TargetKind.CPU


def test_devices_are_for_what_has_the_profile_s_resources() -> None:
    settings = make_settings(default=CLAIMED)
    prepared = pod(prepare_work(spec(), OUTPUT, settings), settings)
    assert len(prepared["resourceClaims"]) == 2
    report = report_work(
        spec(),
        OUTPUT,
        settings,
        target=Target(name="a"),
        result=f"sha256:{'b' * 64}",
        measured_by="i",
        served=False,
        basis="",
    )
    assert "resourceClaims" not in pod(report, settings)


def test_another_claim_is_measured_anew_and_none_makes_no_other_jobs() -> None:
    def key(**profile: object) -> str:
        settings, target = make_settings(l4=profile), Target(name="t", profile="l4")
        return measurement_key(spec(), OUTPUT, settings, RESOURCE, target=target)

    other = [{"name": "gpu", "resourceClaimTemplateName": "a100", "kind": "GPU"}]
    keys = [key(**PROFILES["l4"]), key(**CLAIMED), key(resourceClaims=other)]
    assert len(set(keys)) == 3
    assert key(**PROFILES["l4"], resourceClaims=[], extraVolumes=[]) == keys[0]
    none = make_settings(l4=PROFILES["l4"] | {"resourceClaims": [], "extraVolumes": []})
    assert job_names(measuring("l4"), RESOURCE, SETTINGS) == job_names(
        measuring("l4", settings=none), RESOURCE, none
    )


def test_profile_s_files_come_beside_those_of_all_jobs() -> None:
    def files(name: str) -> dict[str, Any]:
        return {
            "extraVolumes": [{"name": name, "configMap": {"name": name}}],
            "extraVolumeMounts": [{"name": name, "mountPath": f"/etc/{name}"}],
        }

    settings = make_settings(l4=PROFILES["l4"] | files("pool"))
    settings = settings.model_copy(update={"jobs": JobPods.model_validate(files("all"))})
    found = pod(measuring("l4", settings=settings), settings)
    assert [volume["name"] for volume in found["volumes"]] == ["tmp", "shm", "all", "pool"]
    (container,) = found["containers"]
    assert container["volumeMounts"][-1] == {
        "name": "pool",
        "mountPath": "/etc/pool",
        "readOnly": True,
    }
    cpu = pod(measuring("default", settings=settings), settings)
    assert [volume["name"] for volume in cpu["volumes"]] == ["tmp", "shm", "all"]


def test_other_compute_capabilities_build_anew() -> None:
    more = make_settings(engines=PROFILES["engines"] | {"computeCapabilities": ["8.9"]})
    target = Target(name="t", profile="engines")
    keys = {
        measurement_key(spec(), OUTPUT, settings, RESOURCE, target=target)
        for settings in (SETTINGS, more)
    }
    assert len(keys) == 2


def test_objective_and_benchmark_do_not_matter_to_a_build() -> None:
    points = {"points": [{"name": "p"}], "warmupSeconds": 2}
    timed = spec(objective={"metric": "Throughput", "point": "p"}, benchmark=points)
    assert measuring("engines", timed).plan == measuring("engines").plan
    assert measuring("l4", timed).plan != measuring("l4").plan


@pytest.mark.parametrize(
    ("targets", "known"),
    [
        ([{"name": "a"}, {"name": "b", "profile": "default"}], True),
        # What PyTorch and TensorRT compute there is no matter of the CPU.
        ([{"name": "a"}, {"name": "b", "profile": "l4"}], True),
        ([{"name": "a"}, {"name": "b", "profile": "small"}], False),
        ([{"name": "a", "nodeSelector": {"zone": "a"}}], False),
    ],
)
def test_other_nodes_may_have_cpus_of_any_class(targets: list[dict[str, Any]], known: bool) -> None:
    settings = make_settings(small={})
    given = spec(targets=targets)
    plan = prepare_work(given, OUTPUT, settings).plan
    assert isinstance(plan, PreparePlan)
    assert plan.cpu_classes == (None if known else sorted(CpuClass))
