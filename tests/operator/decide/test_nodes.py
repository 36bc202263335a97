"""Which nodes fit a profile: as the scheduler would say of labels, taints and amounts."""

from __future__ import annotations

from typing import Any

import pytest

from mopt_api.profiles import OptimizationProfileSpec
from mopt_operator.decide.nodes import fits, needed_by, observe_node

GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
GPU = {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": 1}}


def node(
    labels: dict[str, str] | None = None,
    *taints: dict[str, str],
    gpus: str | None = None,
    **amounts: str,
) -> dict[str, Any]:
    """Return a node as the API server has it."""
    raw: dict[str, Any] = {"metadata": {"name": "n"}, "spec": {}, "status": {}}
    if labels:
        raw["metadata"]["labels"] = labels
    if taints:
        raw["spec"]["taints"] = list(taints)
    given = {"cpu": "8", "memory": "32882048Ki", "pods": "110"} | amounts
    raw["status"]["allocatable"] = given | ({"nvidia.com/gpu": gpus} if gpus else {})
    return raw


def fit(profile: dict[str, Any], raw: dict[str, Any]) -> bool:
    spec = OptimizationProfileSpec.model_validate(profile)
    return fits(spec, observe_node(raw), needed_by(spec))


def test_profile_that_asks_for_nothing_fits_a_node_without_labels() -> None:
    assert fit({}, {"metadata": {"name": "n"}})


@pytest.mark.parametrize(
    ("profile", "good", "bad"),
    [
        ({"nodeSelector": {"pool": "cpu"}}, node({"pool": "cpu", "a": "b"}), node({"pool": "gpu"})),
        ({"nodeSelector": {"pool": ""}}, node({"pool": ""}), node()),
        *(
            ({"nodeAffinity": [{"key": "gpu", **requirement}]}, node(good), node(bad))
            for requirement, good, bad in (
                ({"operator": "In", "values": ["l4", "a10"]}, {"gpu": "a10"}, {"gpu": "t4"}),
                ({"operator": "In", "values": ["l4"]}, {"gpu": "l4"}, {}),
                ({"operator": "NotIn", "values": ["l4"]}, {}, {"gpu": "l4"}),
                ({"operator": "Exists"}, {"gpu": ""}, {}),
                ({"operator": "DoesNotExist"}, {}, {"gpu": "l4"}),
                ({"operator": "Gt", "values": ["9"]}, {"gpu": "10"}, {"gpu": "9"}),
                ({"operator": "Gt", "values": ["9"]}, {"gpu": "10"}, {"gpu": "many"}),
                ({"operator": "Lt", "values": ["9"]}, {"gpu": "8"}, {"gpu": "9"}),
                ({"operator": "Lt", "values": ["9"]}, {"gpu": "8"}, {}),
            )
        ),
        ({"resources": {"requests": {"cpu": "8"}}}, node(), node(cpu="7910m")),
        # As Kubernetes: without a request the limit is one.
        ({"resources": {"limits": {"memory": "16Gi"}}}, node(), node(memory="16777215Ki")),
        (
            {"resources": {"requests": {"cpu": 1}, "limits": {"cpu": 64}}},
            node(cpu="1"),
            node(cpu="0"),
        ),
        ({"resources": GPU}, node(gpus="8"), node()),
        ({"resources": GPU}, node(gpus="1"), node(gpus="0")),
    ],
)
def test_labels_and_amounts_decide(
    profile: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]
) -> None:
    assert fit(profile, good)
    assert not fit(profile, bad)


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "nvidia.com/gpu", "value": "present"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Equal", "value": "present"}, True),
        ({"key": "nvidia.com/gpu"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"operator": "Exists"}, True),
    ],
)
def test_taint_keeps_away_what_does_not_tolerate_it(
    toleration: dict[str, Any], covers: bool
) -> None:
    assert fit({"tolerations": [toleration]}, node(None, GPU_TAINT)) is covers


def test_each_taint_needs_a_toleration_and_a_preference_needs_none() -> None:
    profile = {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}
    down = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}
    rather_not = {"key": "spot", "effect": "PreferNoSchedule"}
    assert fit(profile, node(None, GPU_TAINT, rather_not))
    assert not fit(profile, node(None, GPU_TAINT, down))
