"""What an administrator adds to the Jobs' Pods: variables, volumes, labels."""

from __future__ import annotations

import json
from typing import Any

from job_parts import RESOURCE, output, spec
from pod_environment import environment

from mopt_operator.config.settings import parse_settings
from mopt_operator.decide.jobs import build_job
from mopt_operator.decide.work import prepare_work

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
