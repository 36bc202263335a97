"""The operator's settings, as the chart renders them and the operator reads them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_objects import Only, Render
from doc_pages import blocks, is_chart_values

from mopt_api.enums import TargetKind
from mopt_operator.config.job_pods import JobPods
from mopt_operator.config.settings import (
    Profile,
    Publishing,
    Settings,
    parse_profiles,
    parse_settings,
    parse_specs,
)

PROFILE: dict[str, Any] = {
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
    "maxRunning": None,
    "measurementSlots": 1,
    "queuePriorityClassName": None,
    "pricePerHour": None,
    "wattsIdle": None,
    "wattsBusy": None,
    "podLabels": {},
    "podAnnotations": {},
    "resourceClaims": [],
    "extraVolumes": [],
    "extraVolumeMounts": [],
    "namespaceSelector": None,
}
JOBS: dict[str, Any] = {
    "podSecurityContext": {
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "supplementalGroups": None,
    },
    "extraEnv": [],
    "extraVolumes": [],
    "extraVolumeMounts": [],
    "storeIdentity": None,
}
DIGEST = "sha256:" + "7" * 64
PUBLISH: dict[str, Any] = {
    "baseImage": None,
    "resources": {
        "requests": {"cpu": "250m", "memory": "512Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    },
    "signing": None,
}
EXTRAS: dict[str, Any] = {
    "extraEnv": [
        {"name": "SSL_CERT_FILE", "value": "/etc/corporate/ca.crt"},
        {"name": "FROM_A_SECRET", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}},
    ],
    "extraVolumes": [
        {"name": "ca", "configMap": {"name": "corporate-ca", "optional": True}},
        {"name": "own", "secret": {"secretName": "s", "items": [{"key": "k", "path": "k.pem"}]}},
    ],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/corporate"}],
    "storeIdentity": {
        "audience": "sts.amazonaws.com",
        "roleArn": "arn:aws:iam::1:role/mopt",
        "endpoint": "https://s3.example.com:9000",
        "stsEndpoint": "https://sts.example.com",
        "region": "eu-west-1",
        "expirationSeconds": 7200,
    },
}
KNOWN_BAD = {"package": "openvino", "versions": "<2026.1.2", "because": "wrong results"}
TRACING = {"endpoint": "http://otel-collector.observability:4318", "samplingRatio": 0.25}
SIGNED = {"signing": {"secretName": "signing", "key": "cosign.key"}}


@pytest.fixture
def config(render: Render) -> Callable[..., dict[str, Any]]:
    """Return a function that renders values to what the operator reads, and must accept.

    It returns config.json with the profiles, which are in a file of their own.
    """

    def run(values: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        maps = [m["data"] for m in render(values, **more) if m["kind"] == "ConfigMap"]
        (data,) = [data for data in maps if "config.json" in data]
        assert isinstance(parse_settings(data["config.json"]), Settings)
        assert "default" in parse_profiles(data["profiles.json"])
        assert "default" in parse_specs(data["profiles.json"])
        rendered: dict[str, Any] = json.loads(data["config.json"])
        assert rendered.pop("profilesFile") == "/etc/mopt/profiles.json"
        return rendered | {"profiles": json.loads(data["profiles.json"])}

    return run


Config = Callable[..., dict[str, Any]]


def test_defaults(config: Config) -> None:
    assert config() == {
        "optimizerImage": "mopt/optimizer:0.1.0",
        "imagePullPolicy": "IfNotPresent",
        "imagePullSecrets": [],
        "defaultOutput": None,
        "profiles": {"default": PROFILE},
        "profileObjects": True,
        "watchNamespaces": [],
        "jobs": JOBS,
        "logFormat": "json",
        "logLevel": "info",
        "ttlSecondsAfterFinished": 3600,
        "restartsFile": "/tmp/restarts.json",  # noqa: S108 - the Pod's own volume
        "workers": 16,
        "kubeApi": None,
        "healthTls": None,
        "maxRunningPerNamespace": None,
        "onUpgrade": "Keep",
        "knownBad": [],
        "publish": PUBLISH,
        "sandbox": "Required",
        "tracing": None,
        "leaderElection": {"namespace": "mopt-system", "name": "mopt-leader"},
    }


def test_every_setting(config: Config) -> None:
    rendered = config(
        {
            "global": {"imageRegistry": "registry.example"},
            "optimizerImage": {
                "digest": DIGEST,
                "pullPolicy": "Never",
                "pullSecrets": [{"name": "mirror"}],
            },
            "defaultOutput": {
                "uri": "s3://optimized/all",
                "credentialsSecretRef": {"name": "store"},
            },
            "watchNamespaces": ["team-a"],
            "jobs": EXTRAS,
            "logFormat": "text",
            "logLevel": "debug",
            "workers": 4,
            "kubeApi": {"qps": 7.5, "burst": 20},
            "ttlSecondsAfterFinished": 0,
            "maxRunningPerNamespace": 20,
            "onUpgrade": {"policy": "Rerun", "maxConcurrent": 2},
            "knownBad": [KNOWN_BAD],
            "publish": {"baseImage": f"registry.example/base@{DIGEST}"} | SIGNED,
            "sandbox": "BestEffort",
            "metrics": {
                "tls": {"secretName": "tls", "clientCertificates": True, "bearerTokens": True}
            },
            "tracing": TRACING | {"enabled": True},
        }
    )
    assert rendered == {
        "optimizerImage": f"registry.example/mopt/optimizer@{DIGEST}",
        "imagePullPolicy": "Never",
        "imagePullSecrets": [{"name": "mirror"}],
        "defaultOutput": {
            "uri": "s3://optimized/all",
            "credentialsSecretRef": {"name": "store"},
        },
        "publish": PUBLISH | {"baseImage": f"registry.example/base@{DIGEST}"} | SIGNED,
        "profiles": {"default": PROFILE},
        "profileObjects": False,
        "watchNamespaces": ["team-a"],
        "jobs": JOBS | EXTRAS,
        "logFormat": "text",
        "logLevel": "debug",
        "workers": 4,
        "kubeApi": {"qps": 7.5, "burst": 20},
        "restartsFile": "/tmp/restarts.json",  # noqa: S108 - the Pod's own volume
        "ttlSecondsAfterFinished": 0,
        "maxRunningPerNamespace": 20,
        "onUpgrade": {"policy": "Rerun", "maxConcurrent": 2},
        "knownBad": [KNOWN_BAD],
        "sandbox": "BestEffort",
        "healthTls": {"folder": "/etc/mopt-tls", "clientCertificates": True, "bearerTokens": True},
        "tracing": TRACING,
        "leaderElection": {"namespace": "mopt-system", "name": "mopt-leader"},
    }


def test_defaults_of_publishing_are_the_operator_s(config: Config) -> None:
    assert Publishing.model_validate(config()["publish"]) == Publishing()


def test_signing_key_has_a_usual_name(config: Config) -> None:
    rendered = config({"publish": {"signing": {"secretName": "signing"}}})
    assert rendered["publish"]["signing"] == {"secretName": "signing", "key": "key.pem"}


def test_output_without_credentials(config: Config) -> None:
    rendered = config({"defaultOutput": {"uri": "s3://optimized"}})
    assert rendered["defaultOutput"] == {"uri": "s3://optimized"}


def test_profile_bounds_what_runs(config: Config) -> None:
    bounds = {"maxRunning": 1000000, "measurementSlots": 4, "queuePriorityClassName": "low"}
    rendered = config({"profiles": {"l4": bounds, "t4": {"maxRunning": 0}}})
    assert rendered["profiles"]["l4"] == PROFILE | bounds
    assert rendered["profiles"]["t4"] == PROFILE


@pytest.mark.parametrize(
    ("given", "price"), [("0.052", "0.052"), (0.052, "0.052"), (3, "3"), ("", None), (None, None)]
)
def test_profile_has_a_price(config: Config, given: object, price: str | None) -> None:
    terms = {"wattsIdle": 12.5, "wattsBusy": 60}
    rendered = config({"profiles": {"l4": {"pricePerHour": given} | terms}})
    assert rendered["profiles"]["l4"] == PROFILE | {"pricePerHour": price} | terms


def test_defaults_of_jobs_are_the_operator_s(config: Config) -> None:
    assert JobPods.model_validate(config()["jobs"]) == JobPods()


def test_openshift_chooses_the_user_where_its_api_is(config: Config) -> None:
    def user(adapt: str, *apis: str, **more: object) -> dict[str, Any]:
        values = {
            "global": {"compatibility": {"openshift": {"adaptSecurityContext": adapt}}},
            "jobs": {"podSecurityContext": {"supplementalGroups": [7], **more}},
        }
        jobs = config(values, apis=apis)["jobs"]
        assert jobs["podSecurityContext"].pop("supplementalGroups") == [7]
        found: dict[str, Any] = jobs["podSecurityContext"]
        return found

    fixed = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), 65532)
    left = dict.fromkeys(fixed)
    openshift = "security.openshift.io/v1"
    assert user("auto") == user("disabled", openshift) == fixed
    assert user("auto", openshift) == user("force") == left
    assert user("auto", runAsUser=None) == fixed | {"runAsUser": None}
    # No exponent, as templates give large numbers.
    assert user("auto", runAsUser=1000650000) == fixed | {"runAsUser": 1000650000}


def test_profile_labels_its_pods(config: Config) -> None:
    more = {"podLabels": {"team": "ml"}, "podAnnotations": {"karpenter.sh/do-not-disrupt": "true"}}
    assert config({"profiles": {"l4": more}})["profiles"]["l4"] == PROFILE | more


def test_profile_claims_devices_and_has_files_of_its_own(config: Config) -> None:
    more = {
        "resourceClaims": [
            {"name": "gpu", "resourceClaimTemplateName": "l4", "request": "one", "kind": "GPU"},
            {"name": "fpga", "resourceClaimName": "shared"},
        ],
        "extraVolumes": EXTRAS["extraVolumes"],
        "extraVolumeMounts": EXTRAS["extraVolumeMounts"],
    }
    assert config({"profiles": {"l4": more}})["profiles"]["l4"] == PROFILE | more


def test_short_form_of_the_upgrade_policy(config: Config) -> None:
    assert config({"onUpgrade": "Rerun"})["onUpgrade"] == "Rerun"


def test_profile_takes_what_it_leaves_out_from_default(config: Config) -> None:
    rendered = config(
        {
            "profiles": {
                "default": {"nodeSelector": {"pool": "cpu"}, "scratchSize": "20Gi"},
                "nvidia-l4": {
                    "nodeSelector": {"gpu": "l4"},
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                    "nodeAffinity": [{"key": "gpu.memory", "operator": "Gt", "values": ["9"]}],
                    "runtimeClassName": "nvidia",
                },
            }
        }
    )
    assert rendered["profiles"] == {
        "default": PROFILE | {"nodeSelector": {"pool": "cpu"}, "scratchSize": "20Gi"},
        "nvidia-l4": PROFILE
        | {
            "nodeSelector": {"gpu": "l4"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "nodeAffinity": [{"key": "gpu.memory", "operator": "Gt", "values": ["9"]}],
            "runtimeClassName": "nvidia",
            "scratchSize": "20Gi",
        },
    }


def test_profile_of_a_gpu_has_its_own_image(config: Config) -> None:
    rendered = config(
        {
            "global": {"imageRegistry": "registry.example"},
            "profiles": {
                "l4": {"image": {"repository": "mopt/optimizer-gpu"}},
                "t4": {"image": {"repository": "mopt/optimizer-gpu", "digest": DIGEST}},
                "a10": {"image": {"repository": "mopt/optimizer-gpu", "tag": "next"}},
            },
        }
    )
    images = {name: profile["image"] for name, profile in rendered["profiles"].items()}
    assert images == {
        "default": None,
        "l4": "registry.example/mopt/optimizer-gpu:0.1.0",
        "t4": f"registry.example/mopt/optimizer-gpu@{DIGEST}",
        "a10": "registry.example/mopt/optimizer-gpu:next",
    }


def test_build_only_profile(config: Config) -> None:
    engines = {"buildOnly": True, "computeCapabilities": ["8.6", "12.0"]}
    rendered = config({"profiles": {"engines": engines}})
    assert rendered["profiles"]["engines"] == PROFILE | engines


def test_profiles_of_the_readme_are_what_they_say(config: Config, chart: Path) -> None:
    (block,) = re.findall(
        r"```yaml\n(profiles:\n.*?)```", (chart / "README.md").read_text(), re.DOTALL
    )
    rendered = config(yaml.safe_load(block))
    kinds = {
        name: Profile.model_validate(profile).kind for name, profile in rendered["profiles"].items()
    }
    assert kinds == {
        "default": TargetKind.CPU,
        "nvidia-l4": TargetKind.GPU,
        "a100-mig": TargetKind.GPU,
        "nvidia-dra": TargetKind.GPU,
        "rtx-engines": TargetKind.BUILD_ONLY,
    }


def test_examples_of_the_readme_are_accepted(config: Config, chart: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (chart / "README.md").read_text(), re.DOTALL)
    examples = [found for found in map(yaml.safe_load, blocks) if "rules" not in found]
    assert [sorted(example) for example in examples] == [
        ["jobs", "profiles"],
        ["profiles"],
        ["extraObjects"],
        ["metrics"],
        ["extraObjects", "metrics"],
        ["networkPolicy"],
        ["networkPolicy"],
    ]
    for example in examples:
        config(example)


def test_values_of_the_pages_are_accepted(config: Config) -> None:
    found = [
        (block.page, values)
        for block in blocks("yaml")
        for values in yaml.safe_load_all(block.text.replace("sha256:...", f"sha256:{'0' * 64}"))
        if is_chart_values(values) and not block.page.startswith("helm/")
    ]
    assert {page for page, _ in found} >= {"docs/images.md", "docs/operator.md"}
    for _, values in found:
        config(values)


def test_own_resources_replace_those_of_default(config: Config) -> None:
    rendered = config({"profiles": {"big": {"resources": {"limits": {"cpu": "16"}}}}})
    assert rendered["profiles"]["big"]["resources"] == {"requests": {}, "limits": {"cpu": "16"}}


@pytest.mark.parametrize(
    ("values", "objects"),
    [
        ({}, True),
        ({"watchNamespaces": ["a"]}, False),
        ({"watchNamespaces": ["a"], "profileObjects": {"enabled": True}}, True),
        ({"profileObjects": {"enabled": False}}, False),
        # As after an upgrade with --reuse-values.
        ({"profileObjects": None}, True),
    ],
)
def test_profiles_are_objects_where_that_takes_no_further_right(
    config: Config, values: dict[str, Any], objects: bool
) -> None:
    assert config(values)["profileObjects"] is objects


def test_traces_go_where_the_values_say(
    config: Config, refusal: Callable[[dict[str, Any]], str]
) -> None:
    assert config({"tracing": TRACING})["tracing"] is None
    assert config({"tracing": TRACING | {"enabled": True}})["tracing"] == TRACING
    # As after an upgrade with --reuse-values.
    assert config({"tracing": None})["tracing"] is None
    said = refusal({"tracing": {"enabled": True}})
    assert "tracing.enabled needs tracing.endpoint" in said


def test_values_of_a_release_that_had_fewer_are_enough(config: Config) -> None:
    """As an upgrade with --reuse-values gives them."""
    values = {"networkPolicy": {"jobs": None}, "admission": None, "workers": None, "kubeApi": None}
    assert config(values) == config({})


def test_profile_is_for_selected_namespaces(
    config: Config, refusal: Callable[[dict[str, Any]], str]
) -> None:
    selector = {"matchLabels": {"team": "a"}}
    values = {"profiles": {"l4": {"namespaceSelector": selector}}}
    assert config(values)["profiles"]["l4"]["namespaceSelector"] == selector
    said = refusal(values | {"profileObjects": {"enabled": False}})
    assert "profiles.l4.namespaceSelector needs profileObjects.enabled=true" in said


def test_large_numbers_keep_their_digits(config: Config) -> None:
    limits = {"memory": 60_000_000_000, "nvidia.com/gpu": 1}
    rendered = config(
        {"profiles": {"big": {"scratchSize": 9_000_000_000, "resources": {"limits": limits}}}}
    )
    assert rendered["profiles"]["big"]["scratchSize"] == "9000000000"
    assert rendered["profiles"]["big"]["resources"]["limits"] == {
        "memory": "60000000000",
        "nvidia.com/gpu": "1",
    }


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ({"logFormat": "text"}, True),
        ({"optimizerImage": {"tag": "next"}}, True),
        ({"profiles": {"default": {"scratchSize": "9Gi"}}}, False),
        ({"profileObjects": {"enabled": False}}, True),
        ({"podLabels": {"team": "ml"}}, False),
    ],
)
def test_operator_restarts_when_its_settings_change(
    only: Only, values: dict[str, Any], changes: bool
) -> None:
    def checksum(values: dict[str, Any] | None) -> str:
        template = only("Deployment", values)["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert (checksum(values) != checksum(None)) is changes


SETS = [
    (block.page, command)
    for block in blocks("console", "sh", "bash")
    for command in re.sub(r"\\\n\s*", " ", block.text).splitlines()
    if re.match(r"(\$ )?helm (install|upgrade) ", command) and "--set" in command
]


@pytest.mark.parametrize("command", [c for _, c in SETS], ids=[page for page, _ in SETS])
def test_values_of_commands_of_the_pages_are_accepted(helm: str, chart: Path, command: str) -> None:
    words = shlex.split(command.replace("REGISTRY", "registry.example.com"), comments=True)
    sets = [w for flag, w in pairwise(words) if flag in ("--set", "--set-string", "--set-json")]
    flags = [f"--set={value}" for value in sets]
    done = subprocess.run(
        [helm, "template", "mopt", str(chart), *flags], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_commands_with_values_are_found() -> None:
    pages = {page for page, _ in SETS}
    assert {"README.md", "docs/start/platform-team.md", "docs/how-to/air-gapped.md"} <= pages
