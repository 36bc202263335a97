"""What was done to a model, in words and names. Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from .config import Backend, QuantizationType

Pattern = Literal["Conv+BN", "Conv+BN+ReLU", "Conv+ReLU", "Linear+ReLU"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fusion(_Record):
    """One fusion.

    Attributes:
        modules: Names of the modules, in the order they ran; a function's is that of its node.
    """

    pattern: Pattern
    modules: tuple[str, ...]


class FusionReport(_Record):
    """What was fused.

    Attributes:
        rolled_back: Found, but the outputs were no longer the same.
        untraceable: Modules that torch.fx cannot trace, each with the reason; "" is the model
            itself. What they contain was searched on its own.
        max_abs_error: Between the outputs before and after, over all outputs.
    """

    fused: tuple[Fusion, ...] = ()
    rolled_back: tuple[Fusion, ...] = ()
    untraceable: dict[str, str] = {}
    max_abs_error: float = 0.0


class InputSignature(_Record):
    """An input of the quantized model.

    Attributes:
        dtype: Such as float32.
        shape: A number where the size is fixed, a symbol where it is free.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class QuantizationReport(_Record):
    """What was quantized, and how well.

    Attributes:
        backend: Of INT8; None for FP16 and BF16.
        reduced_range: Activations use 7 of 8 bits: the CPU's kernels would saturate otherwise.
        quantized: Modules whose weights and activations are in the narrow type.
        weight_only: Modules whose weights alone are; they compute in FP32.
        kept: Modules with weights that stay FP32, the excluded ones among them.
        samples: Calibration samples used.
        sqnr_db: Signal-to-noise ratio against FP32 on the first sample, worst output, in dB.
        notes: What the user should know: slow precision, modules of no use.
    """

    quantization_type: QuantizationType
    backend: Backend | None = None
    reduced_range: bool = False
    quantized: tuple[str, ...] = ()
    weight_only: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    samples: int = 0
    sqnr_db: float
    inputs: tuple[InputSignature, ...]
    fusion: FusionReport = FusionReport()
    notes: tuple[str, ...] = ()
