"""The search for a form that holds its gates on data it has not seen, and what it ended with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mopt_api.jobs.second_search import SHARE_OF_EACH
from mopt_api.metrics import metric_in_words
from mopt_api.noise import minimum_with_margin, signed
from mopt_api.spec import QualityGate
from mopt_optimizer.onnx_files.layers import Layer

from .budget import Budget, default_seconds
from .judging import Judge
from .observing import Sample
from .reports import SensitivityReport
from .sensitivity import search
from .unseen import lost_on_unseen
from .writing import FormWriter, Recalibrate

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Gating:
    """Gates that layers stay FP32 for, and the search for these layers: as StaticOptions has it."""

    gates: tuple[QualityGate, ...] = ()
    margin_db: float = 0.5
    search_samples: int = 16
    search_macs: int | None = None
    search_seconds: float | None = None
    again: bool = False
    start: tuple[str, ...] = ()


def search_with_margin(
    writer: FormWriter,
    layers: Sequence[Layer],
    judge: Judge,
    samples: Sequence[Sample],
    recalibrate: Recalibrate,
    *,
    margin_db: float,
    seconds: float | None,
    again: bool = False,
    held_back: Judge | None = None,
    start: Sequence[str] = (),
) -> SensitivityReport:
    """Choose the layers that stay FP32, with a margin for what the samples do not show.

    Args:
        samples: The judge's.
        margin_db: The least.
        seconds: The search's budget; None derives it from the FP32 model's time.
        again: The gates are raised by what unseen data showed. Half of the budget was the first
            search's.
        held_back: Judges by other samples; None without them.
        start: See search.

    Raises:
        QuantizationError, ComparisonError, SpecError: As Judge.judged.
    """
    seconds = default_seconds(judge.run_seconds) if seconds is None else seconds
    budget = Budget(None if math.isinf(seconds) else seconds * (SHARE_OF_EACH if again else 1.0))
    all_int8 = judge.judged(writer.quantized())
    margin = margin_db
    if not again:
        lost = lost_on_unseen(judge, samples, recalibrate, all_int8)
        margin = max(margin, lost)
    return search(
        writer,
        layers,
        judge,
        all_int8,
        margin=margin,
        budget=budget,
        held_back=held_back,
        start=start,
    )


def out_of_reach(found: SensitivityReport) -> str:
    """Return why a search found nothing, and what to do."""
    fault = f"; with every layer in INT8, {found.fault}" if found.fault else ""
    if found.ended:
        known = metric_in_words(found.metric, signed(found.metric, found.quality_all_int8))
        return (
            f"the search's budget of {found.budget_seconds:g} s ended before it found layers to "
            f"keep in FP32 so that the gate holds; it reached {found.metric} {known} with every "
            f"layer in INT8{fault}; raise searchBudgetSeconds, lower the gate, or use another "
            "precision"
        )
    return (
        f"the gate holds only with every layer in FP32{fault}; lower it, or use another precision"
    )


def verdict(
    quantized: onnx.ModelProto, judge: Judge | None, found: SensitivityReport | None
) -> tuple[float | None, bool | None]:
    """Return the quality on evaluation samples, and whether the gates hold, without margin.

    Args:
        judge: By the evaluation samples; None without them.
        found: None without gates.
    """
    if judge is None:
        return None, None if found is None else _hold((r.gate, r.quality) for r in found.gates)
    judged = judge.judged(quantized)
    qualities = judge.qualities(judged)
    quality = qualities[judge.strictest(judged) if found is None else found.strictest]
    if found is None:
        return quality, None
    pairs = zip(judge.gates, qualities, strict=True)
    return quality, judged.fault is None and _hold(pairs)


def _hold(reached: Iterable[tuple[QualityGate, float]]) -> bool:
    return all(quality >= minimum_with_margin(gate, 0.0) for gate, quality in reached)
