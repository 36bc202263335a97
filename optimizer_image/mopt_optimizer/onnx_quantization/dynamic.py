"""Dynamic INT8: 8-bit weights, activations quantized at run time. Needs no samples."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mopt_optimizer.errors import QuantizationError, RuntimeFailure, first_line
from mopt_optimizer.onnx_files.float_models import open_float_model, save_model
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.store.writing import disk_errors

if TYPE_CHECKING:
    import onnx

_MATRIX = ("MatMul", "Gemm")
_OPERATORS = (*_MATRIX, "Conv", "Gather", "Attention", "LSTM", "EmbedLayerNormalization")


@dataclass(frozen=True)
class DynamicOptions:
    """Quantization options.

    Attributes:
        per_channel: One scale per output channel of a weight.
        convolutions: Also quantize Conv. ONNX Runtime runs these several times slower than FP32
            ones, so this helps only size.
        exclude: Names of nodes that stay FP32.
        reduce_range: Signed weights have 7 bits, for x86 CPUs that add products in 16 bits.
            Unsigned ones, which Conv needs, saturate nowhere.
    """

    per_channel: bool = True
    convolutions: bool = False
    exclude: tuple[str, ...] = ()
    reduce_range: bool = False


@dataclass(frozen=True)
class DynamicReport:
    """Result of a dynamic quantization.

    Attributes:
        path: The output file.
        weight_type: QInt8, or QUInt8 if a Conv is quantized: ONNX Runtime has no Conv kernel for
            signed weights.
        quantized_nodes: Number of nodes that became integer nodes.
    """

    path: Path
    weight_type: str
    quantized_nodes: int


def quantize_onnx_dynamic(
    model_path: Path, out_path: Path, options: DynamicOptions | None = None
) -> DynamicReport:
    """Write a model with 8-bit weights and activations quantized at run time.

    Raises:
        ModelError, ExportError: As open_float_model.
        QuantizationError: Nothing can be quantized, or the result does not load.
        DiskError: No space left; out_path is unchanged.
    """
    options = options or DynamicOptions()
    model = open_float_model(model_path)
    operators = [op for op in _OPERATORS if options.convolutions or op != "Conv"]
    kinds = {n.op_type for n in model.graph.node if n.name not in set(options.exclude)}
    if kinds.isdisjoint(operators):
        hint = "; convolutions=True would take its Conv" if "Conv" in kinds else ""
        raise QuantizationError(f"{model_path.name} has no MatMul or Gemm to quantize{hint}")
    unsigned = options.convolutions and "Conv" in kinds
    quantized = _quantized(model, out_path, options, operators, unsigned=unsigned)
    before, after = _count(model, operators), _count(quantized, operators)
    if after == before:
        raise QuantizationError(
            f"{model_path.name}: none of its {before} candidates has a constant weight"
        )
    save_model(quantized, out_path)
    return DynamicReport(out_path, "QUInt8" if unsigned else "QInt8", before - after)


def _quantized(
    model: onnx.ModelProto,
    out_path: Path,
    options: DynamicOptions,
    operators: list[str],
    *,
    unsigned: bool,
) -> onnx.ModelProto:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out_path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(str(out_path)), TemporaryDirectory(dir=out_path.parent) as folder:
        written = Path(folder) / "quantized.onnx"
        try:
            quantize_dynamic(
                model,
                written,
                op_types_to_quantize=operators,
                per_channel=options.per_channel,
                weight_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
                nodes_to_exclude=list(options.exclude),
                reduce_range=options.reduce_range and not unsigned,
                extra_options={"MatMulConstBOnly": True},
            )
            OnnxSession(written)
        except RuntimeFailure as error:
            raise QuantizationError(f"the quantized model does not load: {error}") from error
        except (RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
            raise QuantizationError(
                f"ONNX Runtime cannot quantize it: {first_line(error)}"
            ) from error
        return onnx.load(written)


def _count(model: onnx.ModelProto, operators: Collection[str]) -> int:
    return sum(node.op_type in operators for node in model.graph.node)
