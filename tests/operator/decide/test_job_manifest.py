"""The measuring Job's manifest, compared whole, and a Job's plan, nodes and resources."""
# ruff: noqa: S108 - paths inside the Pod

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from job_parts import PREPARED, RESOURCE, SECRET_KEYS, gpu_settings, output, spec, variables
from pod_environment import environment

from mopt_api.enums import ModelFormat
from mopt_api.figures import SourceInfo
from mopt_api.jobs.plan import PLAN_ADAPTER, Credentials, MeasurePlan, PreparePlan
from mopt_api.reasons import PERMANENT_EXIT_CODES
from mopt_api.spec import Target
from mopt_operator.config.settings import Settings, parse_settings
from mopt_operator.decide.jobs import build_job
from mopt_operator.decide.work import job_names, measure_work, prepare_work


@pytest.fixture
def settings() -> Settings:
    return gpu_settings()


def test_measure_job_whole(settings: Settings) -> None:
    work = measure_work(
        spec(execution={"activeDeadlineSeconds": 900, "backoffLimit": 1}),
        output(),
        settings,
        target=Target(name="l4", profile="gpu", node_selector={"disk": "nvme", "zone": "b"}),
        prepared=PREPARED,
    )
    job = build_job(work, RESOURCE, settings)
    found = variables(job)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    del container["env"]
    labels = {
        "app.kubernetes.io/managed-by": "mopt",
        "mopt.dev/name": "sr",
        "mopt.dev/uid": "uid-1",
        "mopt.dev/stage": "measure",
        "mopt.dev/target": "l4",
        "mopt.dev/profile": "gpu",
    }
    assert job == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_names(work, RESOURCE, settings)[0],
            "namespace": "team",
            "labels": labels,
            "annotations": {"mopt.dev/generation": "3", "mopt.dev/prepared": PREPARED},
            "ownerReferences": [
                {
                    "apiVersion": "mopt.dev/v1alpha1",
                    "kind": "ModelOptimization",
                    "name": "sr",
                    "uid": "uid-1",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "backoffLimit": 1,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "optimizer",
                            "operator": "In",
                            "values": PERMANENT_EXIT_CODES,
                        },
                    },
                ]
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "activeDeadlineSeconds": 900,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "optimizer",
                            "image": "mopt/optimizer:1",
                            "imagePullPolicy": "IfNotPresent",
                            "args": ["measure"],
                            "resources": {
                                "requests": {},
                                "limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": 1},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                                "readOnlyRootFilesystem": True,
                            },
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "volumeMounts": [
                                {"name": "tmp", "mountPath": "/tmp"},
                                {"name": "shm", "mountPath": "/dev/shm"},
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "tmp", "emptyDir": {"sizeLimit": "20Gi"}},
                        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
                    ],
                    "nodeSelector": {"disk": "nvme", "kind": "gpu", "zone": "a"},
                    "tolerations": [
                        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
                    ],
                    "imagePullSecrets": [{"name": "registry"}],
                    "serviceAccountName": "jobs",
                    "runtimeClassName": "nvidia",
                    "priorityClassName": "low",
                },
            },
        },
    }
    plan = PLAN_ADAPTER.validate_json(found.pop("MOPT_PLAN"))
    assert isinstance(plan, MeasurePlan)
    assert (plan.target, plan.prepared, plan.output_uri) == ("l4", PREPARED, "s3://out/sr")
    secrets = {
        role.variable(key): {"secretKeyRef": {"name": "store", "key": key, "optional": optional}}
        for role in (Credentials.MODEL, Credentials.EVALUATION, Credentials.OUTPUT)
        for key, optional in SECRET_KEYS.items()
    }
    assert found == secrets | {
        "MOPT_REQUESTED_AT": "2026-11-01",
        "MOPT_RESOURCE": "team/sr",
        "MOPT_GENERATION": "3",
        "MOPT_DEADLINE_SECONDS": "900",
        "MOPT_SANDBOX": "Required",
        "MOPT_SCRATCH_BYTES": str(20 * 2**30),
        "MOPT_NODE_NAME": {"fieldRef": {"fieldPath": "spec.nodeName"}},
        "MOPT_JOB_UID": {
            "fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}
        },
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "USER": "mopt",
        "XDG_CACHE_HOME": "/tmp/cache",
        "TORCH_HOME": "/tmp/cache/torch",
        "TORCHINDUCTOR_CACHE_DIR": "/tmp/cache/torchinductor",
    }


@pytest.mark.parametrize(
    "text",
    [
        "$(KUBERNETES_SERVICE_HOST)",
        "$$(KUBERNETES_SERVICE_HOST)",
        "$$$(HOME)$",
        "$$",
        "$(MOPT_PLAN)",
        "$",
        "cost: 5$ (or $6)",
    ],
)
def test_process_finds_the_plan_as_it_was_written(settings: Settings, text: str) -> None:
    asked = spec(
        model={"uri": f"s3://models/{text.replace(' ', '')}", "sha256": "a" * 64, "format": "ONNX"},
        inputs=[{"name": text, "shape": [1]}],
    )
    resource = replace(RESOURCE, requested_at=text)
    job = build_job(prepare_work(asked, output(), settings), resource, settings)
    found = environment(job["spec"]["template"]["spec"]["containers"][0]["env"])
    plan = PLAN_ADAPTER.validate_json(found["MOPT_PLAN"])
    assert isinstance(plan, PreparePlan)
    assert (plan.model.uri, plan.inputs) == (asked.model.uri, asked.inputs)
    assert found["MOPT_REQUESTED_AT"] == text


def test_plan_is_the_same_bytes_each_time(settings: Settings) -> None:
    first = prepare_work(spec(), output(), settings).plan_json()
    assert first == prepare_work(spec(), output(), settings).plan_json()
    assert list(json.loads(first)) == sorted(json.loads(first))


def test_deadline_is_no_part_of_a_results_identity(settings: Settings) -> None:
    plans = {
        prepare_work(spec(execution={"activeDeadlineSeconds": s}), output(), settings).plan_json()
        for s in (60, 600)
    }
    assert len(plans) == 1


def test_target_s_resources_replace_the_profile_s_but_for_its_gpu(settings: Settings) -> None:
    target = Target.model_validate(
        {"name": "a", "profile": "gpu", "resources": {"limits": {"cpu": 1}}}
    )
    work = measure_work(spec(), output(), settings, target=target, prepared=PREPARED)
    job = build_job(work, RESOURCE, settings)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {}, "limits": {"cpu": 1, "nvidia.com/gpu": 1}}


def test_node_affinity_of_the_profile_joins_the_wish_for_a_free_node() -> None:
    requirement = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-L4"]}
    profile = {
        "nodeAffinity": [requirement],
        "resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}},
    }
    settings = parse_settings(
        json.dumps({"optimizerImage": "i", "profiles": {"default": {}, "mig": profile}})
    )
    work = measure_work(
        spec(), output(), settings, target=Target(name="t", profile="mig"), prepared=PREPARED
    )
    job = build_job(work, RESOURCE, settings, busy=("node-1", "node-2"))
    pod = job["spec"]["template"]["spec"]
    others = [
        {"key": "metadata.name", "operator": "NotIn", "values": [node]}
        for node in ("node-1", "node-2")
    ]
    assert pod["affinity"] == {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [requirement]}]
            },
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "preference": {"matchFields": others}}
            ],
        }
    }
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 1


def test_resources_come_from_the_model_s_size_where_nobody_gives_any() -> None:
    settings = Settings(optimizer_image="i")

    def memory(size: int | None) -> tuple[str, Any]:
        source = None
        if size is not None:
            source = SourceInfo(sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=size)
        work = measure_work(
            spec(),
            output(),
            settings,
            target=Target(name="t"),
            prepared=PREPARED,
            source=source,
        )
        job = build_job(work, RESOURCE, settings)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        return job["metadata"]["name"], container["resources"]["requests"]["memory"]

    small, large, unknown = memory(2**20), memory(2**30), memory(None)
    assert (small[1], large[1], unknown[1]) == ("2304Mi", "8192Mi", "5120Mi")
    # The size is found out on the way: it must not make another Job.
    assert small[0] == large[0] == unknown[0]
