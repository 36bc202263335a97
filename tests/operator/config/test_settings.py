"""The configuration file: what is accepted, and the one line that a wrong one gets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mopt_api.enums import TargetKind
from mopt_operator.config.settings import (
    OnUpgrade,
    Profile,
    Settings,
    UpgradePolicy,
    parse_settings,
)
from mopt_operator.errors import SettingsError

FULL: dict[str, Any] = {
    "optimizerImage": "mopt/optimizer:0.1.0",
    "imagePullPolicy": "IfNotPresent",
    "imagePullSecrets": [{"name": "x"}],
    "defaultOutput": {"uri": "s3://bucket/prefix", "credentialsSecretRef": {"name": "store"}},
    "profiles": {
        "default": {
            "nodeSelector": {},
            "nodeAffinity": [],
            "tolerations": [],
            "resources": {
                "requests": {"cpu": "1", "memory": "2Gi"},
                "limits": {"cpu": "2", "memory": "6Gi"},
            },
            "serviceAccountName": None,
            "runtimeClassName": None,
            "priorityClassName": None,
            "scratchSize": "8Gi",
            "image": None,
            "buildOnly": False,
            "computeCapabilities": [],
        }
    },
    "watchNamespaces": [],
    "logFormat": "json",
    "ttlSecondsAfterFinished": 3600,
}


def test_chart_s_configuration_is_accepted() -> None:
    settings = parse_settings(json.dumps(FULL))
    assert settings.default_output is not None
    assert settings.default_output.uri == "s3://bucket/prefix"
    assert settings.profiles["default"].resources.limits["memory"] == "6Gi"


@pytest.mark.parametrize(
    ("written", "policy", "most"),
    [
        ("Rerun", UpgradePolicy.RERUN, 5),
        ({"policy": "Rerun"}, UpgradePolicy.RERUN, 5),
        ({"policy": "Rerun", "maxConcurrent": 2}, UpgradePolicy.RERUN, 2),
        ("Keep", UpgradePolicy.KEEP, 5),
        ({"policy": "Verify", "maxConcurrent": 3}, UpgradePolicy.VERIFY, 3),
    ],
)
def test_upgrade_policy_has_a_short_form(written: object, policy: UpgradePolicy, most: int) -> None:
    settings = parse_settings(json.dumps(FULL | {"onUpgrade": written}))
    assert settings.on_upgrade == OnUpgrade(policy=policy, max_concurrent=most)


def test_only_the_image_is_needed() -> None:
    least = parse_settings('{"optimizerImage": "i", "defaultOutput": null}')
    assert least == Settings(optimizer_image="i")
    assert least.profiles["default"].scratch_size == "8Gi"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizerImage": ""}, "optimizerImage: "),
        ({"imagePullPolicy": "Sometimes"}, "imagePullPolicy: "),
        ({"profiles": {"gpu": {}}}, "profiles must hold one named default"),
        ({"profiles": {"default": {"scratchSize": "big"}}}, "profiles.default.scratchSize"),
        ({"profiles": {"default": {"nodes": 1}}}, "profiles.default.nodes: Extra inputs"),
        ({"defaultOutput": {"uri": "file:///x"}}, "defaultOutput.uri: "),
        (
            {"defaultOutput": {"uri": "s3://bucket/{name}"}},
            "{name} stands for nothing; {namespace} does",
        ),
        ({"defaultOutput": {"uri": "s3://bucket/{namespace"}}, "{namespace stands for nothing"),
        ({"ttlSecondsAfterFinished": -1}, "ttlSecondsAfterFinished: "),
        ({"logFormat": "xml"}, "logFormat: "),
        ({"workers": 0}, "workers: "),
        ({"kubeApi": {"qps": 0}}, "kubeApi.qps: "),
        ({"kubeApi": {"burst": 2}}, "kubeApi.qps: Field required"),
        ({"healthAddress": "8080"}, "healthAddress: "),
        ({"onUpgrade": "Maybe"}, "onUpgrade.policy: "),
        ({"onUpgrade": {"policy": "Rerun", "maxConcurrent": 0}}, "onUpgrade.maxConcurrent: "),
        ({"maxRunningPerNamespace": 0}, "maxRunningPerNamespace: "),
        ({"profiles": {"default": {"maxRunning": 0}}}, "profiles.default.maxRunning: "),
        ({"profiles": {"default": {"pricePerHour": "5 EUR"}}}, "profiles.default.pricePerHour"),
        ({"profiles": {"default": {"wattsIdle": 5}}}, "wattsIdle and wattsBusy need each other"),
        (
            {"profiles": {"default": {"wattsIdle": 9, "wattsBusy": 5}}},
            "wattsIdle and wattsBusy need each other, and idle is not more than busy",
        ),
        (
            {"profiles": {"default": {"measurementSlots": 0}}},
            "profiles.default.measurementSlots: ",
        ),
        ({"leaderElection": {}}, "leaderElection.namespace: Field required"),
        ({"publish": {"baseImage": "registry.test/base:latest"}}, "publish.baseImage: "),
        ({"publish": {"signing": {}}}, "publish.signing.secretName: Field required"),
        ({"publish": {"signing": {"secretName": "a", "key": "a/b"}}}, "publish.signing.key: "),
        (
            {"publish": {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": 1}}}},
            "publish: Value error, resources.requests.cpu 2 is more than limits.cpu 1",
        ),
    ],
)
def test_wrong_field_is_named_in_one_line(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        parse_settings(json.dumps(FULL | change))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"nodeSelector": {"gpu=": "l4"}}, "profiles.l4.nodeSelector.gpu="),
        ({"nodeSelector": {"gpu": "L4 24GB"}}, "profiles.l4.nodeSelector.gpu"),
        ({"tolerations": [{"operator": "Is"}]}, "profiles.l4.tolerations.0.operator"),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
            "profiles.l4.tolerations.0: Value error, Exists takes no value",
        ),
        ({"tolerations": [{"effect": "NoSchedule"}]}, "without a key the operator must be Exists"),
        (
            {"tolerations": [{"key": "a", "tolerationSeconds": 3}]},
            "tolerationSeconds belongs to the effect NoExecute",
        ),
        ({"nodeAffinity": [{"key": "a", "operator": "In"}]}, "In and NotIn need values"),
        (
            {"nodeAffinity": [{"key": "a", "operator": "Exists", "values": ["b"]}]},
            "Exists and DoesNotExist take no values",
        ),
        (
            {"nodeAffinity": [{"key": "a", "operator": "Gt", "values": ["b"]}]},
            "Gt and Lt take one whole number",
        ),
        ({"runtimeClassName": "NVIDIA"}, "profiles.l4.runtimeClassName"),
        (
            {"resources": {"requests": {"memory": "3Gi"}, "limits": {"memory": "2048Mi"}}},
            "resources.requests.memory 3Gi is more than limits.memory 2048Mi",
        ),
        (
            {"resources": {"limits": {"nvidia.com/gpu": "500m"}}},
            "limits.nvidia.com/gpu 500m: devices come in whole numbers",
        ),
        (
            {"resources": {"requests": {"nvidia.com/gpu": 1}}},
            "requests.nvidia.com/gpu 1 must equal limits.nvidia.com/gpu",
        ),
        ({"buildOnly": True}, "buildOnly: true and computeCapabilities"),
        ({"computeCapabilities": ["8.9"]}, "buildOnly: true and computeCapabilities"),
        ({"buildOnly": True, "computeCapabilities": ["89"]}, "l4.computeCapabilities.0"),
        ({"resourceClaims": [{"name": "gpu"}]}, "a claim takes one of"),
        (
            {"resourceClaims": [{"name": "a", "resourceClaimName": "b", "kind": "TPU"}]},
            "l4.resourceClaims.0.kind",
        ),
        (
            {"resourceClaims": [{"name": "a", "resourceClaimName": "b"}] * 2},
            "Duplicate value in resourceClaims: a",
        ),
        (
            {
                "buildOnly": True,
                "computeCapabilities": ["8.9"],
                "resourceClaims": [{"name": "a", "resourceClaimName": "b", "kind": "GPU"}],
            },
            "resourceClaims: a GPU with buildOnly, which needs none",
        ),
        ({"extraVolumeMounts": [{"name": "a", "mountPath": "/a"}]}, "extraVolumes do not have"),
        (
            {"extraVolumes": [{"name": "a", "hostPath": {"path": "/"}}]},
            "hostPath: Extra inputs",
        ),
        (
            {"buildOnly": True, "computeCapabilities": ["8.9", "8.9"]},
            "computeCapabilities names one twice",
        ),
        (
            {
                "buildOnly": True,
                "computeCapabilities": ["8.9"],
                "resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}},
            },
            "resources: nvidia.com/mig-1g.10gb with buildOnly, which needs no GPU",
        ),
    ],
)
def test_profile_that_no_pod_can_have_is_told_in_one_line(
    profile: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        parse_settings(json.dumps(FULL | {"profiles": FULL["profiles"] | {"l4": profile}}))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_profile_of_a_gpu_is_accepted() -> None:
    profile = {
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"},
        "nodeAffinity": [{"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["16000"]}],
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "resources": {"limits": {"nvidia.com/mig-1g.10gb": 1, "memory": "16Gi"}},
        "runtimeClassName": "nvidia",
    }
    settings = parse_settings(json.dumps(FULL | {"profiles": FULL["profiles"] | {"l4": profile}}))
    assert settings.profiles["l4"].runtime_class_name == "nvidia"
    assert settings.profiles["l4"].kind is TargetKind.GPU


@pytest.mark.parametrize(
    ("profile", "kind"),
    [
        ({}, TargetKind.CPU),
        ({"resources": {"limits": {"cpu": 2, "example.com/fpga": 1}}}, TargetKind.CPU),
        ({"resources": {"limits": {"nvidia.com/gpu": 0}}}, TargetKind.CPU),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, TargetKind.GPU),
        ({"resources": {"limits": {"nvidia.com/mig-3g.40gb": "1"}}}, TargetKind.GPU),
        ({"buildOnly": True, "computeCapabilities": ["8.9"]}, TargetKind.BUILD_ONLY),
    ],
)
def test_kind_of_a_profile(profile: dict[str, Any], kind: TargetKind) -> None:
    assert Profile.model_validate(profile).kind is kind


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot read the configuration"),
        ("{", "the document: Invalid JSON"),
        ("{}", "optimizerImage: Field required"),
    ],
)
def test_operator_with_a_bad_file_ends_with_one_line(
    tmp_path: Path, text: str | None, words: str
) -> None:
    file = tmp_path / "config.json"
    if text is not None:
        file.write_text(text)
    ended = subprocess.run(
        [sys.executable, "-m", "mopt_operator.main"],
        env={"MOPT_OPERATOR_CONFIG": str(file)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("mopt-operator: ")
    assert str(file) in ended.stderr
    assert words in ended.stderr


def test_operator_without_a_cluster_ends_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"optimizerImage": "i", "logFormat": "text"}')
    ended = subprocess.run(
        [sys.executable, "-m", "mopt_operator.main"],
        env={"MOPT_OPERATOR_CONFIG": str(file), "KUBECONFIG": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("mopt-operator: neither in a Pod nor with a usable KUBECONFIG")
    assert "Traceback" not in ended.stderr
