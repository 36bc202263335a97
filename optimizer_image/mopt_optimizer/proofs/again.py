"""Measures a published form again: the plan that the statement gives, and the two results. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.enums import TargetKind
from mopt_api.figures import SourceInfo
from mopt_api.jobs.measure_result import BASELINE, MeasureResult, VariantResult
from mopt_api.jobs.plan import MeasurePlan
from mopt_api.jobs.prepare_result import KindArtifacts, PreparedArtifact, PrepareResult
from mopt_api.metrics import METRICS
from mopt_optimizer.errors import ProofRefused

from .checks import Check

_DECIBELS = "dB"
_TOLERANCE = {_DECIBELS: 0.01}
_OTHER_TOLERANCE = 1e-4
_BEYOND_FP32 = 100.0
"""Decibels above which results differ by rounding only, which machines do differently."""
_FORM = "published"


@dataclass(frozen=True)
class Places:
    """What a stranger has, as file:// URIs.

    Attributes:
        source: The source model.
        data: The evaluation data.
        references: The ground truth, where quality was compared with it.
        output: A folder for results; the form lies in it as a blob.
    """

    source: str
    data: str
    output: str
    references: str | None = None


def manifest_of(quality: Mapping[str, Any]) -> PrepareResult:
    """Return the manifest by which a measurement runs the published form and nothing else.

    Raises:
        ProofRefused: The form is not one that can be measured from its file.
    """
    form, kind = quality["form"], TargetKind(quality["target"]["kind"])
    if form["name"] == BASELINE:
        raise ProofRefused("the image holds the source model, so there is nothing to compare")
    if form.get("format") == ArtifactFormat.TENSORRT_ENGINE or kind is TargetKind.BUILD_ONLY:
        raise ProofRefused("an engine is built where it is measured; run mopt run there")
    try:
        source = {
            **quality["source"],
            "sha256": quality["source"]["digest"].removeprefix("sha256:"),
        }
        return PrepareResult(
            source=SourceInfo.model_validate(source),
            artifacts=[PreparedArtifact(name=_FORM, artifact=Artifact.model_validate(form))],
            artifacts_by_kind={kind: KindArtifacts(artifacts={form["name"]: _FORM})},
        )
    except (ValidationError, LookupError) as error:
        raise ProofRefused(f"the statement does not say what was measured: {error}") from error


def plan_of(quality: Mapping[str, Any], prepared: str, places: Places) -> MeasurePlan:
    """Return the plan of the measurement on a stranger's machine.

    Args:
        prepared: Digest of manifest_of, stored under the output.

    Raises:
        ProofRefused: The statement does not have the plan, or ground truth is missing.
    """
    planned = dict(quality.get("measurement") or {})
    if planned.get("references") and places.references is None:
        raise ProofRefused("quality was compared with ground truth: name it with --references")
    moved = {"model": places.source, "evaluation": places.data, "references": places.references}
    for field, uri in moved.items():
        if planned.get(field) and planned[field]["uri"] != uri:
            # A stranger's data is a folder.
            archive = {} if field == "model" else {"sha256": None}
            planned[field] = planned[field] | {"uri": uri} | archive
    planned |= {"prepared": prepared, "outputUri": places.output}
    try:
        return MeasurePlan.model_validate(planned)
    except ValidationError as error:
        raise ProofRefused(f"the statement's measurement is none: {error}") from error


def compared(quality: Mapping[str, Any], again: MeasureResult) -> Iterator[Check]:
    """Yield what holds of a statement beside a second measurement."""
    data = {
        "evaluation": again.evaluation_digest,
        "references": again.references_digest,
    }
    for kind, found in data.items():
        stated = (quality["data"].get(kind) or {}).get("digest")
        if stated is not None or found is not None:
            message = f"{found or 'none'}, stated {stated or 'none'}"
            yield Check(f"{kind} data here", stated == found, message)
    name = quality["form"]["name"]
    variant = next((each for each in again.variants if each.name == name), None)
    if variant is None or not variant.quality:
        why = "it has no result" if variant is None else variant.message or variant.state
        yield Check(f"{name} measured here", False, why)
        return
    for figure in quality["quality"]["figures"]:
        yield _figure(figure, variant)
    yield _speed(quality, again, variant)


def _figure(stated: Mapping[str, Any], variant: VariantResult) -> Check:
    of = [stated.get(key) for key in ("metric", "slice", "output")]
    name = f"{' of '.join(filter(None, of))} measured here"
    found = next((q for q in variant.quality if [q.metric.value, q.slice, q.output] == of), None)
    if found is None:
        return Check(name, False, "it was not computed")
    unit = METRICS[found.metric].unit
    tolerance = _TOLERANCE.get(unit, _OTHER_TOLERANCE)
    pairs = [(stated["worst"], found.worst), (stated["mean"], found.mean)]
    holds = all(
        abs(a - b) <= tolerance or (unit == _DECIBELS and min(a, b) >= _BEYOND_FP32)
        for a, b in pairs
    )
    (worst, worst_here), (mean, mean_here) = pairs
    message = (
        f"worst {worst_here:.10g}, stated {worst:.10g}; mean {mean_here:.10g}, stated {mean:.10g}"
    )
    return Check(name, holds, message)


def _speed(quality: Mapping[str, Any], again: MeasureResult, variant: VariantResult) -> Check:
    stated = quality.get("speed") or {}
    here, before = variant.speedup, stated.get("speedup")
    if here is None or before is None:
        return Check("speedup measured here", True, "none is stated, or none was measured here")
    machine = "this kind of CPU" if _same(quality, again) else "another kind of machine"
    interval = stated.get("interval")
    if not interval:
        message = (
            f"{here:.3g} on {machine}, stated {before:.3g}; no interval is known to hold it to"
        )
        return Check("speedup measured here", True, message)
    low, high = interval
    return Check(
        "speedup measured here",
        low <= here <= high,
        f"{here:.3g} on {machine}, stated {before:.3g} within {low:.3g} to {high:.3g}",
    )


def _same(quality: Mapping[str, Any], again: MeasureResult) -> bool:
    return bool(quality["hardware"].get("cpu") == again.hardware.cpu)


def file_uri(path: Path) -> str:
    """Return a path as file:// URI."""
    return path.absolute().as_uri()
