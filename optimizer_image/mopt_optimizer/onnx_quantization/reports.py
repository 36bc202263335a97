"""What a search for layers that stay FP32 found out. Immutable."""

from __future__ import annotations

from dataclasses import dataclass, field

from mopt_api.enums import QualityMetric
from mopt_api.spec import QualityGate


@dataclass(frozen=True)
class LayerSensitivity:
    """Quality cost of one layer in INT8.

    Attributes:
        name, op, macs: As in Layer; MACs for the first calibration sample's shapes.
        quality_alone: Quality of the model with only this layer in INT8; in a search, of the model
            with its group, where that adds so little noise that nobody needs to look closer.
        noise_share: Its share of the summed noise of all layers, 0 to 1.
        excluded: Whether it stays FP32 in the chosen model.
    """

    name: str
    op: str
    macs: int
    quality_alone: float
    noise_share: float
    excluded: bool


@dataclass(frozen=True)
class GateReport:
    """What a search reached for one gate; as in Judge.qualities, the maximum error is negated.

    Attributes:
        quality_all_int8: With every layer in INT8.
        quality: Of the chosen model on the search samples.
        held_back: Of the chosen model on samples that nothing was chosen by; None without them.
        required: The gate's minimum plus the margin; None where nothing was searched.
    """

    gate: QualityGate
    quality_all_int8: float
    quality: float
    held_back: float | None
    required: float | None


@dataclass(frozen=True)
class SensitivityReport:
    """Sensitivity of the layers, and the chosen model.

    Attributes:
        gates: One per gate; of an analysis without a gate, the PSNR.
        strictest: Index of the gate that is held least with every layer in INT8. Qualities are in
            its metric.
        layers: In graph order; empty if the gates held with every layer in INT8.
        fault: What is wrong with the model that has every layer in INT8, whatever its gates say.
        exclude: Names of the nodes that stay FP32.
        int8_mac_share: Share of the layers' multiply-accumulates in INT8, 0 to 1.
        trials: Number of models written and judged.
        ended: Whether the budget ended the search.
        seconds: That it took.
        budget_seconds: That budget; None without one.
        from_start: What stayed FP32 with other weights was enough: no layers were ranked for it.
    """

    gates: tuple[GateReport, ...]
    strictest: int
    layers: tuple[LayerSensitivity, ...]
    fault: str | None
    exclude: tuple[str, ...]
    int8_mac_share: float
    trials: int
    ended: bool
    seconds: float = field(compare=False)
    budget_seconds: float | None
    from_start: bool = False

    @property
    def metric(self) -> QualityMetric:
        """Metric of the qualities; dB for PSNR, negated for MaxAbsError."""
        return self.gates[self.strictest].gate.metric

    @property
    def quality_all_int8(self) -> float:
        """Quality with every layer in INT8."""
        return self.gates[self.strictest].quality_all_int8

    @property
    def quality(self) -> float:
        """Quality of the chosen model on the search samples."""
        return self.gates[self.strictest].quality

    @property
    def required(self) -> float | None:
        """Target of the search: the gate's minimum plus the margin; None without a gate."""
        return self.gates[self.strictest].required

    def table(self) -> str:
        """Return the layers as a text table, noisiest first."""
        rows = [f"{'layer':40} {'op':14} {'MACs':>14} {'alone':>8} {'noise':>7}  stays FP32"]
        rows += [
            f"{layer.name[:40]:40} {layer.op:14} {layer.macs:14d} {layer.quality_alone:8.2f} "
            f"{layer.noise_share:7.1%}  {'yes' if layer.excluded else ''}".rstrip()
            for layer in sorted(self.layers, key=lambda layer: -layer.noise_share)
        ]
        return "\n".join(rows)
