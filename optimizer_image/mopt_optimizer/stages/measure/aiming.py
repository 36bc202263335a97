"""What evaluation data showed of forms that were searched by gates. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mopt_api.enums import TargetKind
from mopt_api.figures import AIMED_BY_EVALUATION, MOST_AIM_DECIBELS
from mopt_api.jobs.gates import gate_failure, judged_value
from mopt_api.jobs.measure_result import VariantResult
from mopt_api.jobs.plan import searched_gates
from mopt_api.jobs.prepare_result import FallbackReport, PrepareResult
from mopt_api.jobs.second_search import SHARE_OF_EACH, is_rejected_by_gate
from mopt_api.noise import margin_of, signed
from mopt_api.spec import QualityGate


def with_aims(
    variants: Sequence[VariantResult],
    manifest: PrepareResult,
    kind: TargetKind,
    gates: Sequence[QualityGate],
) -> list[VariantResult]:
    """Return judged variants with how far above their gates a second search would aim; those of a
    second search with what they were aimed by."""
    aimed, artifacts = {*manifest.aimed_on(kind)}, manifest.artifacts_on(kind)
    searches = {report.name: report.fallbacks for report in manifest.quantizations}

    def shown(variant: VariantResult) -> VariantResult:
        if variant.name in aimed:
            return variant.model_copy(update={"aimed_by": AIMED_BY_EVALUATION})
        search = searches.get(artifacts.get(variant.name, ""), [])
        decibels = decibels_to_aim(variant, search, gates) if search else None
        return variant.model_copy(update={"aim_decibels": decibels})

    return [shown(variant) for variant in variants]


def decibels_to_aim(
    variant: VariantResult, search: Sequence[FallbackReport], gates: Sequence[QualityGate]
) -> int | None:
    """Return by how many dB a second search must aim above the gates that a variant misses.

    That is by how much its noise on evaluation data is above that on calibration data, rounded up,
    of the gate where it is most. None where it misses none, or one that no search can hold; where
    the data differs too much, or calibration data shows no noise at all that could be lowered; and
    where the budget has no time left for another search.

    Args:
        search: The report of its search, one per gate; not empty.
    """
    if not is_rejected_by_gate(variant) or not _has_time(search[0]):
        return None
    missed = [gate for gate in gates if gate_failure(gate, variant.quality)]
    short = [_shortfall(gate, variant, search) for gate in missed]
    if len(searched_gates(missed)) < len(missed) or None in short:
        return None
    # To noise and back costs the last digits.
    most = round(max(filter(None, short), default=0.0), 6)
    return math.ceil(most) if 0 < most <= MOST_AIM_DECIBELS else None


def _has_time(search: FallbackReport) -> bool:
    """Return whether a search as long as the first fits into what is left of the budget."""
    if search.budget_seconds is None:
        return True
    spent = search.seconds
    return spent is not None and spent <= SHARE_OF_EACH * search.budget_seconds


def _shortfall(
    gate: QualityGate, variant: VariantResult, search: Sequence[FallbackReport]
) -> float | None:
    """Return by how many dB a variant is noisier on evaluation data than it was on calibration
    data, or than the gate allows, where that is more; None where either is not known."""
    known = next((report for report in search if _is_of(report, gate)), None)
    value = judged_value(gate, variant.quality)
    if known is None or value is None:
        return None
    calibrated = min(  # Infinite without noise: the difference is then beyond any aim.
        margin_of(signed(gate.metric, quality), gate)
        for quality in (known.quality, known.held_back)
        if quality is not None
    )
    return max(calibrated, 0.0) - margin_of(signed(gate.metric, value), gate)


def _is_of(report: FallbackReport, gate: QualityGate) -> bool:
    mine = (report.metric, report.aggregate, report.output, report.slice)
    return mine == (gate.metric, gate.aggregate, *gate.part)
