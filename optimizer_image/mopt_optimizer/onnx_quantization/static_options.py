"""Options and report of static INT8 and FP8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mopt_api.spec import QualityGate

from .calibration import PERCENTILE, Calibration
from .qdq import Scheme
from .reports import SensitivityReport


@dataclass(frozen=True)
class StaticOptions:
    """Quantization options.

    Attributes:
        calibration: How ranges are chosen from the observed values.
        percentile: Of the magnitudes, for Calibration.PERCENTILE; above 0, at most 100.
        scheme: AUTO picks the one for this CPU. FP8 raises an older opset to 19.
        per_channel: One scale per output channel of a weight.
        exclude: Names of nodes that always stay FP32.
        layer_outputs: Also quantize the output of a Conv, ConvTranspose, Gemm or MatMul before its
            activation function. ONNX Runtime runs INT8 convolutions only this way; OpenVINO and
            TensorRT fuse the activation and are faster and more accurate without.
        biases: Write a layer's bias as 32-bit integers. TensorRT expects it in float.
        bias_correction: Add to each layer's bias what 8 bits lose on average; see bias_correction.
            Not for FP8, whose errors are as often above as below.
        layers_only: Only Conv, ConvTranspose, Gemm and MatMul read INT8, plus what is added to
            their output, as TensorRT fuses it; requires Scheme.S8S8 or FP8.
        operators: Operator types to quantize; None for all that ONNX Runtime's quantizer supports.
        gates: Quality gates: layers stay FP32 until all hold. None quantizes everything.
        margin_db: Least noise margin in dB below the gates' limits, for data that the search did
            not see; see unseen.lost_on_unseen for what raises it.
        search_samples: Number of calibration samples, spread evenly, that gates are tried on; half
            as many more are held back for the chosen model, see splitting.
        search_macs: Use fewer of them, at least 2, if judging every layer once would take more
            multiply-accumulates than this; None for no limit.
        search_seconds: The search ends after this time with the best that it found; the file is
            then another on a slower machine. None derives it from the FP32 model's time, see
            budget.default_seconds; math.inf is without end.
        again: A second search, its gates raised by what unseen data showed; see gated.
        start: Names of nodes that stayed FP32 with other weights of the graph; tried first.
    """

    calibration: Calibration = Calibration.MIN_MAX
    percentile: float = PERCENTILE
    scheme: Scheme = Scheme.AUTO
    per_channel: bool = True
    exclude: tuple[str, ...] = ()
    layer_outputs: bool = True
    biases: bool = True
    bias_correction: bool = True
    layers_only: bool = False
    operators: tuple[str, ...] | None = None
    gates: tuple[QualityGate, ...] = ()
    margin_db: float = 0.5
    search_samples: int = 16
    search_macs: int | None = None
    search_seconds: float | None = None
    again: bool = False
    start: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile {self.percentile} is not above 0 and at most 100")
        if self.search_seconds is not None and not self.search_seconds > 0:
            raise ValueError(f"search_seconds {self.search_seconds} is not above 0")
        if self.search_samples < 1:
            raise ValueError("search_samples must be 1 at least")
        if self.layers_only and not self.scheme.symmetric:
            raise ValueError(
                f"layers_only is symmetric: with scheme S8S8 or FP8, not {self.scheme}"
            )


@dataclass(frozen=True)
class StaticReport:
    """Result of a static quantization.

    Attributes:
        path: The output file.
        calibration: Method of the ranges used; never BEST.
        scheme: Never AUTO.
        samples: Number of calibration samples.
        quantized_nodes: Number of FP32 nodes that became INT8 or FP8.
        kept: Nodes that stay FP32 since calibration cannot know their ranges, each with why.
        sensitivity: The search for the gates; None without a gate.
        evaluation_quality: In the metric of sensitivity, PSNR without it, on the evaluation
            samples; None without them.
        gate_holds: Whether all gates do, without margin, on the evaluation samples or, without
            them, on the search samples; None without a gate.
    """

    path: Path
    calibration: Calibration
    scheme: Scheme
    samples: int
    quantized_nodes: int
    kept: Mapping[str, str]
    sensitivity: SensitivityReport | None
    evaluation_quality: float | None
    gate_holds: bool | None
