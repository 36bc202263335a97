"""Values: what is refused and in which words, and that each one is documented."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Values = dict[str, Any]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"imag": {"tag": "x"}}, "additional properties 'imag' not allowed"),
        ({"image": {"tga": "x"}}, "at '/image': additional properties 'tga' not allowed"),
        ({"image": {"digest": "abc"}}, "at '/image/digest'"),
        ({"image": {"repository": ""}}, "at '/image/repository'"),
        ({"optimizerImage": {"pullPolicy": "Sometimes"}}, "at '/optimizerImage/pullPolicy'"),
        ({"optimizerImage": {"pullSecrets": ["mirror"]}}, "at '/optimizerImage/pullSecrets/0'"),
        ({"watchNamespaces": "team-a"}, "at '/watchNamespaces'"),
        ({"watchNamespaces": ["Team"]}, "at '/watchNamespaces/0'"),
        ({"watchNamespaces": ["a", "a"]}, "at '/watchNamespaces'"),
        ({"defaultOutput": {"uri": "file:///tmp"}}, "at '/defaultOutput/uri'"),
        ({"defaultOutput": {"uri": "s3://bucket/{name}"}}, "at '/defaultOutput/uri'"),
        ({"defaultOutput": {"uri": "s3://bucket/\x1b[2J"}}, "at '/defaultOutput/uri'"),
        ({"profiles": {"default": None}}, "at '/profiles': missing property 'default'"),
        ({"profiles": {"nvidia_l4": {}}}, "additional properties 'nvidia_l4' not allowed"),
        ({"profiles": {"x" * 41: {}}}, "at '/profiles'"),
        (
            {"profiles": {"l4": {"resorces": {}}}},
            "at '/profiles/l4': additional properties 'resorces' not allowed",
        ),
        (
            {"profiles": {"l4": {"resources": {"limits": {"cpu": "two"}}}}},
            "at '/profiles/l4/resources/limits/cpu'",
        ),
        ({"profiles": {"l4": {"nodeSelector": {"gpu": True}}}}, "/profiles/l4/nodeSelector/gpu"),
        ({"ttlSecondsAfterFinished": -1}, "at '/ttlSecondsAfterFinished'"),
        ({"logFormat": "xml"}, "at '/logFormat'"),
        ({"crds": {"keep": "yes"}}, "at '/crds/keep'"),
        ({"replicas": -1}, "at '/replicas'"),
        ({"onUpgrade": "Maybe"}, "at '/onUpgrade'"),
        ({"onUpgrade": {"policy": "Maybe"}}, "at '/onUpgrade/policy'"),
        ({"onUpgrade": {"policy": "Rerun", "maxConcurrent": 0}}, "/onUpgrade/maxConcurrent'"),
        ({"maxRunningPerNamespace": -1}, "at '/maxRunningPerNamespace'"),
        ({"profiles": {"l4": {"maxRunning": "few"}}}, "at '/profiles/l4/maxRunning'"),
        ({"profiles": {"l4": {"measurementSlots": 0}}}, "at '/profiles/l4/measurementSlots'"),
        ({"profiles": {"l4": {"pricePerHour": "5 EUR"}}}, "at '/profiles/l4/pricePerHour'"),
        ({"profiles": {"l4": {"pricePerHour": -1}}}, "at '/profiles/l4/pricePerHour'"),
        ({"profiles": {"l4": {"wattsBusy": "60"}}}, "at '/profiles/l4/wattsBusy'"),
        ({"sandbox": "None"}, "at '/sandbox'"),
        ({"tracing": {"endpoint": "collector:4317"}}, "at '/tracing/endpoint'"),
        ({"tracing": {"samplingRatio": 2}}, "at '/tracing/samplingRatio'"),
        ({"logLevel": "loud"}, "at '/logLevel'"),
        ({"workers": 0}, "at '/workers'"),
        ({"kubeApi": {"qps": -1}}, "at '/kubeApi/qps'"),
        ({"namespaceOverride": "Other"}, "at '/namespaceOverride'"),
        ({"podSecurityContext": {"runAsUser": 0}}, "at '/podSecurityContext/runAsUser'"),
        ({"podSecurityContext": {"runAsNonRoot": False}}, "'runAsNonRoot' not allowed"),
        ({"jobs": {"podSecurityContext": {"runAsUser": 0}}}, "/jobs/podSecurityContext/runAsUser"),
        (
            {"global": {"compatibility": {"openshift": {"adaptSecurityContext": "yes"}}}},
            "at '/global/compatibility/openshift/adaptSecurityContext'",
        ),
        ({"jobs": {"extraEnv": [{"name": "A"}]}}, "at '/jobs/extraEnv/0'"),
        (
            {"jobs": {"extraEnv": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}},
            "additional properties 'fieldRef' not allowed",
        ),
        (
            {"jobs": {"extraVolumes": [{"name": "a", "hostPath": {"path": "/"}}]}},
            "additional properties 'hostPath' not allowed",
        ),
        (
            {
                "jobs": {
                    "extraVolumes": [
                        {
                            "name": "a",
                            "secret": {
                                "secretName": "s",
                                "items": [{"key": "token", "path": "t"}],
                            },
                        }
                    ]
                }
            },
            "at '/jobs/extraVolumes/0/secret/items/0/key'",
        ),
        (
            {"jobs": {"extraVolumeMounts": [{"name": "a", "mountPath": "/a/../b"}]}},
            "at '/jobs/extraVolumeMounts/0/mountPath'",
        ),
        (
            {"jobs": {"storeIdentity": {"audience": "https://kubernetes.default.svc"}}},
            "at '/jobs/storeIdentity/audience'",
        ),
        (
            {"jobs": {"storeIdentity": {"endpoint": "https://a/b?c"}}},
            "at '/jobs/storeIdentity/endpoint'",
        ),
        (
            {"jobs": {"storeIdentity": {"region": "eu-west-1"}}},
            "jobs.storeIdentity needs an audience",
        ),
        ({"strategy": {"type": "BlueGreen"}}, "at '/strategy/type'"),
        ({"extraVolumes": [{"configMap": {"name": "a"}}]}, "at '/extraVolumes/0'"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "at '/topologySpreadConstraints/0'"),
        ({"metrics": {"podMonitor": {"scrapeTimeout": "1"}}}, "/metrics/podMonitor/scrapeTimeout"),
        (
            {"metrics": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}},
            "enable one of them",
        ),
        ({"publish": {"baseImage": "registry.test/base:1"}}, "at '/publish/baseImage'"),
        ({"publish": {"signing": {"key": "a/b"}}}, "at '/publish/signing/key'"),
        ({"publish": {"signing": {"secretName": "A"}}}, "at '/publish/signing/secretName'"),
        ({"metrics": {"serviceMonitor": {"interval": "often"}}}, "/serviceMonitor/interval"),
        (
            {"profiles": {"l4": {"nodeAffinity": [{"key": "gpu", "operator": "Is"}]}}},
            "at '/profiles/l4/nodeAffinity/0/operator'",
        ),
        (
            {"profiles": {"l4": {"resourceClaims": [{"name": "gpu"}]}}},
            "/profiles/l4/resourceClaims/0",
        ),
        (
            {"profiles": {"l4": {"extraVolumes": [{"name": "a", "hostPath": {"path": "/"}}]}}},
            "at '/profiles/l4/extraVolumes/0'",
        ),
        (
            {
                "profiles": {
                    "rtx": {
                        "buildOnly": True,
                        "computeCapabilities": ["8.9"],
                        "resourceClaims": [
                            {"name": "gpu", "resourceClaimName": "gpu", "kind": "GPU"}
                        ],
                    }
                }
            },
            "at '/profiles/rtx/resourceClaims/0/kind'",
        ),
        ({"profiles": {"l4": {"image": "mopt/gpu"}}}, "at '/profiles/l4/image'"),
        ({"profiles": {"l4": {"image": {"tag": "1"}}}}, "at '/profiles/l4/image'"),
        ({"profiles": {"rtx": {"buildOnly": True}}}, "missing property 'computeCapabilities'"),
        (
            {"profiles": {"rtx": {"buildOnly": True, "computeCapabilities": []}}},
            "at '/profiles/rtx/computeCapabilities'",
        ),
        (
            {"profiles": {"rtx": {"computeCapabilities": ["8.9"]}}},
            "at '/profiles/rtx/computeCapabilities'",
        ),
        (
            {"profiles": {"rtx": {"buildOnly": True, "computeCapabilities": ["sm_89"]}}},
            "at '/profiles/rtx/computeCapabilities/0'",
        ),
        (
            {
                "profiles": {
                    "rtx": {
                        "buildOnly": True,
                        "computeCapabilities": ["8.9"],
                        "resources": {"limits": {"nvidia.com/gpu": 1}},
                    }
                }
            },
            "at '/profiles/rtx/resources/limits/nvidia.com~1gpu'",
        ),
        (
            {"metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}},
            "metrics.serviceMonitor.enabled needs metrics.service.enabled",
        ),
        (
            {"defaultOutput": {"credentialsSecretRef": {"name": "store"}}},
            "set defaultOutput.uri=s3://BUCKET/{namespace}",
        ),
    ],
)
def test_wrong_value_is_refused(
    refusal: Callable[[Values], str], values: Values, words: str
) -> None:
    assert words in refusal(values)


@pytest.mark.parametrize(
    "values",
    [
        {"enabled": True, "global": {"imageRegistry": "", "storageClass": "fast"}},
        {"profiles": {"x" * 40: {}}},
        {"image": {"repository": "registry.example:5000/team/operator"}},
        {"onUpgrade": {"policy": "Keep"}},
        {"onUpgrade": "Verify"},
        {"podSecurityContext": {"runAsUser": None, "runAsGroup": 0}},
        {"strategy": {"type": "Recreate"}},
        {"metrics": {"podMonitor": {"enabled": True, "scrapeTimeout": "10s"}}},
        {"defaultOutput": {"uri": "s3://a-bucket"}},
        {"defaultOutput": {"uri": "s3://a-bucket/{namespace}/models"}},
    ],
)
def test_legal_value_is_taken(render: Callable[..., list[Values]], values: Values) -> None:
    assert render(values)


def _leaves(values: Values, path: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def _descriptions(text: str) -> dict[str, str]:
    """Return the `# -- ` comment of each key that has one, by its dotted path."""
    found: dict[str, str] = {}
    parents: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if match := re.fullmatch(r"( *)# (-- )?(.+)", line):
            comment = [match[3]] if match[2] else comment and [*comment, match[3]]
        elif match := re.fullmatch(r"( *)([A-Za-z]+):.*", line):
            parents = [*parents[: len(match[1]) // 2], match[2]]
            if comment:
                found[".".join(parents)] = " ".join(comment)
            comment = []
        else:
            comment = []
    return found


def _table(values: Values, descriptions: dict[str, str]) -> list[str]:
    rows = []
    for path, description in descriptions.items():
        default: Any = values
        for key in path.split("."):
            default = default[key]
        below = any(other.startswith(f"{path}.") for other in descriptions)
        shown = "see below" if below else f"`{json.dumps(default, separators=(',', ':'))}`"
        rows.append(f"| `{path}` | {shown} | {description} |")
    return rows


def test_every_value_has_its_line(chart: Path) -> None:
    text = (chart / "values.yaml").read_text()
    descriptions = _descriptions(text)
    undocumented = [
        leaf
        for leaf in _leaves(yaml.safe_load(text))
        # The contents of a documented map, such as resources, need no line each.
        if not any(leaf == path or leaf.startswith(f"{path}.") for path in descriptions)
    ]
    assert undocumented == []
    assert len(descriptions) > 30


def test_readme_lists_every_value(chart: Path) -> None:
    text = (chart / "values.yaml").read_text()
    expected = _table(yaml.safe_load(text), _descriptions(text))
    readme = (chart / "README.md").read_text().splitlines()
    listed = [line for line in readme if line.startswith("| `")]
    assert listed == expected, "the table must read:\n" + "\n".join(expected)


def test_readme_lists_the_rules(chart: Path, render: Callable[..., list[Values]]) -> None:
    blocks = re.findall(r"```yaml\nrules:\n(.*?)```", (chart / "README.md").read_text(), re.DOTALL)
    alone = {"rbac": {"aggregateToUserRoles": False}, "profileObjects": {"listedBy": []}}
    role, of_profiles = sorted(
        (m for m in render(alone) if m["kind"] == "ClusterRole"),
        key=lambda m: str(m["metadata"]["name"]),
    )
    assert [yaml.safe_load(block) for block in blocks] == [role["rules"], of_profiles["rules"]]
