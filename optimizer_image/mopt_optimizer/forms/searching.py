"""The search for layers that stay FP32: what it may cost in prepare, and its report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mopt_api.jobs.aim import GateAim, aim_of
from mopt_api.jobs.prepare_result import FallbackReport, LayerReport
from mopt_api.noise import signed
from mopt_api.spec import QualityGate
from mopt_optimizer.onnx_quantization import GateReport, SensitivityReport

_MAX_LAYERS = 512
# The search writes and runs one model per layer: half a minute on 2 cores for SRVGG x4, about 2
# minutes for a larger model, which is then tried on fewer samples.
SEARCH_SAMPLES = 8
SEARCH_MACS = 20_000_000_000_000


def fallback_reports(
    found: SensitivityReport, gates: Sequence[QualityGate], aims: Sequence[GateAim]
) -> list[FallbackReport]:
    """Return one report per gate; that of the strictest has the layers."""
    noisiest = sorted(found.layers, key=lambda layer: -layer.noise_share)[:_MAX_LAYERS]
    layers = [LayerReport.model_validate(vars(layer)) for layer in noisiest]
    return [
        _fallback(gate, report, found, layers if index == found.strictest else []).model_copy(
            update={"aim_decibels": aim_of(gate, aims)}
        )
        for index, (gate, report) in enumerate(zip(gates, found.gates, strict=True))
    ]


def _fallback(
    gate: QualityGate, report: GateReport, found: SensitivityReport, layers: list[LayerReport]
) -> FallbackReport:
    # The search negates metrics where lower is better; a report has their own values.
    own = partial(signed, gate.metric)
    return FallbackReport(
        metric=gate.metric,
        aggregate=gate.aggregate,
        output=gate.output,
        slice=gate.slice and gate.slice.name,
        minimum=gate.minimum,
        maximum=gate.maximum,
        required=None if report.required is None else own(report.required),
        quality_all_int8=own(report.quality_all_int8),
        quality=own(report.quality),
        held_back=None if report.held_back is None else own(report.held_back),
        int8_mac_share=found.int8_mac_share,
        trials=found.trials,
        seconds=found.seconds,
        budget_seconds=found.budget_seconds,
        ended_by_budget=found.ended,
        from_start=found.from_start,
        exclude=list(found.exclude),
        layers=layers,
    )
