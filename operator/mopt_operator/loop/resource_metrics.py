"""Metrics of the resources in the store, read at each scrape; the leader alone shows them."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mopt_operator.cluster.cache import Store
from mopt_operator.cluster.packed import PackedResource
from mopt_operator.decide.resource_figures import OF_QUALITY, ResourceFigures, resource_figures

# Resources with series of their own; the gauge mopt_resources_without_series counts the others.
MAX_RESOURCES = 1000
_BY_RESOURCE = ("namespace", "name")
_BY_TARGET = (*_BY_RESOURCE, "target")
_BY_CONDITION = (*_BY_RESOURCE, "type", "status", "reason")

Shown = list[tuple[PackedResource, ResourceFigures]]


class ResourceCollector(Collector):
    """What the resources in the store say, as gauges; a deleted one leaves with its series.

    Args:
        leads: Whether this operator leads. What another one leads it does not show: sums over all
            operators count each resource once.
    """

    def __init__(self, store: Store, leads: Callable[[], bool]) -> None:
        self._store = store
        self._leads = leads
        # By UID: the resource's version and its figures. Parsing every status at each scrape
        # would hold up the event loop.
        self._known: dict[str, tuple[str, ResourceFigures]] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        resources = self._resources()
        states = GaugeMetricFamily(
            "mopt_resources",
            "ModelOptimizations by the status and reason of their Ready condition.",
            labels=("ready", "reason"),
        )
        counts = Tally(resource.ready for resource in resources)
        for labels, count in sorted(counts.items()):
            states.add_metric(labels, count)
        yield states
        yield GaugeMetricFamily(
            "mopt_resources_without_series",
            f"Resources beyond the first {MAX_RESOURCES}, which have no series of their own.",
            value=max(len(resources) - MAX_RESOURCES, 0),
        )
        shown = resources[:MAX_RESOURCES]
        self._known = {r.uid: (r.version, self._figures(r)) for r in shown}
        known = [(resource, self._known[resource.uid][1]) for resource in shown]
        yield from _conditions(known)
        yield from _times(known)
        yield from _selections(known)

    async def refresh(self) -> None:
        """Parse the statuses that are new to the next scrape, and let others work in between."""
        for resource in self._resources()[:MAX_RESOURCES]:
            known = self._known.get(resource.uid)
            if known is None or known[0] != resource.version:
                self._known[resource.uid] = (
                    resource.version,
                    resource_figures(resource.unpack()),
                )
                await asyncio.sleep(0)

    def _resources(self) -> list[PackedResource]:
        """Return what is shown, first what is not Ready: that is what somebody is to look at."""
        if not self._leads():
            return []
        return sorted(
            self._store.resources, key=lambda r: (r.ready[0] == "True", r.namespace, r.name)
        )

    def _figures(self, resource: PackedResource) -> ResourceFigures:
        known = self._known.get(resource.uid)
        if known is not None and known[0] == resource.version:
            return known[1]
        return resource_figures(resource.unpack())


def _conditions(shown: Shown) -> Iterator[GaugeMetricFamily]:
    said = GaugeMetricFamily(
        "mopt_resource_condition",
        "1 for what each condition of a resource says now.",
        labels=_BY_CONDITION,
    )
    since = GaugeMetricFamily(
        "mopt_resource_condition_transition_timestamp_seconds",
        "When a condition's status last changed, in seconds of the epoch.",
        labels=_BY_CONDITION,
    )
    for resource, figures in shown:
        for state in figures.states:
            labels = (resource.namespace, resource.name, state.type, state.status, state.reason)
            said.add_metric(labels, 1)
            if state.since is not None:
                since.add_metric(labels, state.since)
    yield said
    yield since


def _times(shown: Shown) -> Iterator[GaugeMetricFamily]:
    created = GaugeMetricFamily(
        "mopt_resource_created_timestamp_seconds",
        "When a resource was created, in seconds of the epoch.",
        labels=_BY_RESOURCE,
    )
    waiting = GaugeMetricFamily(
        "mopt_resource_waiting_timestamp_seconds",
        "Since when nothing of a resource's run proceeds, in seconds of the epoch.",
        labels=_BY_RESOURCE,
    )
    for resource, figures in shown:
        labels = (resource.namespace, resource.name)
        if figures.created is not None:
            created.add_metric(labels, figures.created)
        if figures.waiting_since is not None:
            waiting.add_metric(labels, figures.waiting_since)
    yield created
    yield waiting


def _selections(shown: Shown) -> Iterator[GaugeMetricFamily]:
    speedups = GaugeMetricFamily(
        "mopt_selected_speedup_ratio",
        "Speedup of the selected form over the source model.",
        labels=_BY_TARGET,
    )
    qualities = GaugeMetricFamily(
        "mopt_selected_quality",
        "The selected form's quality: the value that its gate judges, else the worst.",
        labels=(*_BY_TARGET, *OF_QUALITY),
    )
    for resource, figures in shown:
        for selected in figures.selected:
            labels = (resource.namespace, resource.name, selected.target)
            if selected.speedup is not None:
                speedups.add_metric(labels, selected.speedup)
            for of_quality, value in selected.quality:
                qualities.add_metric((*labels, *of_quality), value)
    yield speedups
    yield qualities
