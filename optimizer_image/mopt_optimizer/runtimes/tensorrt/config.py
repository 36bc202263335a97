"""Engine build options. Pure: importing this loads neither TensorRT nor a runtime."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from mopt_api.enums import Precision
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import SpecError
from mopt_optimizer.onnx_quantization.calibration import PERCENTILE, Calibration

HIGHEST_LEVEL = 5
PRECISIONS: dict[str, tuple[str, ...]] = {
    "fp32": (),
    "fp16": ("fp16_mode",),
    "bf16": ("bf16_mode",),
    "int8": ("int8_mode",),
    "int8+fp16": ("int8_mode", "fp16_mode"),
    "fp8": ("fp8_mode",),
    "fp8+fp16": ("fp8_mode", "fp16_mode"),
}
"""optimize_tensorrt's precision names, and the modes that each sets."""


class HardwareCompatibility(StrEnum):
    """GPUs that a `tensorrt` engine runs on; RTX has compute_capabilities instead."""

    NONE = "None"
    """The GPU it was built on."""
    SAME_COMPUTE_CAPABILITY = "SameComputeCapability"
    """All GPUs of that compute capability."""
    AMPERE_PLUS = "AmperePlus"
    """Compute capability 8.0 and newer; costs speed."""


@dataclass(frozen=True)
class TensorRTConfig:
    """How to build an engine.

    Set one of fp16_mode, bf16_mode, int8_mode and fp8_mode, or none for FP32. int8_mode and
    fp8_mode can be combined with fp16_mode: what stays out of 8 bits is then FP16 instead of FP32.

    Attributes:
        fp16_mode: Compute in FP16 where that is safe; see onnx_quantization.convert_float.
        bf16_mode: Likewise in BF16.
        int8_mode: Explicit Q/DQ nodes, with ranges from calibration data.
        fp8_mode: Likewise in E4M3FN, where TensorRT supports it; see fp8.why_not_fp8. Requires
            compute capability 8.9 or newer.
        tf32: Let FP32 layers multiply in TF32 (10-bit mantissa), as TensorRT does by default.
        workspace_bytes: Limit on a layer's scratch memory; None is the GPU's memory.
        optimization_level: 0 builds fastest, 5 searches longest; None is TensorRT's default.
        timing_cache: Folder in which `tensorrt` keeps kernel timings, to speed up the next build;
            one file per version, GPU model and CUDA version. Not with RTX.
        version_compatible: The engine runs on newer TensorRT of the same major version. Not with
            RTX.
        hardware_compatibility: See HardwareCompatibility. Not with RTX.
        compute_capabilities: Target GPUs, which need not be present, such as "8.9". Only with RTX;
            empty leaves it to RTX.
        backend: "tensorrt" or "tensorrt_rtx"; None takes the first that is installed.
        calibration: How INT8 and FP8 ranges are chosen. BEST tries each method and keeps the one
            whose outputs are closest to FP32's.
        percentile: For Calibration.PERCENTILE.
        per_channel: In INT8 and FP8, one weight scale per output channel, or one per tensor; None
            is the first for INT8 and the second for FP8.
        exclude: Names of nodes that INT8, FP8, FP16 or BF16 leave in FP32.
        gate: Layers are kept out of INT8 or FP8 until it holds; None quantizes all.
    """

    fp16_mode: bool = False
    bf16_mode: bool = False
    int8_mode: bool = False
    fp8_mode: bool = False
    tf32: bool = True
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = HardwareCompatibility.NONE
    compute_capabilities: tuple[str, ...] = ()
    backend: str | None = None
    calibration: Calibration = Calibration.BEST
    percentile: float = PERCENTILE
    per_channel: bool | None = None
    exclude: tuple[str, ...] = ()
    gate: QualityGate | None = None

    @classmethod
    def of(cls, precision: str, **options: Any) -> Self:
        """Return a config for a precision name and further options.

        Args:
            precision: A key of PRECISIONS.

        Raises:
            SpecError: Unknown precision or option, or an invalid value.
        """
        modes = PRECISIONS.get(precision)
        if modes is None:
            raise SpecError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
        allowed = [f.name for f in fields(cls) if not f.name.endswith("_mode")]
        if unknown := [name for name in options if name not in allowed]:
            raise SpecError(f"{unknown} are no options; there are {', '.join(allowed)}")
        chosen: dict[str, Any] = {**options, **dict.fromkeys(modes, True)}
        return cls(**chosen)

    def __post_init__(self) -> None:
        """Validate the values.

        Raises:
            SpecError: Names the field, the value and what is allowed.
        """
        if self.bf16_mode and (self.fp16_mode or self.int8_mode or self.fp8_mode):
            raise SpecError(
                "bf16_mode goes with none of fp16_mode, int8_mode and fp8_mode; choose one"
            )
        if self.int8_mode and self.fp8_mode:
            raise SpecError("int8_mode does not go with fp8_mode; choose one")
        if self.workspace_bytes is not None and self.workspace_bytes < 1:
            raise SpecError(f"workspace_bytes {self.workspace_bytes}: at least 1, or None")
        level = self.optimization_level
        if level is not None and not 0 <= level <= HIGHEST_LEVEL:
            raise SpecError(f"optimization_level {level} is not 0 to {HIGHEST_LEVEL}, or None")
        if isinstance(self.compute_capabilities, str):
            raise SpecError(
                f"compute_capabilities {self.compute_capabilities!r}: give a tuple of them"
            )
        for capability in self.compute_capabilities:
            if not re.fullmatch(r"\d{1,2}\.\d", capability):
                raise SpecError(f"compute_capabilities: {capability!r} is not of the form '8.9'")
        object.__setattr__(self, "compute_capabilities", tuple(self.compute_capabilities))
        if isinstance(self.exclude, str):
            raise SpecError(f"exclude {self.exclude!r}: give a tuple of node names")
        object.__setattr__(self, "exclude", tuple(self.exclude))

    @property
    def eight_bits(self) -> bool:
        """Whether Q/DQ nodes are written."""
        return self.int8_mode or self.fp8_mode

    @property
    def precision(self) -> Precision:
        """The precision of the fastest layers."""
        if self.int8_mode:
            return Precision.INT8
        if self.fp8_mode:
            return Precision.FP8
        if self.fp16_mode:
            return Precision.FP16
        return Precision.BF16 if self.bf16_mode else Precision.FP32
