"""What to serve: the form that was selected last, until another one is. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from mopt_api.figures import SourceInfo, converted
from mopt_api.reasons import Reason
from mopt_api.status import Condition, ConditionType, SelectedArtifact, TargetStatus
from mopt_operator.times import timestamp

from .conditions import lasting
from .status import winner


def with_artifact(
    target: TargetStatus, before: SelectedArtifact | None, *, generation: int, now: datetime
) -> TargetStatus:
    """Return a target's result with what to serve.

    Args:
        before: What is served now; it stays where nothing was selected, and keeps its time where
            the same form was.
    """
    chosen = winner(target)
    if chosen is None or chosen.artifact is None:
        return target.model_copy(update={"artifact": before})
    artifact = converted(
        chosen.artifact,
        SelectedArtifact,
        variant=chosen.name,
        runtime=chosen.runtime,
        precision=chosen.precision,
        report=target.report.digest,
        generation=generation,
        time=timestamp(now),
    )
    if before is not None and _form(before) == _form(artifact):
        artifact = before.model_copy(update={"report": artifact.report})
    return target.model_copy(update={"artifact": artifact})


def _form(artifact: SelectedArtifact) -> tuple[str, str, str, str, str | None]:
    return (
        artifact.variant,
        artifact.runtime,
        artifact.precision,
        artifact.digest,
        artifact.uri,
    )


def of_earlier_run(target: TargetStatus, source: SourceInfo | None) -> TargetStatus:
    """Return a target as it is shown while the present run has no result for it.

    Args:
        source: The model file of the run before.
    """
    return target.model_copy(update={"from_earlier_run": True, "source": target.source or source})


def available(
    targets: Sequence[TargetStatus],
    wanted: Collection[str],
    previous: Sequence[Condition],
    *,
    generation: int,
    now: datetime,
) -> Condition | None:
    """Return the ArtifactAvailable condition; None where it does not hold.

    It says that there is something to serve on every target that measures, whatever becomes of
    the present run.

    Args:
        wanted: Names of all targets; a target that only builds engines selects none of them.
    """
    known = {target.name: target for target in targets}
    building = {t.name for t in targets if t.baseline is None and t.artifact is None}
    serving = [name for name in wanted if name not in building]
    artifacts = [known[name].artifact for name in serving if name in known]
    if not serving or len(artifacts) < len(serving) or None in artifacts:
        return None
    message = "; ".join(
        f"{name}: {artifact.variant} ({artifact.digest[:19]})"
        for name, artifact in zip(serving, artifacts, strict=True)
        if artifact is not None
    )
    return lasting(
        ConditionType.ARTIFACT_AVAILABLE,
        Reason.SELECTED,
        message=message,
        previous=previous,
        generation=generation,
        now=now,
    )
