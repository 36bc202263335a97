"""What to do next for one resource: all of the operator's logic, pure.

Level-triggered: the answer depends on what is there now, never on what was seen before, so that
any number of restarts, repeated and missed events end in the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mopt_api.plan import Stage
from mopt_api.reasons import REASONS, ErrorReport, Reason
from mopt_api.result import BASELINE, SourceInfo
from mopt_api.spec import Target
from mopt_api.status import ModelOptimizationStatus, Progress, TargetStatus
from mopt_api.termination import MeasureSummary, PrepareSummary

from .conditions import Verdict, conditions, timestamp
from .jobs import Manifest, build_job
from .observing import Job, Resource, Snapshot
from .reporting import sentence, summary_of, target_status
from .requesting import (
    InvalidRequest,
    Request,
    is_settled,
    read_request,
    read_status,
    speaks_of_this_run,
)
from .settings import Settings
from .tracking import MAX_ATTEMPTS, Track, follow
from .works import Work, job_name, measure_work, prepare_work


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        create: Manifests of Jobs.
        delete: Jobs whose work is not asked for any more.
        expire: Finished Jobs whose result is recorded; they get a time to live.
        status: The whole new status; None where it is as it should be.
        requeue_after: Seconds after which to decide again without an event; None for never.
    """

    create: tuple[Manifest, ...] = ()
    delete: tuple[Job, ...] = ()
    expire: tuple[Job, ...] = ()
    status: dict[str, Any] | None = None
    requeue_after: float | None = None


def decide(snapshot: Snapshot, now: datetime, settings: Settings) -> Plan:
    """Return what is to be done for a resource.

    Args:
        snapshot: Of its Jobs only those that the resource owns are looked at.
        now: In UTC.
    """
    resource = snapshot.resource
    own = tuple(job for job in snapshot.jobs if job.owner_uid == resource.uid)
    if resource.deleting:
        return Plan()
    if is_settled(resource):
        return Plan(
            delete=tuple(job for job in own if not job.finished and not job.deleting),
            expire=tuple(j for j in own if j.finished and not j.expires and not j.deleting),
        )
    try:
        request = read_request(resource, settings)
    except InvalidRequest as error:
        report = ErrorReport(reason=Reason.INVALID_SPEC, message=str(error))
        verdict = Verdict(False, report.reason, report.sentence(), stalled=True)
        return Plan(
            delete=tuple(job for job in own if not job.deleting),
            status=_changed_status(resource, verdict, ModelOptimizationStatus(), now),
        )
    return _Run(request, replace(snapshot, jobs=own), now, settings).plan()


def _changed_status(
    resource: Resource, verdict: Verdict, found: ModelOptimizationStatus, now: datetime
) -> dict[str, Any] | None:
    """Return the whole status, or None where the resource has it already."""
    said = conditions(
        verdict, read_status(resource).conditions, generation=resource.generation, now=now
    )
    status = found.model_copy(
        update={
            "observed_generation": resource.generation,
            "last_handled_reconcile_at": resource.requested_at,
            "conditions": said,
        }
    ).to_api()
    return None if status == resource.status else status


class _Run:
    """The current run of a valid resource."""

    def __init__(
        self, request: Request, snapshot: Snapshot, now: datetime, settings: Settings
    ) -> None:
        self._request = request
        self._snapshot = snapshot
        self._resource = snapshot.resource
        self._now = now
        self._settings = settings
        status = read_status(self._resource)
        # What an earlier run found is not this one's.
        self._recorded = (
            status if speaks_of_this_run(status, self._resource) else ModelOptimizationStatus()
        )

    def plan(self) -> Plan:
        preparation = prepare_work(self._request.spec, self._request.output, self._settings)
        prepare = self._follow(preparation, lambda s: isinstance(s, PrepareSummary))
        if isinstance(prepare.outcome, PrepareSummary):
            source: SourceInfo | None = prepare.outcome.source
            prepared: str | None = prepare.outcome.result
        else:
            source, prepared = self._recorded.source, self._prepared_before()
        works: dict[str, Work] = {}
        if prepared is not None:
            works = {t.name: self._measurement(t, prepared) for t in self._request.targets}
        targets, measures = self._measured(works, source)

        preparing = prepared is None and len(targets) < len(self._request.targets)
        tracks = {"": prepare} if preparing else measures
        todo = {"": preparation} if preparing else works
        verdict = self._verdict(targets, tracks, preparing)
        found = ModelOptimizationStatus(
            source=source,
            summary=summary_of(targets, len(self._request.targets), self._request.spec.quality),
            targets=targets,
            progress=self._progress(verdict, targets, tracks, preparing),
        )
        kept = {*prepare.names, *(n for work in works.values() for n in self._names(work))}
        waits = [t.requeue_after for t in tracks.values() if t.requeue_after is not None]
        return Plan(
            create=tuple(
                build_job(todo[name], self._resource, self._settings, attempt=track.create)
                for name, track in tracks.items()
                if track.create is not None
            ),
            delete=tuple(
                job for job in self._snapshot.jobs if job.name not in kept and not job.deleting
            ),
            status=_changed_status(self._resource, verdict, found, self._now),
            requeue_after=min(waits, default=None),
        )

    def _measurement(self, target: Target, prepared: str) -> Work:
        return measure_work(
            self._request.spec,
            self._request.output,
            self._settings,
            target=target,
            prepared=prepared,
        )

    def _names(self, work: Work) -> tuple[str, ...]:
        """Return the names of the Jobs of all attempts."""
        return tuple(
            job_name(work, self._resource, self._settings, attempt=attempt)
            for attempt in range(MAX_ATTEMPTS)
        )

    def _follow(self, work: Work, fits: Callable[[object], bool]) -> Track:
        return follow(self._names(work), self._snapshot, self._now, fits)

    def _prepared_before(self) -> str | None:
        """Return what this run's measurements start from, where the preparation is gone."""
        for job in self._snapshot.jobs:
            if job.prepared is None or job.deleting:
                continue
            for target in self._request.targets:
                if job.name in self._names(self._measurement(target, job.prepared)):
                    return job.prepared
        return None

    def _measured(
        self, works: Mapping[str, Work], source: SourceInfo | None
    ) -> tuple[list[TargetStatus], dict[str, Track]]:
        """Return the targets with a result, and the tracks of the others, in the spec's order."""
        recorded = {target.name: target for target in self._recorded.targets}
        done: list[TargetStatus] = []
        tracks: dict[str, Track] = {}
        for target in self._request.targets:
            name = target.name
            if name in recorded:
                done.append(recorded[name])
            elif name in works:
                track = self._follow(works[name], _measures(name))
                if isinstance(track.outcome, MeasureSummary):
                    done.append(self._report(track.outcome, source))
                else:
                    tracks[name] = track
        return done, tracks

    def _report(self, summary: MeasureSummary, source: SourceInfo | None) -> TargetStatus:
        request = self._request
        return target_status(summary, request.spec, output_uri=request.output.uri, source=source)

    def _verdict(
        self, targets: list[TargetStatus], tracks: Mapping[str, Track], preparing: bool
    ) -> Verdict:
        running = [track for track in tracks.values() if not track.over]
        # What is wrong for good comes before what may pass.
        wrong = sorted(
            ((name, t.problem, t.over) for name, t in tracks.items() if t.problem is not None),
            key=lambda item: not item[2],
        )
        work = None
        if running:
            work = Reason.PREPARING if preparing else Reason.MEASURING
        if wrong:
            name, problem, _over = wrong[0]
            message = f"Target {name}: {problem.message}" if name else problem.message
            return Verdict(False, problem.reason, message, work, stalled=work is None)
        if work is not None:
            waiting = all(track.waiting for track in running)
            reason = Reason.PENDING if waiting else work
            return Verdict(None, reason, self._progress_text(targets, running, reason), work)
        return self._final_verdict(targets)

    def _final_verdict(self, targets: list[TargetStatus]) -> Verdict:
        gates = self._request.spec.quality
        if losers := [target for target in targets if target.selected is None]:
            reason = Reason.NO_VARIANT_PASSED
            message = " ".join([*(sentence(t, gates) for t in losers), REASONS[reason].remedy])
            return Verdict(False, reason, message, stalled=True)
        kept = all(target.selected == BASELINE for target in targets)
        return Verdict(
            True,
            Reason.BASELINE_KEPT if kept else Reason.OPTIMIZED,
            "; ".join(sentence(target, gates) for target in targets),
        )

    def _progress_text(
        self, targets: list[TargetStatus], running: list[Track], reason: Reason
    ) -> str:
        jobs = ", ".join(track.job.name for track in running if track.job is not None)
        if reason is Reason.PENDING:
            text = "Waiting for a node on which no other measurement runs"
        elif reason is Reason.PREPARING:
            text = "Exporting, verifying and quantizing the model"
        else:
            text = f"{len(targets)} of {len(self._request.targets)} targets measured"
        notes = [track.note for track in running if track.note]
        return ". ".join([f"{text} (Job {jobs})" if jobs else text, *notes])

    def _progress(
        self,
        verdict: Verdict,
        targets: list[TargetStatus],
        tracks: Mapping[str, Track],
        preparing: bool,
    ) -> Progress | None:
        """Return how far the Jobs are; how far they came, where the run failed."""
        refused = any(track.over and track.job is None for track in tracks.values())
        if verdict.ready or (verdict.stalled and refused):
            return None
        stage = Stage.PREPARE if preparing else Stage.MEASURE
        before = self._recorded.progress
        start = before.start_time if before is not None and before.stage == stage else None
        if start is None:
            created = [track.job.created for track in tracks.values() if track.job is not None]
            start = timestamp(min(created)) if created else None
        return Progress(
            stage=stage,
            targets_done=len(targets),
            targets_total=len(self._request.targets),
            start_time=start,
        )


def _measures(target: str) -> Callable[[object], bool]:
    """Return the test of a summary of that target."""
    return lambda summary: isinstance(summary, MeasureSummary) and summary.target == target
