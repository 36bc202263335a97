"""OptimizationProfiles as the operator reads them: which may be used, by whom, and why not."""

from __future__ import annotations

from typing import Any

import pytest

from mopt_api.profiles import OptimizationProfileSpec
from mopt_operator.config.offers import observe_offer, usable, withheld

Json = dict[str, Any]


def raw(
    name: str = "l4", *, generation: int = 2, status: Json | None = None, **spec: object
) -> Json:
    """Return a profile as the API server has it."""
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "7",
            "generation": generation,
        },
        "spec": spec,
        "status": status or {"observedGeneration": -1},
    }


def judged(valid: str, generation: int = 2) -> Json:
    condition = {"type": "Valid", "status": valid, "reason": "Any", "message": "no such class"}
    return {"observedGeneration": generation, "conditions": [condition]}


def test_what_nobody_has_judged_yet_may_be_used() -> None:
    offer = observe_offer(raw(nodeSelector={"gpu": "l4"}))
    assert (offer.namespace, offer.name, offer.refusal) == ("", "l4", "")
    profiles, refused = usable([offer])
    assert profiles == {"l4": OptimizationProfileSpec(node_selector={"gpu": "l4"})}
    assert refused == {}


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        (
            {"resources": {"requests": {"cpu": 4}, "limits": {"cpu": 2}}},
            "spec: resources.requests.cpu 4 is more than limits.cpu 2",
        ),
        ({"tolerations": [{}]}, "spec.tolerations.0: without a key the operator must be Exists"),
        ({"podLabels": {"job-name": "a"}}, "spec.podLabels: job-name is not to be set"),
        ({"nodeSelector": {"a b": "c"}}, "spec.nodeSelector.a b: String should match pattern"),
        ({"ofANewerVersion": 1}, "spec.ofANewerVersion: Extra inputs are not permitted"),
    ],
)
def test_fault_names_the_field(spec: Json, fault: str) -> None:
    offer = observe_offer(raw(**spec))
    assert offer.profile is None
    assert offer.refusal.startswith(fault)
    assert usable([offer]) == ({}, {"l4": offer.refusal})


def test_refusal_counts_for_the_generation_that_it_speaks_of() -> None:
    assert usable([observe_offer(raw(status=judged("False")))])[1] == {"l4": "no such class"}
    assert usable([observe_offer(raw(status=judged("False", 1)))])[1] == {}
    assert usable([observe_offer(raw(status=judged("True")))])[1] == {}


def test_labels_tell_who_applied_it() -> None:
    applied = raw()
    labels = {"mopt.dev/operator": "mopt.mopt-leader"}
    applied["metadata"] |= {"labels": labels, "deletionTimestamp": "2026-11-01T12:00:00Z"}
    offer = observe_offer(applied)
    assert (offer.owner, offer.deleting) == ("mopt.mopt-leader", True)


@pytest.mark.parametrize(
    ("selector", "labels", "out"),
    [
        (None, None, False),
        (None, {}, False),
        ({}, {}, False),
        ({}, None, True),
        ({"matchLabels": {"team": "a"}}, {"team": "a", "b": "c"}, False),
        ({"matchLabels": {"team": "a"}}, {"team": "b"}, True),
        ({"matchLabels": {"team": "a"}}, {}, True),
        (
            {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]},
            {"team": "b"},
            False,
        ),
        (
            {
                "matchLabels": {"team": "a"},
                "matchExpressions": [{"key": "trial", "operator": "DoesNotExist"}],
            },
            {"team": "a", "trial": ""},
            True,
        ),
    ],
)
def test_selector_decides_for_which_namespaces_it_is(
    selector: Json | None, labels: dict[str, str] | None, out: bool
) -> None:
    profile = OptimizationProfileSpec.model_validate({"namespaceSelector": selector})
    assert withheld(profile, labels) is out
