"""Weights as integers, activations and arithmetic in FP32: fewer bytes, and no data is needed.

One weight at a time, for models that do not fit into memory twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopt_optimizer.errors import ExportError, QuantizationError
from mopt_optimizer.onnx_files.files import place_graph
from mopt_optimizer.onnx_files.float_models import at_opset, open_float_model
from mopt_optimizer.onnx_files.opsets import OLDEST_OPSET
from mopt_optimizer.opening.loading import open_onnx

from .weight_integers import block_of, channel_scales, in_eight_bits, in_four_bits, relative_error

if TYPE_CHECKING:
    import onnx_ir as ir

# Smaller weights, and the nodes that read them, gain nothing.
MIN_WEIGHT_VALUES = 4096
# The first in which DequantizeLinear takes 4 bits, and a scale for each block.
_BLOCK_OPSET, _BLOCK_IR = 21, 10
# Of the values of MatMul and Gemm; the weights that lose most in 4 bits keep 8.
_FOUR_BIT_SHARE = 0.8
_EIGHT, _FOUR = 8, 4
_TABLE = "Gather"
_OPERATORS = ("Conv", "Gemm", "MatMul", _TABLE)


@dataclass(frozen=True)
class WeightOptions:
    """How weights are stored.

    Attributes:
        bits: 8, with a scale per output channel; or 4 for weights of MatMul and Gemm, with a scale
            per block. The last layer, those that lose most, Conv and tables of Gather keep 8.
        exclude: Names of nodes whose weights stay FP32.
    """

    bits: int = _EIGHT
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.bits not in (_EIGHT, _FOUR):
            raise ValueError(f"bits {self.bits} is neither 8 nor 4")


@dataclass(frozen=True)
class WeightReport:
    """What became of the weights.

    Attributes:
        weights: Number of those that are integers.
        bytes_before, bytes_after: Their total size.
        kept: Nodes whose weights have 8 bits in a form of 4, with the reason for each.
    """

    weights: int
    bytes_before: int
    bytes_after: int
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Weight:
    """A weight of the main graph, and the only node that reads it.

    Attributes:
        axis: Of output channels, or of a table's rows.
        summed: The axis along which products are added up; None where 4 bits are not for it.
        block: Values with a scale in common; None is 8 bits.
    """

    value: ir.Value
    node: ir.Node
    axis: int
    summed: int | None = None
    block: int | None = None

    @property
    def name(self) -> str:
        return str(self.value.name)

    @property
    def tensor(self) -> ir.TensorProtocol:
        tensor = self.value.const_value
        assert tensor is not None  # noqa: S101 - _weights yields no other
        return tensor


def quantize_weights(
    source: str | Path, target: str | Path, options: WeightOptions | None = None
) -> WeightReport:
    """Write a model whose Conv, Gemm and MatMul weights, and tables of Gather, are integers.

    Each weight is followed by a DequantizeLinear; of a table only the rows that are read are
    dequantized. Activations and arithmetic stay FP32, so no calibration is needed. Weights are
    read and written one at a time, whatever the model size; in 4 bits, files with external weights
    are not taken.

    Raises:
        NonFiniteWeight: A weight holds NaN or infinity.
        ModelError: The source is not an ONNX model.
        ExportError: Its opset is too old for per-channel scales.
        QuantizationError: Nothing of it can have 4 bits.
        DiskError: The disk is full.
    """
    options = options or WeightOptions()
    source, target = Path(source), Path(target)
    model = _opened(source, options)
    chosen, kept = list(_weights(model, options.exclude)), dict[str, str]()
    if options.bits == _FOUR:
        chosen, kept = _in_blocks(chosen, source.name)
    before = after = 0
    for weight in chosen:
        before += weight.tensor.nbytes
        after += _quantize(model, weight)
    place_graph(model, target, external=before > 0 and _lies_outside(source))
    return WeightReport(len(chosen), before, after, kept)


def _opened(source: Path, options: WeightOptions) -> ir.Model:
    import onnx_ir as ir

    if options.bits == _FOUR:
        raised = at_opset(open_float_model(source), _BLOCK_OPSET, f"{source.name}, for 4 bits")
        model = ir.serde.deserialize_model(raised)
        model.ir_version = max(model.ir_version or 0, _BLOCK_IR)
        return model
    open_onnx(source)
    model = ir.load(source)
    version = model.opset_imports.get("", 0)
    if version < OLDEST_OPSET:
        raise ExportError(f"opset {version} has no scales per channel: convert to {OLDEST_OPSET}")
    return model


def _lies_outside(path: Path) -> bool:
    import onnx

    from mopt_optimizer.onnx_files.files import needs_external_data

    model = onnx.load(path, load_external_data=False)
    return any(needs_external_data(tensor) for tensor in model.graph.initializer)


def _weights(model: ir.Model, exclude: Collection[str]) -> Iterator[_Weight]:
    """Yield the weights that become integers: each is read by one node of the main graph."""
    for number, node in enumerate(list(model.graph)):
        # As name_nodes calls nodes without a name.
        name = node.name or f"{node.op_type}_{number}"
        if node.op_type not in _OPERATORS or node.domain not in ("", "ai.onnx") or name in exclude:
            continue
        value = node.inputs[0 if node.op_type == _TABLE else 1]
        if value is None or value.graph is not model.graph or not _is_large(value):
            continue
        if (found := _placed(value, node)) is not None:
            yield found


def _is_large(value: ir.Value) -> bool:
    """Return whether a value is a weight of one reader alone that is worth it."""
    tensor = value.const_value
    if tensor is None or not value.is_initializer() or value.is_graph_input():
        return False
    alone = len(value.uses()) == 1 and not value.is_graph_output()
    return alone and tensor.dtype.name == "FLOAT" and tensor.size >= MIN_WEIGHT_VALUES


def _placed(value: ir.Value, node: ir.Node) -> _Weight | None:
    """Return a weight with its axes; None for a layout that stays FP32."""
    tensor = value.const_value
    rank = 0 if tensor is None else len(tensor.shape)
    if node.op_type == "Conv":
        return _Weight(value, node, axis=0) if rank > 1 else None
    if rank != 2:
        return None
    if node.op_type == _TABLE:
        inner = not node.outputs[0].is_graph_output()
        return _Weight(value, node, axis=0) if inner and _rows(node) else None
    turned = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
    return _Weight(value, node, axis=0, summed=1) if turned else _Weight(value, node, 1, summed=0)


def _rows(node: ir.Node) -> bool:
    return node.attributes.get_int("axis", 0) == 0


def _in_blocks(weights: Sequence[_Weight], name: str) -> tuple[list[_Weight], dict[str, str]]:
    """Return the weights with blocks for those that get 4 bits, and the nodes that keep 8.

    Raises:
        NonFiniteWeight, QuantizationError: As quantize_weights.
    """
    layers = {w.name: w for w in weights if w.summed is not None}
    blocks = {
        each: block
        for each, w in layers.items()
        if (block := block_of(w.tensor.numpy().shape[w.summed or 0])) is not None
    }
    kept = dict.fromkeys(layers.keys() - blocks.keys(), "8 bits: no block divides its sums")
    if layers and (last := [*layers][-1]) in blocks:
        del blocks[last]
        kept[last] = "8 bits: the last layer"
    chosen = _least_lost({each: layers[each] for each in blocks}, blocks)
    kept |= dict.fromkeys(blocks.keys() - chosen, "8 bits: loses most in 4")
    if not chosen:
        raise QuantizationError(
            f"{name}: no weight of MatMul or Gemm but the last would be in 4 bits; use 8"
        )
    marked = [replace(w, block=blocks[w.name]) if w.name in chosen else w for w in weights]
    told = {str(layers[each].node.name): kept[each] for each in layers if each in kept}
    return marked, told


def _least_lost(layers: Mapping[str, _Weight], blocks: Mapping[str, int]) -> set[str]:
    """Return the weights that lose least in 4 bits, up to a share of all values; at least one."""
    lost = {}
    for name, weight in layers.items():
        values, axis = weight.tensor.numpy(), weight.summed or 0
        channel_scales(values, weight.axis, name)  # Raises where they are not finite.
        lost[name] = relative_error(values, axis, blocks[name])
    left = _FOUR_BIT_SHARE * sum(int(weight.tensor.size) for weight in layers.values())
    chosen: set[str] = set()
    for name in sorted(lost, key=lambda each: (lost[each], each)):
        left -= int(layers[name].tensor.size)
        if chosen and left < 0:
            break
        chosen.add(name)
    return chosen


def _quantize(model: ir.Model, weight: _Weight) -> int:
    """Replace a weight with integers and what restores it; return their size in bytes."""
    import onnx_ir as ir

    tensor, name = weight.tensor, weight.name
    if weight.block is not None:
        axis, block = weight.summed or 0, weight.block
        scales = in_four_bits(tensor.numpy(), axis, block).scales
        integers = _integers(
            weight, ir.DataType.INT4, lambda: in_four_bits(tensor.numpy(), axis, block).steps
        )
        attributes = {"axis": axis, "block_size": block}
    else:
        scales = channel_scales(tensor.numpy(), weight.axis, name)
        integers = _integers(
            weight, ir.DataType.INT8, lambda: in_eight_bits(tensor.numpy(), weight.axis, scales)
        )
        attributes = {"axis": weight.axis}
    table = weight.node.op_type == _TABLE
    shown = scales.reshape(-1, 1) if table else scales
    steps = ir.Value(
        name=f"{name}_scale",
        shape=ir.Shape(shown.shape),
        type=ir.TensorType(ir.DataType.FLOAT),
        const_value=ir.Tensor(shown, name=f"{name}_scale"),
    )
    if table:
        _restore_rows(weight, integers, steps)
    else:
        _restore(model, weight, integers, steps, attributes)
    graph = model.graph
    del graph.initializers[name]
    graph.register_initializer(integers)
    graph.register_initializer(steps)
    assert integers.const_value is not None  # noqa: S101 - _integers sets it
    return integers.const_value.nbytes + scales.nbytes


def _integers(weight: _Weight, kind: ir.DataType, steps: Callable[[], Any]) -> ir.Value:
    """Return the integers of a weight, which are computed when they are written."""
    import onnx_ir as ir

    name, shape = f"{weight.name}_int{kind.bitwidth}", ir.Shape(weight.tensor.shape.numpy())

    def stored() -> ir.TensorProtocol:
        return ir.Tensor(steps(), dtype=kind, name=name)

    return ir.Value(
        name=name,
        shape=shape,
        type=ir.TensorType(kind),
        const_value=ir.LazyTensor(stored, dtype=kind, shape=shape, name=name),
    )


def _restore(
    model: ir.Model,
    weight: _Weight,
    integers: ir.Value,
    scales: ir.Value,
    attributes: Mapping[str, int],
) -> None:
    """Let a layer read what DequantizeLinear makes of the integers."""
    import onnx_ir as ir

    name = weight.name
    node = ir.node("DequantizeLinear", [integers, scales], attributes, name=f"{name}_dequantize")
    node.outputs[0].name = f"{name}_dequantized"
    weight.value.replace_all_uses_with(node.outputs[0])
    model.graph.insert_before(model.graph[0], node)


def _restore_rows(weight: _Weight, integers: ir.Value, scales: ir.Value) -> None:
    """Let Gather read integers, and multiply them by the scales of their rows."""
    import onnx_ir as ir

    name, gather = weight.name, weight.node
    indices, read = gather.inputs[1], gather.outputs[0]
    rows = ir.node("Gather", [integers, indices], {"axis": 0}, name=f"{name}_rows")
    floats = ir.node("Cast", [rows.outputs[0]], {"to": ir.DataType.FLOAT}, name=f"{name}_floats")
    steps = ir.node("Gather", [scales, indices], {"axis": 0}, name=f"{name}_steps")
    restored = ir.node("Mul", [floats.outputs[0], steps.outputs[0]], name=f"{name}_restored")
    nodes = [rows, floats, steps, restored]
    for node in nodes:
        node.outputs[0].name = f"{node.name}_value"
    graph = gather.graph
    assert graph is not None  # noqa: S101 - it is one of the model's
    graph.insert_before(gather, nodes)
    read.replace_all_uses_with(restored.outputs[0])
    graph.remove(gather, safe=True)
