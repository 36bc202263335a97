"""The verifications of a run's targets, followed to what they find. Pure.

Status has what is verified and what was found, so a restarted operator goes on with the same Jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mopt_api.figures import SourceInfo
from mopt_api.jobs.termination import MeasureSummary
from mopt_api.spec import Target
from mopt_api.status import TargetStatus
from mopt_operator.objects import Snapshot

from .catalog import Catalog, NamedItem
from .results import Results
from .track import Track, follow, measures
from .upgrade import forms_to_verify, is_broken
from .verify import failed


@dataclass(frozen=True)
class Verified:
    """Where a target's verification stands.

    Attributes:
        names: Of its Jobs, which stay until status has what they found.
        target: As it is shown meanwhile, or with what was found.
        work: What is not over, with its track; None where all is.
    """

    names: tuple[str, ...]
    target: TargetStatus
    work: tuple[NamedItem, Track] | None = None

    @property
    def holds(self) -> bool:
        """Whether the target's result is that of the present run."""
        return self.work is None and not is_broken(self.target)


class Verifications:
    """Follows the verifications of a run."""

    def __init__(
        self, results: Results, catalog: Catalog, snapshot: Snapshot, now: datetime
    ) -> None:
        self._results = results
        self._catalog = catalog
        self._snapshot = snapshot
        self._now = now

    def of(self, target: Target, source: SourceInfo | None) -> Verified | None:
        """Return where a target's verification stands; None where it is not verified.

        Args:
            source: The model file; None where it is not known.
        """
        if target.name not in self._results.verifying:
            return None
        known = self._results.shown[target.name]
        work = self._catalog.verification(
            target,
            known.report.digest,
            forms_to_verify(known),
            after=known.verification.measured_at if known.verification else None,
            source=source,
        )
        track = follow(work.names, self._snapshot, self._now, measures(target.name))
        if isinstance(track.outcome, MeasureSummary):
            found = self._results.verified(track.outcome, source, track.job)
            return Verified(work.names, found)
        if track.over:
            why = track.problem.message if track.problem else ""
            return Verified(work.names, failed(known, why))
        return Verified(work.names, known, (work, track))
