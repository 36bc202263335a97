"""Which nodes fit a profile, as far as labels, taints and amounts tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from mopt_api.placement import Toleration, holds
from mopt_api.profiles import OptimizationProfileSpec
from mopt_api.quantities import amount
from mopt_operator.objects import Raw

# What keeps Pods away; PreferNoSchedule does not.
_REPELLING = frozenset({"NoSchedule", "NoExecute"})


class Taint(NamedTuple):
    """A taint of a node's."""

    key: str
    value: str
    effect: str


class Node(NamedTuple):
    """What matters of a node."""

    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    allocatable: Mapping[str, str]


def observe_node(raw: Raw) -> Node:
    """Reduce a node."""
    taints = (raw.get("spec") or {}).get("taints") or ()
    return Node(
        labels=raw["metadata"].get("labels") or {},
        taints=tuple(
            Taint(taint["key"], taint.get("value", ""), taint["effect"])
            for taint in taints
            if taint["effect"] in _REPELLING
        ),
        allocatable=(raw.get("status") or {}).get("allocatable") or {},
    )


def fits(profile: OptimizationProfileSpec, node: Node, needed: Mapping[str, Fraction]) -> bool:
    """Tell whether a profile's Pods could run on a node, if nothing else ran there.

    Args:
        needed: See needed_by; it is the same for all nodes.
    """
    return (
        all(node.labels.get(key) == value for key, value in profile.node_selector.items())
        and all(holds(requirement, node.labels) for requirement in profile.node_affinity)
        and all(any(tolerates(t, taint) for t in profile.tolerations) for taint in node.taints)
        and all(amount(node.allocatable.get(name, "0")) >= least for name, least in needed.items())
    )


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Tell whether a toleration covers a taint, as Kubernetes judges it."""
    if toleration.effect not in (None, taint.effect):
        return False
    if toleration.key not in (None, taint.key):
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == taint.value


def needed_by(profile: OptimizationProfileSpec) -> dict[str, Fraction]:
    """Return what a Pod requests: as Kubernetes does, the limit where no request is named.

    What is derived from the model where a profile names nothing is not known here.
    """
    resources = profile.resources
    return {name: amount(value) for name, value in (resources.limits | resources.requests).items()}
