"""Each profile's Pod template is shown to the API server before anything is watched."""
# ruff: noqa: ARG002 - the fake takes what the real one takes

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from mopt_operator.config.settings import LeaderElection, Settings
from mopt_operator.errors import NotFound, OperatorError, Refused, Unreachable
from mopt_operator.objects import Raw
from mopt_operator.startup import check_access, check_profiles, profile_jobs

# The API server's words, of version 1.34.
INVALID = Refused(
    422, "Invalid", 'Job.batch "profile" is invalid: spec.template.spec.nodeSelector: ...'
)
UNKNOWN = Refused(
    400,
    "BadRequest",
    'Job in version "v1" cannot be handled as a Job: strict decoding error: unknown field "spec.x"',
)


class Judge:
    """An API server that refuses every Job for one reason."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.tried: list[Mapping[str, Any]] = []

    async def check_access(self, namespace: str | None) -> None:
        raise AssertionError("not asked for")

    async def try_job(self, manifest: Mapping[str, Any]) -> Raw:
        self.tried.append(manifest)
        if self.error is not None:
            raise self.error
        return manifest


def settings(**values: object) -> Settings:
    return Settings.model_validate({"optimizerImage": "mopt/optimizer:test"} | values)


GPU = {
    "default": {},
    "gpu": {
        "nodeSelector": {"gpu": "a100"},
        "runtimeClassName": "nvidia",
        "resources": {"limits": {"nvidia.com/gpu": 1}},
    },
}


def test_job_of_a_profile_has_all_of_its_pod_template() -> None:
    jobs = dict(profile_jobs(settings(profiles=GPU), "team"))
    assert list(jobs) == ["default", "gpu"]
    assert jobs["gpu"]["metadata"]["namespace"] == "team"
    pod = jobs["gpu"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_job_of_a_build_only_profile_is_tried_as_it_will_be() -> None:
    engines = {"buildOnly": True, "computeCapabilities": ["8.9"], "image": "mopt/engines:1"}
    jobs = dict(profile_jobs(settings(profiles={"default": {}, "engines": engines}), "team"))
    (container,) = jobs["engines"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "mopt/engines:1"
    assert not [name for name in container["resources"]["limits"] if "/" in name]


@pytest.mark.parametrize(
    ("values", "namespace"),
    [
        ({"watchNamespaces": ["a", "b"], "leaderElection": {"namespace": "mopt"}}, "a"),
        ({"leaderElection": LeaderElection(namespace="mopt").to_api()}, "mopt"),
        ({}, "default"),
    ],
)
async def test_jobs_are_tried_where_the_operator_may_create_them(
    values: dict[str, Any], namespace: str
) -> None:
    judge = Judge()
    await check_profiles(judge, settings(profiles=GPU, **values))
    assert [job["metadata"]["namespace"] for job in judge.tried] == [namespace, namespace]


@pytest.mark.parametrize("error", [INVALID, UNKNOWN])
async def test_profile_that_makes_no_valid_job_is_named(error: Refused) -> None:
    with pytest.raises(
        OperatorError, match=r"^profiles\.default: the API server rejects"
    ) as raised:
        await check_profiles(Judge(error), settings())
    assert error.message in str(raised.value)


class Old(Judge):
    """An API server without dynamic resource allocation."""

    async def try_job(self, manifest: Mapping[str, Any]) -> Raw:
        pod = manifest["spec"]["template"]["spec"]
        kept = {key: value for key, value in pod.items() if key != "resourceClaims"}
        return {"spec": {"template": {"spec": kept}}}


async def test_devices_that_the_api_server_leaves_out_are_named() -> None:
    dra = {"resourceClaims": [{"name": "gpu", "resourceClaimName": "one"}]}
    profiles = {"default": {}, "dra": dra}
    with pytest.raises(OperatorError, match=r"^profiles\.dra: resourceClaims: .* Kubernetes 1\.34"):
        await check_profiles(Old(), settings(profiles=profiles))
    await check_profiles(Judge(), settings(profiles=profiles))


@pytest.mark.parametrize(
    "error",
    [
        Refused(403, "Forbidden", 'jobs.batch "profile" is forbidden: exceeded quota: few'),
        Refused(400, "BadRequest", 'admission webhook "w.example.com" does not support dry run'),
        Refused(422, "Invalid", 'admission webhook "w.example.com" denied the request: no'),
        Refused(
            422, "Invalid", 'jobs.batch "profile" is forbidden: ValidatingAdmissionPolicy denied'
        ),
        NotFound(404, "NotFound", 'namespaces "team" not found'),
        Unreachable("no answer"),
    ],
)
async def test_what_is_no_fault_of_the_profile_is_only_logged(
    error: OperatorError, caplog: pytest.LogCaptureFixture
) -> None:
    judge = Judge(error)
    with caplog.at_level(logging.WARNING):
        await check_profiles(judge, settings(profiles=GPU))
    assert len(judge.tried) == 2
    assert "Cannot check profile gpu in default" in caplog.text
    assert str(error) in caplog.text


class Gate(Judge):
    """An API server that lets some namespaces be watched."""

    def __init__(self, *refused: str | None) -> None:
        super().__init__()
        self.refused = refused

    async def check_access(self, namespace: str | None) -> None:
        if namespace in self.refused:
            raise Refused(403, "Forbidden", f"pods is forbidden in {namespace}")


@pytest.mark.parametrize(
    ("refused", "namespaces"), [((None,), []), (("a",), ["a"]), (("a", "b"), ["a", "b"])]
)
async def test_operator_that_may_watch_nothing_ends(
    refused: tuple[str | None, ...], namespaces: list[str]
) -> None:
    with pytest.raises(OperatorError, match=f"lacks a permission: .* in {refused[0]}"):
        await check_access(Gate(*refused), namespaces)


async def test_namespace_that_refuses_is_no_concern_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        await check_access(Gate("b"), ["a", "b", "c"])
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("Namespace b is not served until the role allows it: 403")
