"""What a resource serves, what it served before, and how either is named in Git. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import ValidationError

from mopt_api.artifacts import Artifact
from mopt_api.jobs.measure_result import BASELINE, MeasureResult
from mopt_api.status import ModelOptimizationStatus, SelectionRecord, TargetStatus

from ._errors import CliError, ExitCode

_LEAST_DIGITS = 7


class NothingSelected(CliError):
    """There is nothing to serve."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.FAILED)


class NothingPublished(CliError):
    """Nothing was published to a registry."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.FAILED)


class NoSuchSelection(CliError):
    """No earlier selection is the one that was asked for."""


class PinAs(StrEnum):
    """What of a selection is written."""

    REFERENCE = "reference"
    OCI = "oci"
    DIGEST = "digest"
    URI = "uri"
    ARTIFACT = "artifact"


@dataclass(frozen=True)
class Selection:
    """Something that was selected, as Git may name it.

    Attributes:
        whose: The resource and its target, for messages.
        artifact: Digest of the file.
        uri: Location of the file.
        published: REPOSITORY@DIGEST.
    """

    whose: str
    artifact: str | None
    uri: str | None
    published: str | None

    def named(self, how: PinAs) -> str:
        """Return the text that names it.

        Raises:
            NothingPublished: It was not published, and is asked for by what a registry has.
            NothingSelected: It has no file.
        """
        if how is PinAs.URI:
            return self._file(self.uri, "location")
        if how is PinAs.ARTIFACT:
            return self._file(self.artifact, "digest")
        if self.published is None:
            raise NothingPublished(
                f"{self.whose}: it is published to no registry: set spec.publish.oci, or name the "
                "file in the store with --as uri"
            )
        if how is PinAs.DIGEST:
            return self.published.rpartition("@")[2]
        return f"oci://{self.published}" if how is PinAs.OCI else self.published

    def _file(self, value: str | None, what: str) -> str:
        if value is None:
            raise NothingSelected(f"{self.whose}: status has no {what} of its file")
        return value


def status_of(raw: Mapping[str, object]) -> ModelOptimizationStatus:
    """Return the status of a ModelOptimization as the API server returns it.

    Raises:
        CliError: It is none.
    """
    try:
        return ModelOptimizationStatus.model_validate(raw.get("status") or {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, ("status", *first["loc"])))
        raise CliError(f"{field}: {first['msg']}", ExitCode.FAILED) from error


def name_of(raw: Mapping[str, object]) -> str:
    """Return a resource's name, for messages."""
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return str(name or "the resource")


def target_of(raw: Mapping[str, object], wanted: str | None) -> TargetStatus:
    """Return the target with a name, or the only one.

    Raises:
        NothingSelected: No target has a result.
        CliError: There is no such target; or several, and none was named.
    """
    targets, name = status_of(raw).targets, name_of(raw)
    if not targets:
        raise NothingSelected(f"{name} has no result yet: mopt watch {name} waits for it")
    known = ", ".join(target.name for target in targets)
    if wanted is None and len(targets) > 1:
        raise CliError(f"{name} has results for the targets {known}: choose one with --target")
    found = next((t for t in targets if wanted in (None, t.name)), None)
    if found is None:
        raise CliError(f"{name} has no result for a target {wanted}: there is {known}")
    return found


def served(raw: Mapping[str, object], target: str | None) -> Selection:
    """Return what a resource serves on a target: what to pin.

    Raises:
        NothingSelected, CliError: As target_of; or nothing is selected there.
    """
    found = target_of(raw, target)
    whose = f"{name_of(raw)}, target {found.name}"
    if found.artifact is None and found.published is None:
        raise NothingSelected(f"{whose}: nothing is selected: its Ready condition says why")
    artifact = found.artifact
    return Selection(
        whose=whose,
        artifact=artifact.digest if artifact else None,
        uri=artifact.uri if artifact else None,
        published=found.published.reference if found.published else None,
    )


def behind(raw: Mapping[str, object], target: str | None) -> str | None:
    """Return that what is published is not what is selected; None where it is."""
    found = target_of(raw, target)
    if found.published is None or found.artifact is None:
        return None
    if found.published.selected == found.artifact.digest:
        return None
    return (
        f"{name_of(raw)}, target {found.name}: {found.artifact.variant} "
        f"({found.artifact.digest[:19]}) is selected and not published yet; its Published "
        "condition says why"
    )


def artifact_of(raw: Mapping[str, object], target: str | None) -> Artifact:
    """Return the file that a resource serves on a target.

    Raises:
        NothingSelected, CliError: As target_of; or nothing is selected there.
    """
    found = target_of(raw, target)
    if found.artifact is None:
        raise NothingSelected(
            f"{name_of(raw)}, target {found.name}: nothing is selected: its Ready condition says "
            "why"
        )
    return found.artifact


def artifact_of_result(result: MeasureResult, target: str | None) -> Artifact:
    """Return the file that a result.json selects.

    Raises:
        CliError: It is of another target, or selects nothing.
    """
    if target not in (None, result.target):
        raise CliError(f"the result is of target {result.target}, not {target}")
    if result.selected is None:
        raise CliError("the result selects nothing: no variant passed", ExitCode.NO_WINNER)
    chosen = next((v for v in result.everyone if v.name == result.selected), None)
    if chosen is None or chosen.artifact is None:
        what = "the source model" if result.selected == BASELINE else result.selected
        raise NothingSelected(f"the result names no file of {what}")
    return chosen.artifact


def previous(raw: Mapping[str, object], target: str | None, to: str | None) -> SelectionRecord:
    """Return an earlier selection on a target.

    Args:
        to: How many selections back, from 1, which is also the default; or how the digest of a
            file, result or image begins.

    Raises:
        NoSuchSelection: There is none, or several begin so.
        NothingSelected, CliError: As target_of.
    """
    found = target_of(raw, target)
    whose = f"{name_of(raw)}, target {found.name}"
    now = found.artifact.digest if found.artifact else None
    earlier = before(status_of(raw).history, found.name, now)
    if to is not None and not (to.isdecimal() and len(to) < _LEAST_DIGITS):
        return _by_digest(earlier, to, whose)
    back = int(to or 1)
    if not 1 <= back <= len(earlier):
        there = f"status.history has {len(earlier)} earlier" if earlier else "there is none"
        raise NoSuchSelection(f"{whose}: no selection {back} before the present one: {there}")
    return earlier[back - 1]


def before(
    history: Sequence[SelectionRecord], target: str, now: str | None
) -> list[SelectionRecord]:
    """Return a target's selections before the present one, the last one first.

    Args:
        now: Digest of the file that is served; None where there is none.
    """
    records = [record for record in history if record.target == target]
    # The newest is what is served, unless nothing is.
    present = next((i for i, r in enumerate(records) if now is not None and r.artifact == now), -1)
    return records[present + 1 :]


def _by_digest(earlier: Sequence[SelectionRecord], wanted: str, whose: str) -> SelectionRecord:
    digits = wanted.removeprefix("sha256:").lower()
    if len(digits) < _LEAST_DIGITS:
        raise NoSuchSelection(f"--to {wanted}: give {_LEAST_DIGITS} digits of the digest or more")
    found = [r for r in earlier if any(d.startswith(digits) for d in _digests(r))]
    if not found:
        known = ", ".join(str(r.artifact)[:19] for r in earlier) or "nothing"
        raise NoSuchSelection(f"{whose}: no earlier selection is {wanted}: there is {known}")
    if len({(r.artifact, r.published) for r in found}) > 1:
        raise NoSuchSelection(f"{whose}: several selections begin with {wanted}: give more digits")
    return found[0]


def _digests(record: SelectionRecord) -> list[str]:
    published = record.published.rpartition("@")[2] if record.published else None
    named = (record.artifact, record.report, published)
    return [digest.removeprefix("sha256:") for digest in named if digest]


def selection_of(record: SelectionRecord, resource: str) -> Selection:
    """Return an earlier selection as Git may name it."""
    return Selection(
        whose=f"{resource}, target {record.target}, selection of {record.time}",
        artifact=record.artifact,
        uri=record.uri,
        published=record.published,
    )
