"""Forms of a model that another quantizer wrote: nodes go back to FP32 without their Q/DQ nodes.

What such a quantizer chose for the others stays as it is: ranges and corrected biases are those of
each layer by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_QDQ = (_QUANTIZE, _DEQUANTIZE)
# What hands values on unchanged: a pair of Q and DQ before it is that of the layers behind it.
_MOVERS = frozenset(
    {
        *("Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements"),
        *("GatherND", "GlobalMaxPool", "Identity", "MaxPool", "Pad", "ReduceMax", "Reshape"),
        *("Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    }
)


class StrippedForms:
    """Writes the forms of a quantized model; see writing.FormWriter.

    Attributes:
        model: The FP32 model.
        folder: None: weights are in the models.

    Args:
        model: With named nodes, which the quantized model has too.
        quantized: With Q/DQ nodes; not modified.
    """

    folder: Path | None = None

    def __init__(self, model: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
        self.model = model
        self._quantized = quantized

    def quantized(self, exclude: Collection[str] = ()) -> onnx.ModelProto:
        """Return the form without some nodes in INT8."""
        written = type(self._quantized)()
        written.CopyFrom(self._quantized)
        if exclude:
            _Stripping(self.model, written, frozenset(exclude)).strip()
        return written

    def in_int8(self) -> dict[str, str]:
        """Return the names of the nodes that read INT8, each with its operator."""
        narrow = {
            o for n in self._quantized.graph.node if n.op_type == _DEQUANTIZE for o in n.output
        }
        return {
            node.name: node.op_type
            for node in self._quantized.graph.node
            if node.op_type not in _MOVERS
            and node.op_type not in _QDQ
            and not narrow.isdisjoint(node.input)
        }


class _Stripping:
    """Takes nodes out of INT8, in place."""

    def __init__(
        self, model: onnx.ModelProto, written: onnx.ModelProto, exclude: frozenset[str]
    ) -> None:
        self._graph = written.graph
        self._exclude = exclude
        self._originals = {node.name: node for node in model.graph.node}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._constants = {
            node.output[0]: node for node in model.graph.node if node.op_type == "Constant"
        }
        self._makers = {name: node for node in self._graph.node for name in node.output}
        self._held = {tensor.name: tensor for tensor in self._graph.initializer}

    def strip(self) -> None:
        for node in [*self._graph.node]:
            if node.name in self._exclude and node.op_type not in _MOVERS:
                self._restore(node)
        self._bypass()
        self._drop_unread()

    def _restore(self, node: onnx.NodeProto) -> None:
        """Let a node read what the FP32 model's reads."""
        original = self._originals[node.name]
        for index, (name, before) in enumerate(zip(node.input, original.input, strict=True)):
            if before in self._weights or before in self._constants:
                node.input[index] = self._constant(before)
            elif (floats := self._before(name)) is not None:
                node.input[index] = floats

    def _before(self, name: str) -> str | None:
        """Return the activation that a dequantized value was; None for any other value."""
        maker = self._makers.get(name)
        if maker is None or maker.op_type != _DEQUANTIZE:
            return None
        quantize = self._makers.get(maker.input[0])
        return quantize.input[0] if quantize is not None else None

    def _constant(self, name: str) -> str:
        """Return the name of a constant of the FP32 model, which is there then."""
        if name in self._makers:
            return name
        if name not in self._weights:
            self._graph.node.insert(0, self._constants[name])
            self._makers[name] = self._graph.node[0]
            return name
        tensor = self._weights[name]
        # A bias that was corrected has the same name.
        for free in (name, f"{name}/FP32"):
            held = self._held.get(free)
            if held is None:
                held = self._held[free] = self._graph.initializer.add()
                held.CopyFrom(tensor)
                held.name = free
                return free
            if held.raw_data == tensor.raw_data and held.float_data == tensor.float_data:
                return free
        raise AssertionError(name)

    def _bypass(self) -> None:
        """Take away pairs of Q and DQ behind which no node in INT8 is left."""
        readers = defaultdict(list)
        for node in self._graph.node:
            for name in node.input:
                readers[name].append(node)
        for node in self._graph.node:
            for name in node.output if node.op_type == _DEQUANTIZE else ():
                floats = self._before(name)
                if floats is not None and not self._is_needed(name, readers):
                    for reader in readers[name]:
                        reader.input[:] = [floats if n == name else n for n in reader.input]

    def _is_needed(self, name: str, readers: dict[str, list[onnx.NodeProto]]) -> bool:
        if any(value.name == name for value in self._graph.output):
            return True
        for node in readers[name]:
            if node.op_type in _MOVERS:
                if any(self._is_needed(output, readers) for output in node.output):
                    return True
            elif node.name not in self._exclude:
                return True
        return False

    def _drop_unread(self) -> None:
        graph = self._graph
        read = {value.name for value in graph.output}
        kept = []
        for node in reversed(graph.node):
            if node.op_type not in _QDQ or not read.isdisjoint(node.output):
                kept.append(node)
                read.update(node.input)
        if len(kept) < len(graph.node):
            nodes = [type(node).FromString(node.SerializeToString()) for node in reversed(kept)]
            del graph.node[:]
            graph.node.extend(nodes)
        read |= {value.name for value in graph.input}
        made = {name for node in graph.node for name in node.output}
        for tensor in [t for t in graph.initializer if t.name not in read]:
            graph.initializer.remove(tensor)
        for info in [v for v in graph.value_info if v.name not in read | made]:
            graph.value_info.remove(info)
