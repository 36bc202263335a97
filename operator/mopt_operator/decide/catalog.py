"""The work items that a request may need, each made and named once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mopt_api.figures import SourceInfo
from mopt_api.jobs.second_search import Aims
from mopt_api.spec import Target
from mopt_operator.config.settings import Settings
from mopt_operator.objects import Job, Resource

from .request import Request
from .work import (
    WorkItem,
    job_names,
    measure_work,
    measurement_key,
    prepare_work,
    report_work,
    verify_work,
)


@dataclass(frozen=True)
class NamedItem:
    """A work item and the names of its Jobs, one for each attempt."""

    item: WorkItem
    names: tuple[str, ...]


class Catalog:
    """Makes the work items of one request.

    Decisions ask for the same items again and again, and an item's name is the digest of all that
    it holds.
    """

    def __init__(self, request: Request, resource: Resource, settings: Settings) -> None:
        self._request = request
        self._resource = resource
        self._settings = settings
        self._preparation: NamedItem | None = None
        self._measurements: dict[tuple[str, str, bool], NamedItem] = {}
        self._keys: dict[str, str] = {}

    def preparation(self) -> NamedItem:
        """Return the preparation for all targets."""
        if self._preparation is None:
            spec, output = self._request.spec, self._request.output
            self._preparation = self._named(prepare_work(spec, output, self._settings))
        return self._preparation

    def second_preparation(self, target: Target, aims: Aims) -> NamedItem:
        """Return the preparation of a second search, for one target."""
        request = self._request
        return self._named(
            prepare_work(request.spec, request.output, self._settings, target=target, aims=aims)
        )

    def measurement(
        self,
        target: Target,
        prepared: str,
        source: SourceInfo | None = None,
        *,
        again: bool = False,
    ) -> NamedItem:
        """Return the measurement on a target.

        Args:
            prepared: Digest of the preparation's manifest.
            again: It follows a second search.
            source: See WorkItem; the names do not depend on it.
        """
        key = (target.name, prepared, again)
        if key not in self._measurements:
            self._measurements[key] = self._named(
                measure_work(
                    self._request.spec,
                    self._request.output,
                    self._settings,
                    target=target,
                    prepared=prepared,
                    again=again,
                )
            )
        known = self._measurements[key]
        return known if source is None else replace(known, item=replace(known.item, source=source))

    def measurements(self, prepared: str) -> Iterator[NamedItem]:
        """Yield the measurements of all targets that start from a preparation."""
        for target in self._request.targets:
            yield self.measurement(target, prepared)

    def started(self, jobs: Iterable[Job], targets: Sequence[Target], *, again: bool) -> Job | None:
        """Return a measurement of this run that exists: it knows what it starts from, also where
        the preparation is gone.

        Args:
            targets: Any of them.
            again: See measurement.
        """
        for job in jobs:
            if job.prepared is None or job.deleting:
                continue
            for target in targets:
                if job.name in self.measurement(target, job.prepared, again=again).names:
                    return job
        return None

    def report(
        self, target: Target, result: str, measured_by: str | None, *, served: bool
    ) -> NamedItem:
        """Return the work that selects again among the figures of a result in the store.

        Args:
            result: Digest of its result.json.
            measured_by, served: See WorkItem.
        """
        return self._named(
            report_work(
                self._request.spec,
                self._request.output,
                self._settings,
                target=target,
                result=result,
                measured_by=measured_by,
                served=served,
                basis=self.key(target),
            )
        )

    def verification(
        self,
        target: Target,
        result: str,
        forms: Sequence[str],
        *,
        after: str | None,
        source: SourceInfo | None = None,
    ) -> NamedItem:
        """Return the verification of a target's result.

        Args:
            result: Digest of its result.json.
            forms: Variants, the best first.
            after: When the result was verified before; None for never.
            source: See WorkItem; the names do not depend on it.
        """
        item = verify_work(
            self._request.spec,
            self._request.output,
            self._settings,
            target=target,
            result=result,
            forms=forms,
            basis=after or "",
        )
        return self._named(replace(item, source=source))

    def key(self, target: Target) -> str:
        """Return what a target's figures depend on; see measurement_key."""
        if target.name not in self._keys:
            self._keys[target.name] = measurement_key(
                self._request.spec,
                self._request.output,
                self._settings,
                self._resource,
                target=target,
            )
        return self._keys[target.name]

    def _named(self, item: WorkItem) -> NamedItem:
        return NamedItem(item, job_names(item, self._resource, self._settings))
