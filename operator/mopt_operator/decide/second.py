"""The second search for a target's form that missed a gate, followed to its result. Pure.

Whether there is one follows from the first result, as the Job returned it or as status has it, so
that a restarted operator goes on with the same Jobs. See mopt_api.jobs.second_search.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from mopt_api.figures import SourceInfo
from mopt_api.jobs.plan import Stage
from mopt_api.jobs.second_search import second_aims
from mopt_api.jobs.termination import MeasureSummary, PrepareSummary
from mopt_api.reasons import MAX_MESSAGE
from mopt_api.spec import Target
from mopt_api.status import TargetStatus, VariantStatus
from mopt_api.text import one_line
from mopt_operator.objects import Snapshot

from .catalog import Catalog, NamedItem
from .request import Request
from .track import Track, follow, measures, prepares


@dataclass(frozen=True)
class Second:
    """What comes after a target's first result.

    Attributes:
        names: Of the Jobs that are part of it.
        searched: The variants.
        work: What is not over, with its track; None where all is.
        result: The track of the second measurement, with what it returned; None where there is
            none yet, or the first stays.
        remark: Why the first stays.
    """

    names: tuple[str, ...]
    searched: tuple[str, ...]
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
            first.variants,
            first.selected,
            gates=spec.quality,
            objective=spec.objective,
            under_load=spec.benchmark.load is not None,
        )
        if not aims:
            return None
        preparation = self._catalog.second_preparation(target, aims)
        second = Second(preparation.names, tuple(aims))
        started = self._catalog.started(self._snapshot.jobs, [target], again=True)
        prepared = started.prepared if started else None
        if prepared is None:
            track = follow(second.names, self._snapshot, self._now, prepares(spec.model.sha256))
            if not isinstance(track.outcome, PrepareSummary):
                return _unfinished(second, preparation, track)
            if not track.outcome.aimed:
                return replace(second, remark="a second search found no form that holds the gates")
            prepared = track.outcome.result
        measurement = self._catalog.measurement(target, prepared, source, again=True)
        second = replace(second, names=(*second.names, *measurement.names))
        track = follow(measurement.names, self._snapshot, self._now, measures(target.name))
        if isinstance(track.outcome, MeasureSummary):
            return replace(second, result=(track, track.outcome))
        return _unfinished(second, measurement, track)


def _unfinished(second: Second, work: NamedItem, track: Track) -> Second:
    """Return where work without a result stands; what failed for good leaves the first result."""
    if track.over:
        why = track.problem.message if track.problem else ""
        return replace(second, remark=f"a second search failed: {why}")
    title = f"This is the second search for {', '.join(second.searched)}"
    note = "; ".join(filter(None, (title, track.note)))
    return replace(second, work=(work, replace(track, note=note)))


def final(target: TargetStatus, searched: Collection[str], remark: str) -> TargetStatus:
    """Return a result that no other search follows, whatever is asked for later.

    Args:
        searched: The variants of the second search.
        remark: Why the first result stays; empty where it does not.
    """

    def shown(variant: VariantStatus) -> VariantStatus:
        changed: dict[str, object] = {"aim_decibels": None}
        if remark and variant.name in searched:
            said = "; ".join(filter(None, (variant.message, remark)))
            changed["message"] = one_line(said, MAX_MESSAGE)
        return variant.model_copy(update=changed)

    return target.model_copy(update={"variants": [shown(v) for v in target.variants]})
