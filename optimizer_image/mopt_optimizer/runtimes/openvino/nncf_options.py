"""How NNCF quantizes, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mopt_optimizer.onnx_quantization.gated import Gating
from mopt_optimizer.onnx_quantization.reports import SensitivityReport


class NncfRanges(StrEnum):
    """How ranges of activations are chosen: NNCF's default, which is between means and extremes of
    the samples; or those of least squared error over histograms."""

    DEFAULT = "Default"
    HISTOGRAM = "Histogram"


@dataclass(frozen=True)
class NncfOptions:
    """Quantization options.

    Attributes:
        symmetric: All activations are symmetric around 0; otherwise only those where NNCF expects
            both signs.
        bias_correction: Shift each layer's bias by the mean quantization error.
        full_correction: Of each layer in turn, with those before it quantized and corrected: slow,
            and better where convolutions are depthwise.
        ranges: Of activations.
        transformer: Use NNCF's rules for transformers. They include SmoothQuant, which helps some
            encoders and ruins others: compare the quality.
        narrow_sums: All weights have 7 bits, for x86 CPUs that add products in 16 bits; otherwise
            only those of the first convolutions, which is NNCF's default.
        exclude: Names of ONNX nodes that stay FP32.
        best: Try each way to choose ranges, and full_correction where convolutions are depthwise:
            made from one half of some samples, compared on the other; the best is then made from
            all samples. For .onnx only; of fewer than four samples, nothing is tried.
        gating: Quality gates that layers stay FP32 for; for .onnx only.
    """

    symmetric: bool = False
    bias_correction: bool = True
    full_correction: bool = False
    ranges: NncfRanges = NncfRanges.DEFAULT
    transformer: bool = False
    narrow_sums: bool = False
    exclude: tuple[str, ...] = ()
    best: bool = False
    gating: Gating = field(default_factory=Gating)


@dataclass(frozen=True)
class NncfReport:
    """What was written.

    Attributes:
        path: The .onnx, or the .xml with its weights next to it as .bin.
        samples: Number of calibration samples.
        fake_quantizers: Number of quantized activations (FakeQuantize or QuantizeLinear).
        kept: Nodes that stay FP32 since calibration cannot know what they compute, with the reason
            for each.
        options: As it was made; of best, what was chosen.
        sensitivity: The search for the gates; None without a gate.
    """

    path: Path
    samples: int
    fake_quantizers: int
    kept: Mapping[str, str]
    options: NncfOptions
    sensitivity: SensitivityReport | None = None
