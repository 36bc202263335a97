"""Explicit Q/DQ nodes: their types, and the writer that puts them into a model."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mopt_api.auto.int8 import S8S8, U8S7, U8S8, Int8Scheme, cpu_class, is_sound, static_scheme
from mopt_optimizer.errors import QuantizationError, first_line
from mopt_optimizer.machine.system import own_cpu_class
from mopt_optimizer.onnx_files.layers import WEIGHTED

from .bias_correction import Corrections, correct_biases
from .fp8 import to_fp8
from .outside import OutsideWeights
from .placement import place_for_layers

if TYPE_CHECKING:
    import onnx

_QDQ = ("DequantizeLinear", "QuantizeLinear")


class Scheme(StrEnum):
    """Types of activations and weights.

    x86 has fast kernels for U8S8. Without VNNI they saturate, hence U8S8_REDUCED with 7-bit
    weights: see mopt_api.auto.int8. S8S8 is symmetric, as ARM, TensorRT and NPUs expect. FP8
    is symmetric too, with E4M3FN floats instead of integers, for TensorRT. AUTO picks the scheme
    for the CPU it runs on.
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


_INTEGERS = {Scheme.U8S8: U8S8, Scheme.U8S8_REDUCED: U8S7, Scheme.S8S8: S8S8}


def scheme_for(architecture: str, features: Collection[str]) -> Scheme:
    """Return the scheme that suits a CPU.

    Args:
        architecture: As platform.machine() returns it.
        features: As system.cpu_features returns them.
    """
    return _scheme_of(static_scheme(cpu_class(architecture, features)))


def resolved(scheme: Scheme) -> Scheme:
    """Return the scheme, with AUTO resolved for this machine."""
    return _scheme_of(static_scheme(own_cpu_class())) if scheme is Scheme.AUTO else scheme


def saturates_here(scheme: Scheme) -> bool:
    """Return whether this machine's kernels may compute something else than a file says."""
    integers = _INTEGERS.get(scheme)  # FP8 has none.
    return integers is not None and not is_sound(integers, own_cpu_class())


def _scheme_of(integers: Int8Scheme) -> Scheme:
    return next(scheme for scheme, known in _INTEGERS.items() if known == integers)


def quantizable_operators() -> list[str]:
    """Return the operators ONNX Runtime can quantize, sorted."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QDQRegistry, *QLinearOpsRegistry})


@dataclass(frozen=True)
class QdqWriter:
    """Writes Q/DQ forms of one model, with a given set of nodes excluded.

    Attributes:
        model: FP32, with inferred shapes and named nodes; not modified.
        operators: Operator types to quantize.
        scheme: Not AUTO.
        per_channel: One scale per output channel of a weight instead of one per weight.
        fixed: Names of nodes that stay FP32 in every form.
        layer_outputs: Also quantize the output of a Conv, ConvTranspose, Gemm or MatMul.
        biases: Write a layer's bias as 32-bit integers; False leaves it float.
        layers_only: No other nodes read INT8, except residual inputs; see placement.
        weights: The model's external weights; None if it has none.
        scales: Of the weights, kept from form to form.
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
    scales: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def folder(self) -> Path | None:
        """Folder of the weight files that the models refer to; None if there are none."""
        return self.weights.folder if self.weights else None

    def quantized(
        self,
        ranges: Mapping[str, tuple[float, float]],
        exclude: Collection[str] = (),
        corrections: Corrections = MappingProxyType({}),
    ) -> onnx.ModelProto:
        """Return the model with Q/DQ nodes; the same ranges give identical bytes.

        Args:
            ranges: (low, high) of every float activation of the quantized operators.
            exclude: Names of additional nodes that stay FP32.
            corrections: Of the biases of those that do not.

        Raises:
            QuantizationError: ONNX Runtime's quantizer fails.
        """
        from onnxruntime.quantization.quant_utils import add_infer_metadata

        if self.weights:
            copied = self.weights.slim(self.model)
        else:
            copied = type(self.model)()
            copied.CopyFrom(self.model)
            # Shapes are inferred: the quantizer need not write and read the model for that.
            add_infer_metadata(copied)
        excluded = {*exclude, *self.fixed}
        correct_biases(copied, {n: v for n, v in corrections.items() if n not in excluded})
        try:
            written = self._written(copied, ranges, excluded)
        except (RuntimeError, ValueError, TypeError, KeyError, AssertionError, IndexError) as error:
            raise QuantizationError(
                f"ONNX Runtime cannot quantize it: {first_line(error)}"
            ) from error
        return self.weights.restored(written) if self.weights else written

    def _written(
        self,
        copied: onnx.ModelProto,
        ranges: Mapping[str, tuple[float, float]],
        excluded: Collection[str],
    ) -> onnx.ModelProto:
        """Return the copy with Q/DQ nodes; raises whatever ONNX Runtime's quantizer raises."""
        from onnxruntime.quantization import QuantType

        from .quantizer import RememberingQuantizer

        unsigned = not self.scheme.symmetric
        quantizer = RememberingQuantizer(
            copied,
            scales=self.scales,
            per_channel=self.per_channel,
            reduce_range=self.scheme is Scheme.U8S8_REDUCED,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8 if unsigned else QuantType.QInt8,
            tensors_range=_tensors_data(ranges),
            nodes_to_quantize=[],
            nodes_to_exclude=sorted(excluded),
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
        written: onnx.ModelProto = quantizer.model.model
        if self.layers_only:
            # TensorRT runs the Add after an FP8 layer in a separate kernel: nothing is gained.
            residuals = self.scheme is not Scheme.FP8
            place_for_layers(written, ranges, {*excluded}, residuals=residuals)
        if self.scheme is Scheme.FP8:
            to_fp8(written, self.model, ranges)
        quantizer.model.topological_sort()
        return written


def check_quantized(model: onnx.ModelProto, name: str) -> None:
    """Raise if no node of a Q/DQ form computes in 8 bits; of layers with weights, if it has any.

    Args:
        name: The file's, for the message.

    Raises:
        QuantizationError
    """
    floats = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    others = [n for n in model.graph.node if n.op_type not in _QDQ]
    layers = [n for n in others if n.op_type in WEIGHTED]
    # A layer with a float weight may read what another node quantized: it computes in float.
    some = any(floats.issuperset(n.input[:2]) for n in layers)
    if not some and (layers or all(floats.isdisjoint(n.input) for n in others)):
        what = "layer with weights" if layers else "node"
        raise QuantizationError(f"{name}: no {what} of it would compute in 8 bits")


def _tensors_data(ranges: Mapping[str, tuple[float, float]]) -> Any:
    """Return ranges in the form ONNX Runtime's quantizer expects."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import TensorsData

    return TensorsData(
        # Only marks the values as ranges.
        CalibrationMethod.MinMax,
        {
            name: (np.array(low, np.float32), np.array(high, np.float32))
            for name, (low, high) in ranges.items()
        },
    )
