"""Explicit Q/DQ nodes: which integer types, and the model they are written into."""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mopt_optimizer.errors import QuantizationError, first_line
from mopt_optimizer.machine.system import WIDE_SUMS, System
from mopt_optimizer.onnx_files.layers import WEIGHTED

from .fp8 import to_fp8
from .outside import OutsideWeights
from .placement import place_for_layers

if TYPE_CHECKING:
    import onnx

X86 = ("x86_64", "AMD64", "i386", "i686")


class Scheme(StrEnum):
    """Types of activations and weights.

    U8S8 is what x86 has fast kernels for. Without VNNI those add pairs of products in 16 bits and
    saturate, hence U8S8_REDUCED: weights of 7 bits. S8S8 is symmetric, as ARM, TensorRT and NPUs
    want it. FP8 is symmetric too, in E4M3FN floats instead of integers, for TensorRT. AUTO takes
    the one for the CPU it runs on.
    """

    AUTO = "Auto"
    U8S8 = "U8S8"
    U8S8_REDUCED = "U8S8Reduced"
    S8S8 = "S8S8"
    FP8 = "FP8"

    @property
    def symmetric(self) -> bool:
        """Whether zero points are 0."""
        return self in (Scheme.S8S8, Scheme.FP8)


def scheme_for(architecture: str, features: Collection[str]) -> Scheme:
    """Return the scheme that suits a CPU.

    Args:
        architecture: As platform.machine() names it.
        features: As hardware.cpu_features returns them.
    """
    if architecture not in X86:
        return Scheme.S8S8
    return Scheme.U8S8_REDUCED if WIDE_SUMS.isdisjoint(features) else Scheme.U8S8


def resolved(scheme: Scheme) -> Scheme:
    """Return the scheme, AUTO replaced by the one for this machine."""
    if scheme is not Scheme.AUTO:
        return scheme
    return scheme_for(platform.machine(), System().hardware({}).cpu_features)


def quantizable_operators() -> list[str]:
    """Return the operators that are quantized, always in the same order."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QDQRegistry, *QLinearOpsRegistry})


@dataclass(frozen=True)
class QdqWriter:
    """Writes Q/DQ forms of one model, from the same ranges, with nodes left out as asked.

    Attributes:
        model: FP32, with inferred shapes and named nodes; not changed.
        operators: Types of the nodes that are quantized.
        scheme: Not AUTO.
        per_channel: A scale for each of a weight's output channels instead of one.
        fixed: Names of nodes that stay FP32 in every form.
        layer_outputs: Quantize what a Conv, ConvTranspose, Gemm or MatMul computes, too.
        biases: Write a layer's bias in 32-bit integers; False leaves it float.
        layers_only: No other nodes read INT8, residual inputs apart; see placement.
        weights: Those of the model that lie in other files.
    """

    model: onnx.ModelProto
    operators: Sequence[str]
    scheme: Scheme
    per_channel: bool
    fixed: tuple[str, ...] = ()
    layer_outputs: bool = True
    biases: bool = True
    layers_only: bool = False
    weights: OutsideWeights | None = None

    @property
    def folder(self) -> Path | None:
        """Where the files of weights lie that the models refer to; None where they do not."""
        return self.weights.folder if self.weights else None

    def quantized(
        self, ranges: Mapping[str, tuple[float, float]], exclude: Collection[str] = ()
    ) -> onnx.ModelProto:
        """Return the model with Q/DQ nodes; the same ranges give the same bytes.

        Args:
            ranges: (low, high) of every float activation of the quantized operators.
            exclude: Names of further nodes that stay FP32.

        Raises:
            QuantizationError: ONNX Runtime's writer fails on it.
        """
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        unsigned = not self.scheme.symmetric
        if self.weights:
            copied = self.weights.slim(self.model)
        else:
            copied = onnx.ModelProto()
            copied.CopyFrom(self.model)
        data = TensorsData(
            # Only says that the values are ranges.
            CalibrationMethod.MinMax,
            {
                name: (np.array(low, np.float32), np.array(high, np.float32))
                for name, (low, high) in ranges.items()
            },
        )
        try:
            quantizer = QDQQuantizer(
                copied,
                per_channel=self.per_channel,
                reduce_range=self.scheme is Scheme.U8S8_REDUCED,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QUInt8 if unsigned else QuantType.QInt8,
                tensors_range=data,
                nodes_to_quantize=[],
                nodes_to_exclude=sorted({*exclude, *self.fixed}),
                op_types_to_quantize=list(self.operators),
                extra_options={
                    "ActivationSymmetric": not unsigned,
                    "QuantizeBias": self.biases,
                    "OpTypesToExcludeOutputQuantization": (
                        [] if self.layer_outputs else list(WEIGHTED)
                    ),
                },
            )
            quantizer.quantize_model()
            if self.layers_only:
                left_out = {*exclude, *self.fixed}
                # TensorRT adds to an FP8 layer's output in a kernel of its own: nothing is gained.
                residuals = self.scheme is not Scheme.FP8
                place_for_layers(quantizer.model.model, ranges, left_out, residuals=residuals)
            if self.scheme is Scheme.FP8:
                to_fp8(quantizer.model.model, self.model, ranges)
            quantizer.model.topological_sort()
        except (RuntimeError, ValueError, TypeError, KeyError, AssertionError, IndexError) as error:
            raise QuantizationError(
                f"ONNX Runtime cannot quantize it: {first_line(error)}"
            ) from error
        written: onnx.ModelProto = quantizer.model.model
        return self.weights.restored(written) if self.weights else written
