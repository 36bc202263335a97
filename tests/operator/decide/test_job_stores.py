"""What a Job's Pod reads and writes with: keys, tokens, claims, a registry's login."""

from __future__ import annotations

import json

import pytest
from job_parts import PREPARED, RESOURCE, gpu_settings, output, spec, variables

from mopt_api.spec import Output, Target
from mopt_operator.config.settings import Settings, parse_settings
from mopt_operator.decide.jobs import build_job
from mopt_operator.decide.work import measure_work, prepare_work, report_work


@pytest.fixture
def settings() -> Settings:
    return gpu_settings()


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
