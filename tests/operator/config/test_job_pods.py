"""What an administrator may add to the Pods of Jobs: what is refused, and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mopt_operator.config.job_pods import JobPods
from mopt_operator.config.settings import Settings, parse_settings
from mopt_operator.errors import SettingsError

Json = dict[str, Any]
CA = {"name": "ca", "configMap": {"name": "corporate-ca"}}
KEYS = {"secretName": "s", "items": [{"key": "tls.crt", "path": "tls.crt"}]}


def parse(jobs: Json | None = None, **profile: object) -> Settings:
    config = {"optimizerImage": "i", "jobs": jobs or {}, "profiles": {"default": profile}}
    return parse_settings(json.dumps(config))


def test_defaults_are_the_image_s_user_and_nothing_more() -> None:
    assert parse().jobs == JobPods()
    assert parse({"podSecurityContext": {"runAsUser": None}}).jobs != JobPods()


@pytest.mark.parametrize(
    "jobs",
    [
        {"podSecurityContext": {"runAsUser": 1000650000, "runAsGroup": 0, "fsGroup": None}},
        {"podSecurityContext": {"supplementalGroups": [7]}},
        {"extraEnv": [{"name": "HTTPS_PROXY", "value": ""}, {"name": "NO_PROXY", "value": "a"}]},
        {"extraEnv": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "url"}}}]},
        {"extraEnv": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "t"}}}]},
        {
            "extraVolumes": [CA, {"name": "own", "secret": KEYS}],
            "extraVolumeMounts": [
                {"name": "ca", "mountPath": "/etc/ssl/certs/corporate.pem", "subPath": "ca.crt"},
                {"name": "own", "mountPath": "/etc/own", "readOnly": True},
                {"name": "own", "mountPath": "/opt/mopt-files"},
            ],
        },
    ],
)
def test_legal_additions_are_taken(jobs: Json) -> None:
    assert parse(jobs).jobs != JobPods()


def mounted(path: str) -> Json:
    return {"extraVolumes": [CA], "extraVolumeMounts": [{"name": "ca", "mountPath": path}]}


def volume(**kind: object) -> Json:
    return {"extraVolumes": [{"name": "v", **kind}]}


def identity(audience: str, **fields: object) -> Json:
    return {"storeIdentity": {"audience": audience, **fields}}


def variable(name: str) -> Json:
    return {"extraEnv": [{"name": name, "value": ""}]}


TOKEN = "token is where Kubernetes keeps a ServiceAccount's token"


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        ({"podSecurityContext": {"runAsUser": 0}}, "jobs.podSecurityContext.runAsUser"),
        ({"podSecurityContext": {"runAsNonRoot": False}}, "runAsNonRoot: Extra inputs"),
        ({"podSecurityContext": {"fsGroup": 2**31}}, "jobs.podSecurityContext.fsGroup"),
        ({"hostNetwork": True}, "jobs.hostNetwork: Extra inputs"),
        (variable("MOPT_PLAN"), "MOPT_PLAN is not to be set"),
        (variable("AWS_ACCESS_KEY_ID"), "AWS_ACCESS_KEY_ID is not to be set"),
        (variable("HOME"), "HOME is not to be set"),
        (variable("LD_PRELOAD"), "LD_PRELOAD is not to be set"),
        (variable("PYTHONPATH"), "PYTHONPATH is not to be set"),
        (variable("NVIDIA_VISIBLE_DEVICES"), "NVIDIA_VISIBLE_DEVICES is not to be set"),
        (variable("KUBERNETES_SERVICE_HOST"), "KUBERNETES_SERVICE_HOST is not to be set"),
        (variable("KUBECONFIG"), "KUBECONFIG is not to be set"),
        (variable("a-b"), "jobs.extraEnv.0.name"),
        ({"extraEnv": [{"name": "A"}]}, "one of value and valueFrom"),
        ({"extraEnv": [{"name": "A", "value": "a"}] * 2}, "Duplicate value in extraEnv: A"),
        (
            {"extraEnv": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec"}}}]},
            "valueFrom.fieldRef: Extra inputs",
        ),
        (
            {
                "extraEnv": [
                    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}
                ]
            },
            TOKEN,
        ),
        (mounted("/run/mopt/claims"), "/run/mopt/claims would hide /run/mopt"),
        ({"extraVolumes": [CA | {"name": "claim-0"}]}, "those of pvc:// places"),
        (identity("https://kubernetes.default.svc.cluster.local"), "is the Kubernetes API's"),
        (identity(""), "jobs.storeIdentity.audience"),
        (identity("minio", endpoint="https://minio/path"), "jobs.storeIdentity.endpoint"),
        (identity("minio", expirationSeconds=599), "jobs.storeIdentity.expirationSeconds"),
        (volume(), "a volume takes one of configMap and secret"),
        (volume(secret={"secretName": "s"}), "secret.items: Field required"),
        (volume(secret={"secretName": "s", "items": [{"key": "token", "path": "a"}]}), TOKEN),
        (volume(hostPath={"path": "/"}), "hostPath: Extra inputs"),
        (volume(projected={"sources": []}), "projected: Extra inputs"),
        (volume(csi={"driver": "d"}), "csi: Extra inputs"),
        ({"extraVolumes": [CA | {"name": "tmp"}]}, "volumes that Jobs have"),
        ({"extraVolumes": [CA, CA]}, "Duplicate value in extraVolumes: ca"),
        ({"extraVolumeMounts": [{"name": "ca", "mountPath": "/a"}]}, "that extraVolumes do not"),
        (mounted("/"), "extraVolumeMounts.0.mountPath"),
        (mounted("relative"), "extraVolumeMounts.0.mountPath"),
        (mounted("/etc/../opt/mopt"), "extraVolumeMounts.0.mountPath"),
        (mounted("/tmp"), "/tmp would hide /tmp"),  # noqa: S108
        (mounted("/tmp/a"), "/tmp/a would hide /tmp"),  # noqa: S108
        (mounted("/opt"), "/opt would hide /opt/mopt"),
        (mounted("/var/run/secrets/kubernetes.io"), "would hide /var/run/secrets"),
        (mounted("/run"), "/run would hide /run/secrets"),
    ],
)
def test_what_would_weaken_jobs_is_refused_in_one_line(jobs: Json, words: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        parse(jobs)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("field", ["podLabels", "podAnnotations"])
@pytest.mark.parametrize(
    "key",
    [
        "mopt.dev/uid",
        "batch.kubernetes.io/job-name",
        "kueue.x-k8s.io/queue-name",
        "container.apparmor.security.beta.kubernetes.io/optimizer",
        "app.kubernetes.io/managed-by",
    ],
)
def test_labels_that_others_read_are_refused(field: str, key: str) -> None:
    with pytest.raises(SettingsError, match=f"{key} is not to be set on the Pods of Jobs"):
        parse(**{field: {key: "a"}})


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("podLabels", {"app.kubernetes.io/part-of": "ml", "team": ""}),
        ("podAnnotations", {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "a": "b c"}),
    ],
)
def test_other_labels_and_annotations_are_taken(field: str, given: dict[str, str]) -> None:
    profile = parse(**{field: given}).profiles["default"]
    assert profile.to_api()[field] == given
    # They are part of what makes a Job another one; as long as there are none, names stay.
    assert profile.identity()[field] == given
    assert field not in parse().profiles["default"].identity()


def test_label_needs_a_legal_value() -> None:
    with pytest.raises(SettingsError, match=r"podLabels\.team"):
        parse(podLabels={"team": "a b"})
