"""The current run of a valid resource: its Jobs, stage by stage, and what is to be done. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from mopt_api.figures import SourceInfo
from mopt_api.jobs.plan import Stage
from mopt_api.jobs.termination import MeasureSummary, PrepareSummary
from mopt_api.spec import Target
from mopt_api.status import ModelOptimizationStatus, Progress, TargetStatus
from mopt_operator.config.settings import Settings
from mopt_operator.objects import Job, Snapshot
from mopt_operator.times import timestamp

from .artifact import shown_targets
from .asked import Asked
from .catalog import Catalog, NamedItem
from .conditions import Verdict
from .jobs import Manifest, build_job
from .outdated import Optimizers
from .plan import Plan, changed_status
from .publication import published_during_run
from .recommend import recommendation
from .results import Results
from .second import Seconds, final
from .status import summary_of
from .track import Track, follow, measures, prepares
from .verdict import PREPARATION, judge, suspended
from .verifications import Verifications, Verified
from .waiting import Wait, wait_of
from .work import WorkItem


@dataclass
class _Stages:
    """What is known of each stage.

    Attributes:
        results: Targets with their last result, by name.
        first: Those with a result that a second search follows.
        earlier: Targets as they are shown while they have no result, by name.
        source: The model file, where it is known.
        stage: The first of the stages that the tracks are in.
        tracks: Work on the other targets; the preparation's key is PREPARATION.
        todo: What the tracks do, by the same names.
        keep: Names of Jobs that are part of this run.
    """

    results: dict[str, TargetStatus]
    earlier: dict[str, TargetStatus]
    source: SourceInfo | None
    stage: Stage = Stage.REPORT
    tracks: dict[str, Track] = field(default_factory=dict)
    todo: dict[str, WorkItem] = field(default_factory=dict)
    keep: set[str] = field(default_factory=set)
    first: dict[str, TargetStatus] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Results) -> _Stages:
        """Return what is known before anything is followed."""
        return cls(results.recorded(), dict(results.shown), results.source)

    @property
    def known(self) -> dict[str, TargetStatus]:
        """What there is of each target: its last result, or the first."""
        return self.first | self.results

    def add(self, name: str, work: NamedItem, track: Track) -> None:
        """Add work that is not done."""
        self.tracks[name], self.todo[name] = track, work.item

    def add_verified(self, name: str, found: Verified) -> None:
        """Add a target that is verified."""
        self.keep.update(found.names)
        (self.results if found.holds else self.earlier)[name] = found.target
        if found.work is not None:
            self.stage = Stage.VERIFY
            self.add(name, *found.work)


class Run:
    """What is asked for now, beside what exists."""

    def __init__(
        self,
        asked: Asked,
        status: ModelOptimizationStatus,
        snapshot: Snapshot,
        now: datetime,
        settings: Settings,
    ) -> None:
        request = self._request = asked.request
        self._status = status
        self._snapshot = snapshot
        self._resource = snapshot.resource
        self._now = now
        self._settings = settings
        self._catalog = asked.catalog
        self._optimizers = Optimizers(self._resource, settings, snapshot.told)
        self._results = Results(request, self._catalog, status, self._optimizers)
        self._verifications = Verifications(self._results, self._catalog, snapshot, now)
        self._seconds = Seconds(request, self._catalog, snapshot, now)

    def plan(self) -> Plan:
        """Return what is to be done."""
        stages = self._stages()
        results = stages.results
        targets = [results[t.name] for t in self._request.targets if t.name in results]
        shown = shown_targets(
            self._status,
            self._request,
            stages.known,
            earlier=stages.earlier,
            resource=self._resource,
            now=self._now,
        )
        before = self._before(stages)
        deadline = self._request.spec.execution.longest_wait_seconds
        wait = wait_of(stages.tracks.values(), before, deadline, self._now)
        running = any(not track.over for track in stages.tracks.values())
        is_suspended = running and self._request.spec.execution.suspend
        if is_suspended:
            verdict = suspended(self._request, len(targets), shown)
        else:
            verdict = judge(self._request, targets, stages.tracks, stages.stage, wait)
        done, total = len(targets), len(self._request.targets)
        progress = _progress(stages, before, wait, verdict, done=done, total=total)
        status = ModelOptimizationStatus(
            source=stages.source,
            summary=summary_of(shown, done, total, self._request.spec.quality),
            targets=shown,
            progress=None if is_suspended else progress,
            recommendation=recommendation(
                self._resource, shown, self._status, self._settings, running=running
            ),
        )
        return Plan(
            create=() if is_suspended else self._to_create(stages),
            delete=_to_delete(self._snapshot.jobs, stages, is_suspended=is_suspended),
            status=changed_status(
                self._optimizers,
                self._status,
                verdict,
                status,
                self._now,
                wanted=[target.name for target in self._request.targets],
                published=published_during_run(
                    self._request,
                    self._resource,
                    self._settings,
                    shown,
                    self._status.conditions,
                    ready=verdict.ready is True and not running,
                    now=self._now,
                ),
            ),
            requeue_after=None if is_suspended else _next_look(stages, wait),
        )

    def _to_create(self, stages: _Stages) -> tuple[Manifest, ...]:
        return tuple(
            build_job(
                stages.todo[name],
                self._resource,
                self._settings,
                attempt=track.create,
                busy=self._snapshot.nodes,
            )
            for name, track in stages.tracks.items()
            if track.create is not None
        )

    def _stages(self) -> _Stages:
        """Follow the work of each stage that is needed."""
        stages = _Stages.of(self._results)
        self._follow_reports(stages)
        self._follow_verifications(stages)
        # A result that cannot be judged again is measured again.
        rest = [
            target
            for target in self._request.targets
            if target.name not in stages.results and target.name not in stages.tracks
        ]
        preparation = self._catalog.preparation()
        stages.keep.update(preparation.names)
        if rest:
            prepared = self._follow_preparation(stages, preparation)
            if prepared is not None:
                self._follow_measurements(stages, rest, prepared)
        self._follow_seconds(stages)
        stages.keep.update(_measurements(self._snapshot.jobs, self._catalog))
        return stages

    def _follow_reports(self, stages: _Stages) -> None:
        for target in self._request.targets:
            if target.name in stages.results or (report := self._report(target)) is None:
                continue
            stages.keep.update(report.names)
            track = self._follow(report, measures(target.name))
            if isinstance(track.outcome, MeasureSummary):
                self._take(stages, track, track.outcome)
            elif not track.over:
                stages.add(target.name, report, track)

    def _report(self, target: Target) -> NamedItem | None:
        """Return the work that selects again from a result in the store, where there is one."""
        if before := self._results.earlier(target):
            return self._catalog.report(
                target,
                before.report.digest,
                before.optimizer,
                served=before.served_from_store is True,
            )
        # Once its Job exists, status speaks of this run and no longer holds the result.
        for job in self._snapshot.jobs:
            if job.result is not None and not job.deleting:
                report = self._catalog.report(
                    target, job.result, job.measured_by, served=job.served
                )
                if job.name in report.names:
                    return report
        return None

    def _follow_verifications(self, stages: _Stages) -> None:
        """Follow what is verified; a result that does not hold is measured again at once."""
        for target in self._request.targets:
            if verified := self._verifications.of(target, stages.source):
                stages.add_verified(target.name, verified)

    def _follow_preparation(self, stages: _Stages, preparation: NamedItem) -> str | None:
        """Return the digest that measurements start from; None where it is not known yet."""
        track = self._follow(preparation, prepares(self._request.spec.model.sha256))
        if isinstance(track.outcome, PrepareSummary):
            stages.source = track.outcome.source
            return track.outcome.result
        if job := self._catalog.started(self._snapshot.jobs, self._request.targets, again=False):
            stages.source = stages.source or job.source
            return job.prepared
        stages.stage = Stage.PREPARE
        stages.add(PREPARATION, preparation, track)
        return None

    def _follow_measurements(self, stages: _Stages, targets: list[Target], prepared: str) -> None:
        stages.stage = Stage.MEASURE
        for target in targets:
            measurement = self._catalog.measurement(target, prepared, stages.source)
            track = self._follow(measurement, measures(target.name))
            if isinstance(track.outcome, MeasureSummary):
                self._take(stages, track, track.outcome)
            else:
                stages.add(target.name, measurement, track)

    def _follow_seconds(self, stages: _Stages) -> None:
        """Go on with the targets whose first result asks for a second search."""
        for target in self._request.targets:
            if (first := stages.results.get(target.name)) is None:
                continue
            if (second := self._seconds.after(target, first, stages.source)) is None:
                continue
            stages.keep.update(second.names)
            stages.stage = _earlier(stages.stage, second.stage)
            if second.work is not None:
                stages.first[target.name] = stages.results.pop(target.name)
                stages.add(target.name, *second.work)
                continue
            if second.result is not None:
                self._take(stages, *second.result)
            last = stages.results[target.name]
            stages.results[target.name] = final(last, second.searched, second.remark)

    def _take(self, stages: _Stages, track: Track, summary: MeasureSummary) -> None:
        stages.results[summary.target] = self._results.returned(summary, stages.source, track.job)

    def _follow(self, work: NamedItem, fits: Callable[[object], bool]) -> Track:
        return follow(work.names, self._snapshot, self._now, fits)

    def _before(self, stages: _Stages) -> Progress | None:
        """Return what status says of this stage of this run."""
        before = self._status.progress if self._results.is_this_run else None
        return before if before is not None and before.stage == stages.stage else None


def _measurements(jobs: Iterable[Job], catalog: Catalog) -> Iterator[str]:
    """Yield the names of the measurements that start from what any of some Jobs started from."""
    for digest in {job.prepared for job in jobs if job.prepared}:
        for measurement in catalog.measurements(digest):
            yield from measurement.names


def _next_look(stages: _Stages, wait: Wait | None) -> float | None:
    """Return the seconds after which to look again without an event; None for never."""
    waits = [t.requeue_after for t in stages.tracks.values() if t.requeue_after is not None]
    waits += [wait.left] if wait and not wait.is_over else []
    return min(waits, default=None)


def _to_delete(jobs: Iterable[Job], stages: _Stages, *, is_suspended: bool) -> tuple[Job, ...]:
    """Return the Jobs whose work is not asked for, now or at all, and those that will never end."""
    lost = {t.job.uid for t in stages.tracks.values() if t.job is not None and t.lost}
    return tuple(
        job
        for job in jobs
        if not job.deleting
        and (job.name not in stages.keep or job.uid in lost or (is_suspended and not job.finished))
    )


def _progress(
    stages: _Stages,
    before: Progress | None,
    wait: Wait | None,
    verdict: Verdict,
    *,
    done: int,
    total: int,
) -> Progress | None:
    """Return how far the Jobs are; how far they came, where the run failed.

    Args:
        before: What status says of this stage.
    """
    refused = any(track.over and track.job is None for track in stages.tracks.values())
    if verdict.ready or (verdict.stalled and refused):
        return None
    start = before.start_time if before else None
    if start is None:
        jobs = [track.job for track in stages.tracks.values() if track.job is not None]
        start = timestamp(min(job.created for job in jobs)) if jobs else None
    return Progress(
        stage=stages.stage,
        targets_done=done,
        targets_total=total,
        start_time=start,
        waiting_since=timestamp(wait.since) if wait else None,
    )


def _earlier(one: Stage, other: Stage) -> Stage:
    """Return that of two stages which comes first."""
    order = [*Stage]
    return min(one, other, key=order.index)
