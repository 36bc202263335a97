"""Which variants would be tried on this machine, and which skipped; offline, nothing is opened."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from mopt_api.enums import Precision, QuantizationMode, Runtime
from mopt_api.plan import prepare_plan
from mopt_api.result import VariantReason
from mopt_api.spec import ModelOptimizationSpec, Quantization, Variant
from mopt_optimizer.hardware import has_native_bf16

LIBRARIES = {
    Runtime.PYTORCH: "torch",
    Runtime.ONNX_RUNTIME: "onnxruntime",
    Runtime.OPENVINO: "openvino",
}


class Outlook(StrEnum):
    """What would become of a variant."""

    TRIED = "Tried"
    SKIPPED = "Skipped"
    NOT_INSTALLED = "NotInstalled"


@dataclass(frozen=True)
class Prospect:
    """One variant and its outlook; message is empty where it would be tried."""

    variant: Variant
    outlook: Outlook
    reason: VariantReason | None = None
    message: str = ""

    def to_api(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "name": self.variant.name,
            "runtime": self.variant.runtime.value,
            "precision": self.variant.precision.value,
            "outlook": self.outlook.value,
            "reason": self.reason and self.reason.value,
            "message": self.message,
        }


def prospects(
    spec: ModelOptimizationSpec,
    features: list[str],
    installed: Collection[Runtime],
    compiler: str | None,
) -> list[Prospect]:
    """Return the variants of a spec, or those that are tried by default, in their order.

    Args:
        features: Instruction sets, as hardware.cpu_features.
        installed: Runtimes whose library is there.
        compiler: Version of the C++ compiler; None where there is none.
    """
    calibrated = spec.data.calibration is not None
    variants = prepare_plan(spec, output_uri="").variants
    return [_prospect(v, features, installed, compiler, calibrated=calibrated) for v in variants]


def _prospect(
    variant: Variant,
    features: list[str],
    installed: Collection[Runtime],
    compiler: str | None,
    *,
    calibrated: bool,
) -> Prospect:
    mode = (variant.quantization or Quantization()).mode
    static = variant.precision is Precision.INT8 and mode is QuantizationMode.STATIC
    if static and not calibrated:
        return Prospect(
            variant,
            Outlook.SKIPPED,
            VariantReason.NO_CALIBRATION_DATA,
            "static INT8 needs data.calibration",
        )
    if variant.precision is Precision.BF16 and not has_native_bf16(features):
        return Prospect(
            variant,
            Outlook.SKIPPED,
            VariantReason.NO_NATIVE_BF16,
            "this CPU has neither avx512_bf16 nor amx_bf16",
        )
    if variant.compiled and compiler is None:
        return Prospect(
            variant,
            Outlook.SKIPPED,
            VariantReason.NO_COMPILER,
            "PyTorch compiles with a C++ compiler, and there is none here",
        )
    if variant.runtime not in installed:
        return Prospect(
            variant,
            Outlook.NOT_INSTALLED,
            message=f"{LIBRARIES[variant.runtime]} is not installed here",
        )
    return Prospect(variant, Outlook.TRIED)
