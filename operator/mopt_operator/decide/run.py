"""The current run of a valid resource: which results are there, which Jobs get the others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from mopt_api.plan import Stage
from mopt_api.result import SourceInfo
from mopt_api.spec import Target
from mopt_api.status import Measurement, ModelOptimizationStatus, Progress, TargetStatus
from mopt_api.termination import MeasureSummary, PrepareSummary

from ..config.settings import OnUpgrade, Settings
from ..objects import Job, Snapshot
from .conditions import Verdict, timestamp
from .history import is_outdated
from .jobs import build_job
from .plan import Plan, changed_status
from .rejudge import measured_ranges, measures_all, reselected, shows_point
from .request import Request, is_refusal, speaks_of_this_run
from .status import summary_of, target_status
from .track import Track, follow
from .verdict import PREPARATION, judge
from .work import (
    Work,
    job_names,
    judging_key,
    measure_work,
    measurement_key,
    prepare_work,
    profile_of,
    report_work,
)


@dataclass(frozen=True)
class _Stages:
    """What is known of each stage.

    Attributes:
        results: Targets with a result, by name.
        tracks: Work on the others.
        todo: What the tracks do, by the same names.
        stage: The first of the stages that the tracks are in.
        keep: Names of Jobs that are part of this run.
    """

    results: Mapping[str, TargetStatus]
    tracks: Mapping[str, Track]
    todo: Mapping[str, Work]
    stage: Stage
    source: SourceInfo | None
    keep: frozenset[str]


class Run:
    """What is asked for now, and what is there."""

    def __init__(
        self,
        request: Request,
        status: ModelOptimizationStatus,
        snapshot: Snapshot,
        now: datetime,
        settings: Settings,
    ) -> None:
        self._request = request
        self._snapshot = snapshot
        self._resource = snapshot.resource
        self._now = now
        self._settings = settings
        self._status = status
        # What an earlier run found is this one's only as far as its figures can be judged anew.
        self._is_this_run = speaks_of_this_run(self._status, self._resource) and not is_refusal(
            self._status
        )
        rerun = settings.on_upgrade is OnUpgrade.RERUN and not request.spec.execution.suspend
        self._before = {
            target.name: target
            for target in self._status.targets
            if not (rerun and is_outdated(target, self._resource, settings))
        }

    def plan(self) -> Plan:
        """Return what is to be done."""
        found = self._find()
        targets = [found.results[t.name] for t in self._request.targets if t.name in found.results]
        verdict = judge(self._request, targets, found.tracks, found.stage)
        suspended = verdict.ready is None and verdict.work is None
        status = ModelOptimizationStatus(
            source=found.source,
            summary=summary_of(targets, len(self._request.targets), self._request.spec.quality),
            targets=targets,
            progress=None if suspended else self._progress(verdict, targets, found),
        )
        waits = [t.requeue_after for t in found.tracks.values() if t.requeue_after is not None]
        return Plan(
            create=()
            if suspended
            else tuple(
                build_job(found.todo[name], self._resource, self._settings, attempt=track.create)
                for name, track in found.tracks.items()
                if track.create is not None
            ),
            delete=tuple(
                job
                for job in self._snapshot.jobs
                if not job.deleting
                and (job.name not in found.keep or (suspended and not job.finished))
            ),
            status=changed_status(
                self._resource, self._status, verdict, status, self._settings, self._now
            ),
            requeue_after=None if suspended else min(waits, default=None),
        )

    def _find(self) -> _Stages:
        results = self._recorded()
        reports = {
            target.name: work
            for target in self._request.targets
            if target.name not in results and (work := self._report(target)) is not None
        }
        tracks = {name: self._follow(work, _measures(name)) for name, work in reports.items()}
        for name, track in tracks.items():
            if isinstance(track.outcome, MeasureSummary):
                results[name] = self._result(track, track.outcome, self._source(None))
        # A result that cannot be judged anew is measured anew.
        judging = {n: t for n, t in tracks.items() if n not in results and not t.over}
        rest = [t for t in self._request.targets if t.name not in results and t.name not in judging]
        keep = {name for work in reports.values() for name in self._names(work)}
        todo, stage = {name: reports[name] for name in judging}, Stage.REPORT
        source, working = self._source(None), dict(judging)

        preparation = prepare_work(self._request.spec, self._request.output, self._settings)
        keep |= set(self._names(preparation))
        if rest:
            prepare = self._follow(preparation, lambda s: isinstance(s, PrepareSummary))
            prepared: str | None
            if isinstance(prepare.outcome, PrepareSummary):
                source, prepared = prepare.outcome.source, prepare.outcome.result
            else:
                before = self._prepared_before()
                prepared = before.prepared if before else None
                source = source or (before.source if before else None)
            stage = Stage.PREPARE if prepared is None else Stage.MEASURE
            if prepared is None:
                working[PREPARATION], todo[PREPARATION] = prepare, preparation
            else:
                for target in rest:
                    name, work = target.name, self._measurement(target, prepared, source)
                    track = self._follow(work, _measures(name))
                    if isinstance(track.outcome, MeasureSummary):
                        results[name] = self._result(track, track.outcome, source)
                    else:
                        working[name], todo[name] = track, work
        prepared_from = {job.prepared for job in self._snapshot.jobs if job.prepared}
        for target in self._request.targets:
            for digest in prepared_from:
                keep |= set(self._names(self._measurement(target, digest)))
        return _Stages(results, working, todo, stage, source, frozenset(keep))

    def _recorded(self) -> dict[str, TargetStatus]:
        """Return the results that status holds, judged anew where gates or objective changed."""
        spec = self._request.spec
        found = {}
        for target in self._request.targets:
            before = self._before.get(target.name)
            if before is None:
                continue
            judged: TargetStatus | None = before
            if not self._is_this_run:
                there = self._has_figures(target, before) and shows_point(before, spec)
                judged = reselected(before, spec, judging_key(spec)) if there else None
            if judged is not None:
                found[target.name] = judged
        return found

    def _key(self, target: Target) -> str:
        request = self._request
        return measurement_key(
            request.spec, request.output, self._settings, self._resource, target=target
        )

    def _has_figures(self, target: Target, before: TargetStatus) -> bool:
        """Tell whether an earlier run measured all that this one asks for."""
        known = before.measurement
        return (
            known is not None
            and known.key == self._key(target)
            and measures_all(known, self._request.spec)
        )

    def _report(self, target: Target) -> Work | None:
        """Return the work that selects anew from a result in the store, where there is one."""
        before = self._before.get(target.name)
        if not self._is_this_run and before is not None and self._has_figures(target, before):
            return self._report_of(target, before.report.digest, before.optimizer)
        # Once its Job is there, status speaks of this run and does not hold the result any more.
        for job in self._snapshot.jobs:
            if job.result is not None and not job.deleting:
                work = self._report_of(target, job.result, job.measured_by)
                if job.name in self._names(work):
                    return work
        return None

    def _report_of(self, target: Target, result: str, measured_by: str | None) -> Work:
        return report_work(
            self._request.spec,
            self._request.output,
            self._settings,
            target=target,
            result=result,
            measured_by=measured_by,
            basis=self._key(target),
        )

    def _measurement(self, target: Target, prepared: str, source: SourceInfo | None = None) -> Work:
        return measure_work(
            self._request.spec,
            self._request.output,
            self._settings,
            target=target,
            prepared=prepared,
            source=source,
        )

    def _names(self, work: Work) -> tuple[str, ...]:
        """Return the names of the Jobs of all attempts."""
        return job_names(work, self._resource, self._settings)

    def _follow(self, work: Work, fits: Callable[[object], bool]) -> Track:
        return follow(self._names(work), self._snapshot, self._now, fits)

    def _source(self, found: SourceInfo | None) -> SourceInfo | None:
        """Return what is known of the model file, also from an earlier run on the same file."""
        before = self._status.source
        if found is not None or before is None:
            return found
        same = before.sha256 == self._request.spec.model.sha256
        return before if same else None

    def _prepared_before(self) -> Job | None:
        """Return a measurement of this run, where the preparation is gone: it knows the result."""
        for job in self._snapshot.jobs:
            if job.prepared is None or job.deleting:
                continue
            for target in self._request.targets:
                if job.name in self._names(self._measurement(target, job.prepared)):
                    return job
        return None

    def _result(
        self, track: Track, summary: MeasureSummary, source: SourceInfo | None
    ) -> TargetStatus:
        request = self._request
        target = next(t for t in request.targets if t.name == summary.target)
        return target_status(
            summary,
            request.spec,
            output_uri=request.output.uri,
            source=source,
            optimizer=track.job.measured_by if track.job else None,
            measurement=Measurement(
                key=self._key(target),
                data_ranges=measured_ranges(request.spec),
                judged=judging_key(request.spec),
            ),
            compute_capabilities=profile_of(target, self._settings).compute_capabilities,
        )

    def _progress(
        self, verdict: Verdict, targets: list[TargetStatus], found: _Stages
    ) -> Progress | None:
        """Return how far the Jobs are; how far they came, where the run failed."""
        refused = any(track.over and track.job is None for track in found.tracks.values())
        if verdict.ready or (verdict.stalled and refused):
            return None
        before = self._status.progress if self._is_this_run else None
        start = None
        if before is not None and before.stage == found.stage:
            start = before.start_time
        if start is None:
            jobs: list[Job] = [t.job for t in found.tracks.values() if t.job is not None]
            start = timestamp(min(job.created for job in jobs)) if jobs else None
        return Progress(
            stage=found.stage,
            targets_done=len(targets),
            targets_total=len(self._request.targets),
            start_time=start,
        )


def _measures(target: str) -> Callable[[object], bool]:
    """Return the test of a summary of that target."""
    return lambda summary: isinstance(summary, MeasureSummary) and summary.target == target
