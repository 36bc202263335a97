"""Job names: short enough, deterministic, different for different work."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from mopt_api.jobs.plan import Credentials
from mopt_api.spec import ModelOptimizationSpec, Output, Resources, Target
from mopt_operator.config.settings import Profile, Settings
from mopt_operator.decide.work import MAX_ATTEMPTS, WorkItem, job_names, measure_work, prepare_work
from mopt_operator.objects import Resource

SPEC = ModelOptimizationSpec.model_validate(
    {
        "model": {"uri": "s3://models/m.onnx", "sha256": "a" * 64, "format": "ONNX"},
        "inputs": [{"name": "x", "shape": [1, 3, 8, 8]}],
    }
)
OUTPUT = Output.model_validate({"uri": "s3://out", "credentialsSecretRef": {"name": "store"}})
SETTINGS = Settings(optimizer_image="mopt/optimizer:1")
RESOURCE = Resource("team", "sr", "uid", 1, "1", {}, {})
PREPARED = f"sha256:{'b' * 64}"

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

# DNS-1123 subdomains, as metadata.name, and our own narrower names.
resource_names = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", fullmatch=True).filter(
    lambda name: all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", p) for p in name.split("."))
)
target_names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)


def measurement(target: str = "default") -> WorkItem:
    return measure_work(SPEC, OUTPUT, SETTINGS, target=Target(name=target), prepared=PREPARED)


@examples(deadline=None)
@given(name=resource_names, target=target_names)
def test_names_are_dns_labels_that_start_with_the_resource_s(name: str, target: str) -> None:
    resource = replace(RESOURCE, name=name)
    for work in (prepare_work(SPEC, OUTPUT, SETTINGS), measurement(target)):
        made = job_names(work, resource, SETTINGS)
        assert len(set(made)) == MAX_ATTEMPTS
        for label in made:
            assert LABEL.fullmatch(label)
            assert label.startswith(name[:38].replace(".", "-").rstrip("-"))
        assert made == job_names(work, resource, SETTINGS)


@examples(deadline=None)
@given(targets=st.sets(target_names, min_size=2, max_size=8))
def test_targets_never_share_a_name(targets: set[str]) -> None:
    resource = replace(RESOURCE, name="a" * 63)
    names = {job_names(measurement(target), resource, SETTINGS)[0] for target in targets}
    assert len(names) == len(targets)


CHANGES: dict[str, Callable[[], tuple[WorkItem, Resource, Settings, int]]] = {
    "uid": lambda: (measurement(), replace(RESOURCE, uid="other"), SETTINGS, 0),
    "request": lambda: (measurement(), replace(RESOURCE, requested_at="now"), SETTINGS, 0),
    "attempt": lambda: (measurement(), RESOURCE, SETTINGS, 1),
    "image": lambda: (
        measurement(),
        RESOURCE,
        SETTINGS.model_copy(update={"optimizer_image": "mopt/optimizer:2"}),
        0,
    ),
    "stage": lambda: (
        replace(prepare_work(SPEC, OUTPUT, SETTINGS), target="default"),
        RESOURCE,
        SETTINGS,
        0,
    ),
    "node": lambda: (replace(measurement(), node_selector={"a": "b"}), RESOURCE, SETTINGS, 0),
    "resources": lambda: (
        replace(measurement(), resources=Resources(limits={"cpu": 2})),
        RESOURCE,
        SETTINGS,
        0,
    ),
    "profile": lambda: (
        replace(measurement(), profile=Profile(runtime_class_name="nvidia")),
        RESOURCE,
        SETTINGS,
        0,
    ),
    "secret": lambda: (
        replace(measurement(), secrets={Credentials.MODEL: "other"}),
        RESOURCE,
        SETTINGS,
        0,
    ),
    "deadline": lambda: (replace(measurement(), deadline_seconds=60), RESOURCE, SETTINGS, 0),
    "retries": lambda: (replace(measurement(), retries=0), RESOURCE, SETTINGS, 0),
    "prepared": lambda: (
        measure_work(
            SPEC, OUTPUT, SETTINGS, target=Target(name="default"), prepared=f"sha256:{'c' * 64}"
        ),
        RESOURCE,
        SETTINGS,
        0,
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_other_work_has_another_name(what: str) -> None:
    work, resource, settings, attempt = CHANGES[what]()
    before = job_names(measurement(), RESOURCE, SETTINGS)
    assert job_names(work, resource, settings)[attempt] != before[0]


@pytest.mark.parametrize(
    "change", [{"generation": 7}, {"version": "99"}, {"status": {"conditions": []}}]
)
def test_what_does_not_matter_to_the_job_does_not_rename_it(change: dict[str, Any]) -> None:
    before = job_names(measurement(), RESOURCE, SETTINGS)
    assert job_names(measurement(), replace(RESOURCE, **change), SETTINGS) == before
