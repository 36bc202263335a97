"""The results of a run: those in status that still hold, and those that Jobs returned. Pure."""

from __future__ import annotations

from mopt_api.figures import SourceInfo
from mopt_api.jobs.termination import MeasureSummary
from mopt_api.spec import Target
from mopt_api.status import Measurement, ModelOptimizationStatus, TargetStatus
from mopt_operator.objects import Job

from .basis import limits_of, measured_limits, of_present, parts_of
from .catalog import Catalog
from .outdated import Optimizers
from .rejudge import measured_ranges, measures_all, rejudged, shows_all
from .request import Request, is_refusal, speaks_of_this_run
from .status import target_status
from .upgrade import Action, Due, due, is_being_verified, is_broken
from .verify import begun, concluded, interrupted
from .work import judging_key, profile_of


class Results:
    """What is known of a request's targets.

    Attributes:
        is_this_run: Status speaks of this run. What an earlier run found is this one's only as far
            as its figures can be judged again.
        shown: Targets as they are until this run has a result for them, by name.
        verifying: Names of those whose result is verified before anything else is made of it.
    """

    def __init__(
        self,
        request: Request,
        catalog: Catalog,
        status: ModelOptimizationStatus,
        optimizers: Optimizers,
    ) -> None:
        settings = optimizers.settings
        self._request = request
        self._catalog = catalog
        self._status = status
        self._settings = settings
        self.is_this_run = speaks_of_this_run(status, optimizers.resource) and not is_refusal(
            status
        )
        found = {target.name: due(target, optimizers, status) for target in status.targets}
        asked = {} if request.spec.execution.suspend else {n: d for n, d in found.items() if d}
        rerun = {name for name, each in asked.items() if each.action is Action.RERUN}
        self.verifying = {
            target.name
            for target in (status.targets if self.is_this_run else ())
            if target.name not in rerun and (target.name in asked or is_being_verified(target))
        }
        self.shown = {
            target.name: self._meanwhile(target, asked.get(target.name))
            for target in status.targets
        }
        self._before = {
            name: self.shown[name]
            for name, target in ((target.name, target) for target in status.targets)
            if name not in rerun | self.verifying
            and not is_broken(target)
            # Those that this run could not use when it began are only shown.
            and not (self.is_this_run and target.from_earlier_run)
        }

    def _meanwhile(self, target: TargetStatus, asked: Due | None) -> TargetStatus:
        if target.name not in self.verifying:
            return interrupted(target)
        return begun(target, asked.reason) if asked else target

    @property
    def source(self) -> SourceInfo | None:
        """What status says of the model file, as the present one or as that of an earlier run."""
        known = [self._status.source, *(target.source for target in self._status.targets)]
        wanted = self._request.spec.model.sha256
        return next((source for source in known if source and source.sha256 == wanted), None)

    def recorded(self) -> dict[str, TargetStatus]:
        """Return the results in status, judged again where gates or objective changed."""
        spec = self._request.spec
        recorded = {}
        for target in self._request.targets:
            judged = self._before.get(target.name)
            if judged is not None and not self.is_this_run:
                usable = shows_all(judged, spec) and self._has_figures(target, judged)
                before = judged
                judged = rejudged(before, spec, judging_key(spec)) if usable else None
                judged = judged and judged.model_copy(
                    update={
                        "from_earlier_run": None,
                        "source": None,
                        # What held by other gates may not hold by these.
                        "verification": before.verification if judged is before else None,
                        "measurement": judged.measurement
                        and of_present(judged.measurement, self._request),
                    }
                )
            if judged is not None:
                recorded[target.name] = judged
        return recorded

    def earlier(self, target: Target) -> TargetStatus | None:
        """Return an earlier run's result that has all the figures this run asks for."""
        before = self._before.get(target.name)
        if self.is_this_run or before is None or not self._has_figures(target, before):
            return None
        return before

    def returned(
        self, summary: MeasureSummary, source: SourceInfo | None, job: Job | None
    ) -> TargetStatus:
        """Return the result that a Job returned.

        Args:
            source: The model file; None where it is not known.
            job: The Job; None where it is gone.
        """
        request = self._request
        target = next(t for t in request.targets if t.name == summary.target)
        return target_status(
            summary,
            request.spec,
            output_uri=request.output.uri,
            source=source,
            optimizer=job.measured_by if job else None,
            measurement=Measurement(
                key=self._catalog.key(target),
                data_ranges=measured_ranges(request.spec),
                judged=judging_key(request.spec),
                limits=self._limits(target, summary, source, job),
                parts=parts_of(request),
            ),
            compute_capabilities=profile_of(target, self._settings).compute_capabilities,
            served=job is not None and job.served,
        )

    def verified(
        self, summary: MeasureSummary, source: SourceInfo | None, job: Job | None
    ) -> TargetStatus:
        """Return a target with what its verification found; see concluded.

        Args:
            source, job: See returned.
        """
        target = next(t for t in self._request.targets if t.name == summary.target)
        return concluded(
            self.shown[target.name],
            summary,
            self._request.spec,
            optimizer=job.measured_by if job else None,
            limits=limits_of(target, self._settings, source),
        )

    def _limits(
        self, target: Target, summary: MeasureSummary, source: SourceInfo | None, job: Job | None
    ) -> dict[str, str] | None:
        """Return the limits that figures were measured with; None for what is only built, and for
        figures of another resource's Job."""
        if summary.baseline is None or summary.served_from_store:
            return None
        known = {before.name: before for before in self._status.targets}
        present = limits_of(target, self._settings, source)
        return measured_limits(known, target.name, job.result if job else None, present)

    def _has_figures(self, target: Target, before: TargetStatus) -> bool:
        """Tell whether an earlier run measured all that this one asks for."""
        known = before.measurement
        return (
            known is not None
            and known.key == self._catalog.key(target)
            and measures_all(known, self._request.spec)
        )
