"""The second search for a target's form that missed a gate, followed to its result. Pure.

Whether there is one follows from the first result, as the Job returned it or as status has it, so
that a restarted operator goes on with the same Jobs. See mopt_api.jobs.second_search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from mopt_api.figures import SourceInfo
from mopt_api.jobs.plan import Stage
from mopt_api.jobs.second_search import second_aims
from mopt_api.jobs.termination import MeasureSummary, PrepareSummary
from mopt_api.spec import Target
from mopt_api.status import TargetStatus
from mopt_operator.objects import Snapshot

from .catalog import Catalog, NamedItem
from .request import Request
from .track import Track, follow, measures, prepares


@dataclass(frozen=True)
class Second:
    """What comes after a target's first result.

    Attributes:
        names: Of the Jobs that are part of it.
        work: What is not over, with its track; None where all is.
        result: The track of the second measurement, with what it returned; None where there is
            none yet, or the first stays.
        remark: Why the first stays.
    """

    names: tuple[str, ...]
    work: tuple[NamedItem, Track] | None = None
    result: tuple[Track, MeasureSummary] | None = None
    remark: str = ""

    @property
    def stage(self) -> Stage:
        """The stage it is in."""
        return self.work[0].item.stage if self.work else Stage.MEASURE


class Seconds:
    """Follows the second searches of a run."""

    def __init__(
        self, request: Request, catalog: Catalog, snapshot: Snapshot, now: datetime
    ) -> None:
        self._request = request
        self._catalog = catalog
        self._snapshot = snapshot
        self._now = now

    def after(
        self, target: Target, first: TargetStatus, source: SourceInfo | None
    ) -> Second | None:
        """Return what comes after a target's first result; None where that is the only one.

        Args:
            source: The model file; None where it is not known.
        """
        spec = self._request.spec
        aims = second_aims(
            first.variants, first.selected, gates=spec.quality, objective=spec.objective
        )
        if not aims:
            return None
        preparation = self._catalog.second_preparation(target, aims)
        names, title = preparation.names, f"the second search for {', '.join(aims)}"
        started = self._catalog.started(self._snapshot.jobs, [target], again=True)
        prepared = started.prepared if started else None
        if prepared is None:
            track = follow(names, self._snapshot, self._now, prepares(spec.model.sha256))
            if not isinstance(track.outcome, PrepareSummary):
                return _unfinished(names, preparation, track, title)
            if not track.outcome.aimed:
                return Second(names, remark=f"{title} found no form that holds the gates")
            prepared = track.outcome.result
        measurement = self._catalog.measurement(target, prepared, source, again=True)
        names = (*names, *measurement.names)
        track = follow(measurement.names, self._snapshot, self._now, measures(target.name))
        if isinstance(track.outcome, MeasureSummary):
            return Second(names, result=(track, track.outcome))
        return _unfinished(names, measurement, track, title)


def _unfinished(names: tuple[str, ...], work: NamedItem, track: Track, title: str) -> Second:
    """Return where work without a result stands; what failed for good leaves the first result."""
    if track.over:
        why = track.problem.message if track.problem else ""
        return Second(names, remark=f"{title} failed: {why}")
    note = "; ".join(filter(None, (f"This is {title}", track.note)))
    return Second(names, work=(work, replace(track, note=note)))
