"""What other weights of a graph tell: which variants need not be made, and which layers may stay
FP32 in those that are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pydantic import ValidationError

from mopt_api.auto.int8 import cpu_class
from mopt_api.auto.search import search
from mopt_api.enums import TargetKind
from mopt_api.jobs.outrun import Measured, outrun_by
from mopt_api.jobs.plan import PreparePlan
from mopt_api.jobs.prepare_result import Outrun, PrepareResult
from mopt_optimizer.errors import DigestMismatch, ObjectNotFound
from mopt_optimizer.machine.system import own_cpu_class
from mopt_optimizer.progress import Log
from mopt_optimizer.stages.history import recall
from mopt_optimizer.stages.step_keys import history_key
from mopt_optimizer.stages.steps import ExportEntry
from mopt_optimizer.store.blobs import Blobs

from .manifest import known_manifest


@dataclass(frozen=True)
class OtherWeights:
    """What other weights tell; empty where they tell nothing.

    Attributes:
        outrun: Variants that cannot win, by the kind of target.
        starts: Nodes that stayed FP32, by the name of the artifact.
    """

    outrun: dict[TargetKind, Outrun] = field(default_factory=dict)
    starts: dict[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.outrun or self.starts)


class ManifestKey(Protocol):
    """Returns the index name of a plan's manifest; see step_keys.manifest_key."""

    def __call__(self, *, warm: bool) -> str: ...


def told_before(blobs: Blobs, key: ManifestKey) -> OtherWeights | None:
    """Return what a plan's manifest in the store was made by; None where there is none.

    The same is used again, whatever was measured since: so the same plan is served whole.

    Raises:
        StoreError.
    """
    for warm in (True, False):
        if (known := known_manifest(blobs, key(warm=warm))) is not None:
            return OtherWeights(known[0].outrun, known[0].starts)
    return None


def told_by_others(
    plan: PreparePlan,
    export: ExportEntry,
    blobs: Blobs,
    software: Mapping[str, str],
    now: datetime,
    log: Log,
) -> OtherWeights:
    """Return what measurements of other weights tell; log what is left out.

    Args:
        plan: Auto chose its variants.
        software: Of this run.
        now: With its time zone.

    Raises:
        StoreError.
    """
    outrun: dict[TargetKind, Outrun] = {}
    latest: list[Measured] = []
    for kind in plan.kinds:
        if plan.search is None or plan.question is None or kind is TargetKind.BUILD_ONLY:
            continue
        key = history_key(export.graph, plan.question, kind, software)
        history = [one for one in recall(blobs, key, now) if _counts(one, plan, kind)]
        latest += history
        facts = plan.search.model_copy(update={"kind": kind, "operators": export.operators})
        tried = [candidate.variant.name for candidate in search(facts) if candidate.taken]
        if variants := outrun_by(history, tried):
            hardware = sorted({one.hardware for one in history})
            outrun[kind] = Outrun(variants=variants, hardware=hardware)
        for name, reason in variants.items():
            log("prepare", f"{name} is not made for {kind}: {reason}", variant=name)
    newest = max(latest, key=lambda one: one.result.measured_at or "", default=None)
    return OtherWeights(outrun, _starts(newest, blobs) if newest else {})


def _starts(measured: Measured, blobs: Blobs) -> dict[str, list[str]]:
    """Return which nodes stayed FP32 in the forms of a measurement, by the artifact's name."""
    try:
        manifest = PrepareResult.model_validate_json(blobs.read(measured.result.prepared))
    except (ObjectNotFound, DigestMismatch, ValidationError):
        return {}
    return {
        report.name: sorted(report.fallbacks[0].exclude)
        for report in manifest.quantizations
        if report.fallbacks and report.fallbacks[0].exclude and not report.aimed
    }


def _counts(measured: Measured, plan: PreparePlan, kind: TargetKind) -> bool:
    """Return whether a measurement is of other weights, on a CPU of a class that the plan is for.

    Of the same weights nothing is left out by themselves: a second search sees what the first saw.
    """
    if measured.result.source.sha256 == plan.model.sha256:
        return False
    hardware = measured.result.hardware
    mine = cpu_class(hardware.architecture or "", hardware.cpu_features)
    return kind is not TargetKind.CPU or mine in (plan.cpu_classes or [own_cpu_class()])
