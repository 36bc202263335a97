"""What to serve: the form that was selected last, until another one is. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from mopt_api.figures import SourceInfo
from mopt_api.reasons import Reason
from mopt_api.status import (
    Condition,
    ConditionType,
    ModelOptimizationStatus,
    SelectedArtifact,
    SelectionRecord,
    TargetStatus,
)
from mopt_operator.objects import Resource
from mopt_operator.times import timestamp

from .conditions import lasting
from .holding import held, replaced
from .request import Request


def with_artifact(
    target: TargetStatus, before: SelectedArtifact | None, *, generation: int, now: datetime
) -> TargetStatus:
    """Return a target's result with what to serve.

    Args:
        before: What is served now; it stays where nothing was selected, and keeps its time where
            the same form was.
    """
    chosen = target.winner
    if chosen is None or chosen.artifact is None:
        return target.model_copy(update={"artifact": before})
    artifact = SelectedArtifact.of(
        chosen,
        chosen.artifact,
        report=target.report.digest,
        generation=generation,
        time=timestamp(now),
    )
    if before is not None and _form(before) == _form(artifact):
        artifact = before.model_copy(update={"report": artifact.report})
    return target.model_copy(update={"artifact": artifact})


def _form(artifact: SelectedArtifact) -> tuple[str | None, ...]:
    return (
        artifact.variant,
        artifact.runtime,
        artifact.precision,
        artifact.float_precision,
        artifact.digest,
        artifact.uri,
    )


def of_earlier_run(target: TargetStatus, source: SourceInfo | None) -> TargetStatus:
    """Return a target as it is shown while the present run has no result for it.

    Args:
        source: The model file of the run before.
    """
    return target.model_copy(update={"from_earlier_run": True, "source": target.source or source})


def shown_targets(
    status: ModelOptimizationStatus,
    request: Request,
    results: Mapping[str, TargetStatus],
    *,
    earlier: Mapping[str, TargetStatus],
    resource: Resource,
    now: datetime,
) -> list[TargetStatus]:
    """Return what status shows of each target: this run's result, or until then the last.

    Args:
        status: As it is.
        results: Of this run.
        earlier: The targets in status, as they are shown where there is none: what was selected
            and published last stays, as long as it is not known to miss a gate.
    """
    shown = []
    for name in (target.name for target in request.targets):
        known = earlier.get(name)
        result = results.get(name) or (known and of_earlier_run(known, status.source))
        if result is None:
            continue
        if known is not None and known.published is not None:
            result = result.model_copy(update={"published": known.published})
        served = result.model_copy(update={"artifact": known.artifact if known else None})
        held_now = held(served, known, request.spec)
        shown.append(
            with_artifact(held_now, held_now.artifact, generation=resource.generation, now=now)
        )
    return shown


def available(
    targets: Sequence[TargetStatus],
    wanted: Collection[str],
    previous: Sequence[Condition],
    history: Sequence[SelectionRecord],
    *,
    generation: int,
    now: datetime,
) -> Condition | None:
    """Return the ArtifactAvailable condition; None where there is nothing to say.

    It says that there is something to serve on every target that measures, whatever becomes of
    the present run; and False where what was served misses a gate, and nothing replaces it.

    Args:
        wanted: Names of all targets; a target that only builds engines selects none of them.
        history: With what is selected now.
    """
    known = {target.name: target for target in targets}
    building = {t.name for t in targets if t.baseline is None and t.artifact is None}
    serving = [name for name in wanted if name not in building]
    found = [known[name] for name in serving if name in known]
    missing = {t.name: missed for t in found if not t.artifact and (missed := replaced(t, history))}
    said = partial(
        lasting,
        ConditionType.ARTIFACT_AVAILABLE,
        previous=previous,
        generation=generation,
        now=now,
    )
    if missing:
        parts = "; ".join(f"{name}: {missed}" for name, missed in missing.items())
        return said(Reason.WITHDRAWN, status="False", message=f"{parts}. {_WITHDRAWN}")
    if not serving or len(found) < len(serving) or not all(t.artifact for t in found):
        return None
    return said(Reason.SELECTED, message="; ".join(_serves(t, history) for t in found))


_WITHDRAWN = (
    "Nothing is named to be served there until a run selects a form; what was published stays so."
)


def _serves(target: TargetStatus, history: Sequence[SelectionRecord]) -> str:
    if (artifact := target.artifact) is None:
        return target.name
    text = f"{target.name}: {artifact.variant} ({artifact.digest[:19]})"
    missed = replaced(target, history)
    return f"{text} in place of {missed}" if missed else text
