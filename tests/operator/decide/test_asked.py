"""What a resource asks for is read once for all looks at it, and for nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from operator_world import MakeWorld

from mopt_operator.config.settings import Settings
from mopt_operator.decide.asked import MAX_KNOWN, read_asked
from mopt_operator.decide.request import InvalidRequest
from mopt_operator.objects import Resource


@pytest.fixture
def resource(make_world: MakeWorld) -> Resource:
    return make_world().snapshot().resource


def _read_again(resource: Resource) -> Resource:
    """Return the resource as a later watch event brings it, its keys in another order."""
    spec = dict(reversed(resource.spec.items()))
    return replace(resource, version="99", spec=spec, status={"observedGeneration": 1})


def test_request_is_read_once(resource: Resource, settings: Settings) -> None:
    first = read_asked(resource, settings)
    assert read_asked(_read_again(resource), settings) is first
    assert first.catalog.preparation() is first.catalog.preparation()


@pytest.mark.parametrize(
    "change",
    [
        {"uid": "made-again"},
        {"name": "other"},
        {"namespace": "other"},
        {"requested_at": "now"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_resource_and_another_run_have_their_own(
    change: dict[str, Any], resource: Resource, settings: Settings
) -> None:
    first = read_asked(resource, settings)
    assert read_asked(replace(resource, **change), settings) is not first


def test_another_spec_is_another_request(resource: Resource, settings: Settings) -> None:
    names = read_asked(resource, settings).catalog.preparation().names
    spec = resource.spec | {"execution": {"backoffLimit": 5}}
    other = read_asked(replace(resource, spec=spec), settings)
    assert other.request.spec.execution.backoff_limit == 5
    assert other.catalog.preparation().names != names


def test_other_settings_are_asked_anew(resource: Resource, settings: Settings) -> None:
    names = read_asked(resource, settings).catalog.preparation().names
    upgraded = settings.model_copy(update={"optimizer_image": "mopt/optimizer:2"})
    assert read_asked(resource, upgraded).catalog.preparation().names != names


def test_invalid_request_is_refused_each_time(resource: Resource, settings: Settings) -> None:
    wrong = replace(resource, spec=resource.spec | {"inputs": []})
    for _ in range(2):
        with pytest.raises(InvalidRequest, match=r"spec\.inputs"):
            read_asked(wrong, settings)


def test_few_are_known_at_once(resource: Resource, settings: Settings) -> None:
    first = read_asked(resource, settings)
    for number in range(MAX_KNOWN):
        read_asked(replace(resource, uid=f"other-{number}"), settings)
    assert read_asked(resource, settings) is not first
