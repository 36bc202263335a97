"""The Jobs' manifests, compared whole."""
# ruff: noqa: S108 - paths inside the Pod

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pod_environment import environment

from mopt_api.enums import ModelFormat
from mopt_api.figures import SourceInfo
from mopt_api.jobs.plan import PLAN_ADAPTER, Credentials, MeasurePlan, PreparePlan
from mopt_api.reasons import PERMANENT_EXIT_CODES
from mopt_api.spec import ModelOptimizationSpec, Output, Target
from mopt_operator.config.settings import Settings, parse_settings
from mopt_operator.decide.jobs import build_job
from mopt_operator.decide.work import job_names, measure_work, prepare_work, report_work
from mopt_operator.objects import Resource

RESOURCE = Resource("team", "sr", "uid-1", 3, "7", {}, {}, requested_at="2026-11-01")
PREPARED = f"sha256:{'b' * 64}"
SECRET_KEYS = {
    "AWS_ACCESS_KEY_ID": False,
    "AWS_SECRET_ACCESS_KEY": False,
    "AWS_SESSION_TOKEN": True,
    "AWS_ENDPOINT_URL": True,
    "AWS_REGION": True,
    "ca.crt": True,
}


def spec(**fields: object) -> ModelOptimizationSpec:
    return ModelOptimizationSpec.model_validate(
        {
            "model": {"uri": "s3://models/m.onnx", "sha256": "a" * 64, "format": "ONNX"},
            "inputs": [{"name": "x", "shape": [1, 3, 8, 8]}],
            "data": {
                "calibration": {
                    "uri": "s3://data/c/",
                    "credentialsSecretRef": {"name": "calibration"},
                },
                "evaluation": {"uri": "s3://data/e/"},
            },
        }
        | fields
    )


def output(named: str | None = "store") -> Output:
    reference = {"credentialsSecretRef": {"name": named}} if named else {}
    return Output.model_validate({"uri": "s3://out/sr"} | reference)


@pytest.fixture
def settings() -> Settings:
    profile = {
        "nodeSelector": {"kind": "gpu", "zone": "a"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "resources": {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": 1}},
        "serviceAccountName": "jobs",
        "runtimeClassName": "nvidia",
        "priorityClassName": "low",
        "scratchSize": "20Gi",
    }
    return parse_settings(
        json.dumps(
            {
                "optimizerImage": "mopt/optimizer:1",
                "imagePullSecrets": [{"name": "registry"}],
                "profiles": {"default": {}, "gpu": profile},
            }
        )
    )


def variables(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in container["env"]}


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


def test_prepare_job_runs_on_the_default_profile_and_reads_calibration_data_only(
    settings: Settings,
) -> None:
    job = build_job(prepare_work(spec(), output(), settings), RESOURCE, settings)
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == ["prepare"]
    assert "affinity" not in pod
    assert "nodeSelector" not in pod
    assert "mopt.dev/target" not in job["metadata"]["labels"]
    secret = {
        name: value["secretKeyRef"]["name"]
        for name, value in variables(job).items()
        if "secretKeyRef" in value
    }
    assert secret["MOPT_CALIBRATION_CA_CRT"] == "calibration"
    assert secret["MOPT_MODEL_AWS_REGION"] == "store"
    assert secret["MOPT_OUTPUT_AWS_REGION"] == "store"
    assert not [name for name in secret if name.startswith("MOPT_EVALUATION")]
    assert len(secret) == 18


def test_prepare_job_without_calibration_data_reads_that_of_evaluation(settings: Settings) -> None:
    data = {"evaluation": {"uri": "s3://data/e/", "credentialsSecretRef": {"name": "evaluation"}}}
    job = build_job(prepare_work(spec(data=data), output(), settings), RESOURCE, settings)
    secret = variables(job)["MOPT_EVALUATION_AWS_REGION"]["secretKeyRef"]
    assert secret["name"] == "evaluation"
    assert not [name for name in variables(job) if name.startswith("MOPT_CALIBRATION")]


def test_no_keys_are_there_for_a_model_on_the_web(settings: Settings) -> None:
    model = {"uri": "https://models.example.com/m.onnx", "sha256": "0" * 64, "format": "ONNX"}
    job = build_job(
        prepare_work(spec(model=model, data={}), output(), settings), RESOURCE, settings
    )
    roles = {name.split("_")[1] for name, each in variables(job).items() if "secretKeyRef" in each}
    assert roles == {"OUTPUT"}


@pytest.mark.parametrize("stage", ["prepare", "measure"])
def test_claims_are_mounted_read_only_and_have_no_keys(settings: Settings, stage: str) -> None:
    asked = spec(
        model={"uri": "pvc://models/sr/m.onnx", "sha256": "0" * 64, "format": "ONNX"},
        data={
            "calibration": {"uri": "pvc://pictures.2026/c/"},
            "evaluation": {"uri": "pvc://models/e/", "references": {"uri": "pvc://truth"}},
        },
    )
    target = Target(name="default")
    work = (
        prepare_work(asked, output(), settings)
        if stage == "prepare"
        else measure_work(asked, output(), settings, target=target, prepared=PREPARED)
    )
    job = build_job(work, RESOURCE, settings)
    other = "pictures.2026" if stage == "prepare" else "truth"
    pod = job["spec"]["template"]["spec"]
    assert [v for v in pod["volumes"] if v["name"].startswith("claim-")] == [
        {
            "name": f"claim-{number}",
            "persistentVolumeClaim": {"claimName": claim, "readOnly": True},
        }
        for number, claim in enumerate(["models", other])
    ]
    mounts = pod["containers"][0]["volumeMounts"]
    assert [m for m in mounts if m["name"].startswith("claim-")] == [
        {"name": "claim-0", "mountPath": "/run/mopt/claims/models", "readOnly": True},
        {"name": "claim-1", "mountPath": f"/run/mopt/claims/{other}", "readOnly": True},
    ]
    found = variables(job)
    assert found["MOPT_CLAIMS"] == "/run/mopt/claims"
    assert {name.split("_")[1] for name, each in found.items() if "secretKeyRef" in each} == {
        "OUTPUT"
    }


def test_the_output_s_claim_alone_is_written(settings: Settings) -> None:
    out = Output(uri="pvc://models/out")
    asked = spec(
        model={"uri": "pvc://models/sr/m.onnx", "sha256": "0" * 64, "format": "ONNX"},
        data={"evaluation": {"uri": "pvc://pictures"}},
    )
    target = Target(name="default")
    report = report_work(
        asked,
        out,
        settings,
        target=target,
        result=PREPARED,
        measured_by=None,
        served=False,
        basis="",
    )
    works = [
        (prepare_work(asked, out, settings), True),
        (measure_work(asked, out, settings, target=target, prepared=PREPARED), True),
        (report, False),
    ]
    for work, reads in works:
        job = build_job(work, RESOURCE, settings)
        pod = job["spec"]["template"]["spec"]
        mounts = {m["name"]: m for m in pod["containers"][0]["volumeMounts"]}
        assert mounts["claim-0"] == {"name": "claim-0", "mountPath": "/run/mopt/claims/models"}
        volumes = {v["name"]: v for v in pod["volumes"]}
        assert volumes["claim-0"]["persistentVolumeClaim"] == {"claimName": "models"}
        assert ("claim-1" in mounts) == reads
        if reads:
            assert mounts["claim-1"]["readOnly"] is True
            assert volumes["claim-1"]["persistentVolumeClaim"]["readOnly"] is True
        assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        assert not [each for each in variables(job).values() if "secretKeyRef" in each]


def test_references_elsewhere_are_read_with_the_samples_keys(settings: Settings) -> None:
    evaluation = {
        "uri": "pvc://pictures/",
        "references": {"uri": "s3://truth"},
        "credentialsSecretRef": {"name": "truth"},
    }
    work = measure_work(
        spec(data={"evaluation": evaluation}),
        output(),
        settings,
        target=Target(name="default"),
        prepared=PREPARED,
    )
    assert work.secrets == {"MODEL": "store", "EVALUATION": "truth", "OUTPUT": "store"}
    assert work.claims == ("pictures",)


def test_roles_that_are_anonymous_get_the_place_alone(settings: Settings) -> None:
    model = {"uri": "s3://public/m.onnx", "sha256": "0" * 64, "format": "ONNX"}
    calibration = {"uri": "s3://pictures/", "credentials": "Anonymous"}
    asked = spec(model=model | {"credentials": "Anonymous"}, data={"calibration": calibration})
    found = variables(build_job(prepare_work(asked, output(), settings), RESOURCE, settings))
    for role in ("MODEL", "CALIBRATION"):
        assert found[f"MOPT_{role}_CREDENTIALS"] == "Anonymous"
        assert [name for name in found if name.startswith(f"MOPT_{role}_")][1:] == [
            f"MOPT_{role}_AWS_ENDPOINT_URL",
            f"MOPT_{role}_AWS_REGION",
            f"MOPT_{role}_CA_CRT",
        ]
    assert found["MOPT_MODEL_AWS_REGION"] == {
        "secretKeyRef": {"name": "store", "key": "AWS_REGION", "optional": True}
    }
    assert "MOPT_OUTPUT_CREDENTIALS" not in found
    assert "MOPT_OUTPUT_AWS_ACCESS_KEY_ID" in found


def test_a_registry_s_login_is_a_file_and_none_of_a_store(settings: Settings) -> None:
    model = {"uri": "oci://registry.test/sr:v1", "sha256": "0" * 64, "format": "ONNX"}
    bare = prepare_work(spec(model=model, data={}), output(), settings)
    assert (set(bare.secrets), bare.files) == ({"OUTPUT"}, ())
    asked = spec(model=model | {"credentialsSecretRef": {"name": "pull"}}, data={})
    target = Target(name="default")
    for work in (
        prepare_work(asked, output(), settings),
        measure_work(asked, output(), settings, target=target, prepared=PREPARED),
    ):
        pod = build_job(work, RESOURCE, settings)["spec"]["template"]["spec"]
        assert set(work.secrets) == {"OUTPUT"}
        (volume,) = (each for each in pod["volumes"] if each["name"] == "model-registry")
        assert [source["secret"]["name"] for source in volume["projected"]["sources"]] == [
            "pull",
            "pull",
        ]
        assert pod["containers"][0]["volumeMounts"][2:] == [
            {
                "name": "model-registry",
                "mountPath": "/var/run/secrets/mopt.dev/model-registry",
                "readOnly": True,
            }
        ]


IDENTITY = {
    "audience": "minio",
    "endpoint": "https://minio.example:9000",
    "roleArn": "arn:aws:iam::1:role/mopt",
    "expirationSeconds": 900,
}


def test_where_no_secret_is_named_the_pod_has_a_token_of_the_store_s_own() -> None:
    config = {"optimizerImage": "mopt/optimizer:1", "jobs": {"storeIdentity": IDENTITY}}
    told = parse_settings(json.dumps(config | {"profiles": {"default": {}}}))
    work = prepare_work(spec(data={}), output(None), told)
    job = build_job(work, RESOURCE, told)
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    token = {"audience": "minio", "expirationSeconds": 900, "path": "token"}
    assert pod["volumes"][2:] == [
        {"name": "identity", "projected": {"sources": [{"serviceAccountToken": token}]}}
    ]
    folder = "/var/run/secrets/mopt.dev/identity"
    assert pod["containers"][0]["volumeMounts"][2:] == [
        {"name": "identity", "mountPath": folder, "readOnly": True}
    ]
    assert {name: each for name, each in variables(job).items() if name.startswith("AWS_")} == {
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{folder}/token",
        "AWS_ROLE_ARN": "arn:aws:iam::1:role/mopt",
        "AWS_ENDPOINT_URL": "https://minio.example:9000",
    }
    with_keys = build_job(prepare_work(spec(data={}), output(), told), RESOURCE, told)
    assert len(with_keys["spec"]["template"]["spec"]["volumes"]) == 2
    assert not [name for name in variables(with_keys) if name.startswith("AWS_")]


def test_role_without_a_secret_gets_no_variables(settings: Settings) -> None:
    job = build_job(prepare_work(spec(data={}), output(None), settings), RESOURCE, settings)
    assert not [value for value in variables(job).values() if "secretKeyRef" in value]


def test_target_s_resources_replace_the_profile_s_but_for_its_gpu(settings: Settings) -> None:
    target = Target.model_validate(
        {"name": "a", "profile": "gpu", "resources": {"limits": {"cpu": 1}}}
    )
    work = measure_work(spec(), output(), settings, target=target, prepared=PREPARED)
    job = build_job(work, RESOURCE, settings)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {}, "limits": {"cpu": 1, "nvidia.com/gpu": 1}}


def test_plan_is_the_same_bytes_each_time(settings: Settings) -> None:
    first = prepare_work(spec(), output(), settings).plan_json()
    assert first == prepare_work(spec(), output(), settings).plan_json()
    assert list(json.loads(first)) == sorted(json.loads(first))


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


def ends_the_job(job: dict[str, Any], exit_code: int, *, disrupted: bool = False) -> bool:
    """Tell what the Job controller does with a Pod that ended so: the first rule that fits."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        if "onPodConditions" in rule and disrupted:
            return bool(rule["action"] == "FailJob")
        if exit_code in rule.get("onExitCodes", {}).get("values", ()):
            return bool(rule["action"] == "FailJob")
    return False


@pytest.mark.parametrize(
    ("code", "disrupted", "stages"),
    [
        pytest.param(74, False, {"prepare", "measure", "report"}, id="it says OutOfMemory"),
        pytest.param(75, False, {"prepare", "measure", "report"}, id="it says DeadlineExceeded"),
        pytest.param(137, False, {"prepare", "report"}, id="killed for want of memory"),
        pytest.param(137, True, set(), id="killed by an eviction"),
        pytest.param(143, True, set(), id="ended by an eviction"),
        pytest.param(143, False, set(), id="ended by hand"),
        pytest.param(80, False, set(), id="the store does not answer"),
        pytest.param(1, False, set(), id="a crash"),
    ],
)
def test_what_ends_a_job_at_once(
    settings: Settings, code: int, disrupted: bool, stages: set[str]
) -> None:
    target = Target(name="l4", profile="gpu")
    works = [
        prepare_work(spec(), output(), settings),
        measure_work(spec(), output(), settings, target=target, prepared=PREPARED),
        report_work(
            spec(),
            output(),
            settings,
            target=target,
            result=PREPARED,
            measured_by=None,
            served=False,
            basis="",
        ),
    ]
    ended = {
        work.stage.lower()
        for work in works
        if ends_the_job(build_job(work, RESOURCE, settings), code, disrupted=disrupted)
    }
    assert ended == stages


def test_deadline_is_no_part_of_a_results_identity(settings: Settings) -> None:
    plans = {
        prepare_work(spec(execution={"activeDeadlineSeconds": s}), output(), settings).plan_json()
        for s in (60, 600)
    }
    assert len(plans) == 1


EXTRAS: dict[str, Any] = {
    "podSecurityContext": {"runAsUser": None, "fsGroup": None, "supplementalGroups": [7]},
    "extraEnv": [
        {"name": "SSL_CERT_FILE", "value": "/etc/corporate/ca.crt"},
        {"name": "GUESS", "value": "$(MOPT_PLAN)"},
    ],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "corporate-ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/corporate"}],
}
PROFILE: dict[str, Any] = {
    "podLabels": {"team": "ml"},
    "podAnnotations": {"karpenter.sh/do-not-disrupt": "true"},
}


def job_with(jobs: dict[str, Any], profile: dict[str, Any]) -> dict[str, Any]:
    settings = parse_settings(
        json.dumps({"optimizerImage": "i", "jobs": jobs, "profiles": {"default": profile}})
    )
    return build_job(prepare_work(spec(), output(), settings), RESOURCE, settings)


def test_administrator_s_additions_leave_the_pod_as_restricted_as_it_was() -> None:
    plain, job = job_with({}, {}), job_with(EXTRAS, PROFILE)
    before, pod = plain["spec"]["template"]["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (bare,) = before["containers"]
    assert pod.pop("securityContext") == {
        "runAsNonRoot": True,
        "runAsGroup": 65532,
        "supplementalGroups": [7],
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    mount = {"name": "ca", "mountPath": "/etc/corporate", "readOnly": True}
    assert container.pop("volumeMounts") == [*bare.pop("volumeMounts"), mount]
    volume = {"name": "ca", "configMap": {"name": "corporate-ca", "optional": False}}
    assert pod.pop("volumes") == [*before.pop("volumes"), volume]
    # A variable can refer to those before it: to none of the Job's own.
    added, own = container["env"][:2], container.pop("env")[2:]
    assert (added, own) == (EXTRAS["extraEnv"], bare.pop("env"))
    found = environment([*added, *own])
    assert found["GUESS"] == "$(MOPT_PLAN)"
    # Nothing else of the Pod is another one.
    del before["securityContext"]
    assert pod == before
    labels = plain["spec"]["template"]["metadata"]["labels"]
    assert job["spec"]["template"]["metadata"] == {
        "labels": labels | PROFILE["podLabels"],
        "annotations": PROFILE["podAnnotations"],
    }
    assert job["metadata"]["labels"] == plain["metadata"]["labels"]


def test_what_is_added_makes_another_job() -> None:
    """Pods that were refused are made anew, as soon as what was missing is there."""
    names = {
        job_with(jobs, profile)["metadata"]["name"]
        for jobs, profile in (({}, {}), (EXTRAS, {}), ({}, PROFILE), (EXTRAS, PROFILE))
    }
    assert len(names) == 4
