"""How a model is to be quantized. Pure: importing it loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from mopt_api.inputs import ImageTransform
from mopt_optimizer.errors import SpecError


class QuantizationType(StrEnum):
    """What the weights and activations become."""

    DYNAMIC = "dynamic"
    """Linear: INT8 weights, activations scaled on each call. Conv2d: INT8 weights only."""
    STATIC = "static"
    """INT8 weights and activations, whose scales come from calibration data."""
    FP16 = "fp16"
    """Half precision: half the bytes; on most CPUs slower than FP32."""
    BF16 = "bf16"
    """bfloat16: half the bytes; faster where the CPU computes in it."""

    @property
    def is_int8(self) -> bool:
        """Whether weights become integers."""
        return self in (QuantizationType.DYNAMIC, QuantizationType.STATIC)


class Backend(StrEnum):
    """Whose integer kernels the ranges are made for, by PyTorch's names of them."""

    AUTO = "auto"
    X86 = "x86"
    FBGEMM = "fbgemm"
    ONEDNN = "onednn"
    QNNPACK = "qnnpack"


class Execution(StrEnum):
    """What runs the quantized graph."""

    AUTO = "auto"
    """Compiled by Inductor; eager where that fails, with a warning and the reason kept."""
    COMPILE = "compile"
    """Compiled by Inductor, or an error."""
    EAGER = "eager"
    """Operator by operator: for INT8 far slower than FP32, for checks only."""


@dataclass(frozen=True)
class QuantizationConfig:
    """How to quantize.

    Attributes:
        quantization_type: See QuantizationType.
        backend: AUTO takes what fits this CPU.
        per_channel: INT8 weights get a scale per output channel instead of one per tensor.
        exclude: Patterns of module names (as in named_modules, * and ? as in a shell) that keep
            FP32, with all they contain. Each must match a module.
        fuse: Fold Conv+BatchNorm, and ReLU behind Conv or Linear, before quantizing.
        dynamic_shapes: Sizes of the inputs stay free where the model allows it; False fixes them
            to those of the first sample.
        execution: See Execution.
        narrow_sums: INT8 is for CPUs that add products in 16 bits: activations have 7 bits. False
            is for those that add in 32; None for CPUs such as this one.
        calibration_samples: Of the data, use at most this many; None is all of it.
        images: How image files of a calibration folder become inputs.
    """

    quantization_type: QuantizationType = QuantizationType.DYNAMIC
    backend: Backend = Backend.AUTO
    per_channel: bool = True
    exclude: tuple[str, ...] = ()
    fuse: bool = True
    dynamic_shapes: bool = True
    execution: Execution = Execution.AUTO
    narrow_sums: bool | None = None
    calibration_samples: int | None = None
    images: ImageTransform = field(default_factory=ImageTransform)

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Return a config from options by name.

        Raises:
            SpecError: An option that is none, or of a wrong value.
        """
        known = [f.name for f in fields(cls)]
        if unknown := [name for name in options if name not in known]:
            raise SpecError(f"{unknown} are no options; there are {', '.join(known)}")
        return cls(**options)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SpecError: Names the field, the value and what is allowed.
        """
        for name, kind in (
            ("quantization_type", QuantizationType),
            ("backend", Backend),
            ("execution", Execution),
        ):
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, kind(value))
            except ValueError as error:
                raise SpecError(f"{name} {value!r} is none of {', '.join(kind)}") from error
        if isinstance(self.exclude, str) or not all(self.exclude):
            raise SpecError(
                f"exclude {self.exclude!r}: give a tuple of module name patterns, none empty"
            )
        object.__setattr__(self, "exclude", tuple(self.exclude))
        if self.calibration_samples is not None and self.calibration_samples < 1:
            raise SpecError(f"calibration_samples {self.calibration_samples}: at least 1, or None")
