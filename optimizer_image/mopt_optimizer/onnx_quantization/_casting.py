"""Rewrites a graph so that some nodes compute in a narrower floating-point type."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from mopt_optimizer.onnx_files.float_models import element_types

if TYPE_CHECKING:
    import onnx


class Narrowing:
    """One rewrite of a model.

    Each float tensor has the type of the node that computes it. Where a reader needs the other
    type, a Cast is inserted, one per tensor and type. A weight is stored in each type its readers
    need.

    Attributes:
        casts: Cast nodes inserted by apply().
        flushed: Share of the narrowed weight values that were nonzero and became 0.
    """

    def __init__(
        self, model: onnx.ModelProto, narrow: int, kept: Collection[str], *, keep_io: bool
    ) -> None:
        """Prepare the rewrite.

        Args:
            model: FP32, opset 13 or later, all nodes named; not modified.
            narrow: onnx.TensorProto.FLOAT16 or BFLOAT16.
            kept: Names of the nodes that stay FP32.
        """
        import onnx

        self.casts = 0
        self._zeroed = 0
        self._narrowed = 0
        self._wide = onnx.TensorProto.FLOAT
        self._narrow = narrow
        self._kept = kept
        self._keep_io = keep_io
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._floats = {
            name for name, kind in element_types(model).items() if kind == onnx.TensorProto.FLOAT
        }
        self._weights = {t.name: t for t in self._model.graph.initializer}
        # Type of each float tensor under its own name; name of its copy in the other type.
        self._types: dict[str, int] = {}
        self._copies: dict[str, str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._new_weights: dict[str, onnx.TensorProto] = {}
        self._names = {
            *(name for node in model.graph.node for name in (*node.input, *node.output)),
            *(value.name for value in model.graph.input),
        }

    @property
    def flushed(self) -> float:
        return self._zeroed / self._narrowed if self._narrowed else 0.0

    def apply(self) -> onnx.ModelProto:
        """Return the rewritten model."""
        graph = self._model.graph
        originals = [type(node).FromString(node.SerializeToString()) for node in graph.node]
        for value in graph.input:
            if value.name in self._floats and value.name not in self._weights:
                self._types[value.name] = self._wide if self._keep_io else self._narrow
                value.type.tensor_type.elem_type = self._types[value.name]
        for node in originals:
            self._rewrite(node)
        self._finish_outputs()
        used = {name for node in self._nodes for name in self._reads(node)}
        used |= {value.name for value in graph.output}
        weights = [t for t in (*graph.initializer, *self._new_weights.values()) if t.name in used]
        inputs = [value for value in graph.input if value.name not in self._weights]
        del graph.node[:], graph.initializer[:], graph.value_info[:], graph.input[:]
        graph.input.extend(inputs)
        graph.node.extend(self._nodes)
        graph.initializer.extend(weights)
        return self._model

    def _rewrite(self, node: onnx.NodeProto) -> None:
        target = self._wide if node.name in self._kept else self._narrow
        for index, name in enumerate(node.input):
            if name in self._floats:
                node.input[index] = self._in_type(name, target)
        for name in self._captured(node):
            # Subgraphs read outer tensors by name: that name must hold the FP32 tensor.
            if name in self._floats and self._types.get(name, self._wide) != self._wide:
                self._widen_in_place(name)
        if node.op_type == "Cast" and target == self._narrow:
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == self._wide:
                    attribute.i = target
        if target == self._narrow:
            self._narrow_attributes(node)
        self._nodes.append(node)
        self._types.update({name: target for name in node.output if name in self._floats})

    def _narrow_attributes(self, node: onnx.NodeProto) -> None:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_type == self._wide:
                attribute.t.CopyFrom(self._narrow_tensor(attribute.t, attribute.t.name))

    def _in_type(self, name: str, target: int) -> str:
        """Return the name of a tensor in a type; create the copy if needed."""
        if self._types.get(name, self._wide) == target:
            return name
        if name not in self._copies:
            self._copies[name] = copy = self._fresh(name)
            if name in self._weights:
                self._new_weights[copy] = self._narrow_tensor(self._weights[name], copy)
            else:
                self._cast(name, copy, target)
        return self._copies[name]

    def _cast(self, source: str, result: str, target: int) -> None:
        from onnx import helper

        node = helper.make_node("Cast", [source], [result], f"{result}_cast", to=target)
        self._nodes.append(node)
        self.casts += 1

    def _fresh(self, name: str) -> str:
        candidate = f"{name}_cast"
        while candidate in self._names:
            candidate += "_"
        self._names.add(candidate)
        return candidate

    def _narrow_tensor(self, tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
        from onnx import helper, numpy_helper

        values = numpy_helper.to_array(tensor)
        narrowed = values.astype(helper.tensor_dtype_to_np_dtype(self._narrow))
        self._narrowed += values.size
        self._zeroed += int(np.count_nonzero((narrowed == 0) & (values != 0)))
        return numpy_helper.from_array(narrowed, name)

    def _widen_in_place(self, name: str) -> None:
        """Rename the narrow tensor and give its name to an FP32 cast of it."""
        renamed = self._renamed(name)
        self._cast(renamed, name, self._wide)
        self._types[name] = self._wide
        self._copies[name] = renamed

    def _renamed(self, name: str) -> str:
        """Rename a tensor in all nodes rewritten so far; return the new name."""
        renamed = self._fresh(name)
        for node in self._nodes:
            for names in (node.output, node.input):
                for index, found in enumerate(names):
                    if found == name:
                        names[index] = renamed
        return renamed

    def _finish_outputs(self) -> None:
        for value in self._model.graph.output:
            if value.name not in self._floats or value.name in self._weights:
                continue
            wanted = self._wide if self._keep_io else self._narrow
            if self._types.get(value.name, self._wide) == wanted:
                pass
            elif wanted == self._wide:
                self._widen_in_place(value.name)
            else:
                self._cast(self._renamed(value.name), value.name, self._narrow)
            value.type.tensor_type.elem_type = wanted

    def _captured(self, node: onnx.NodeProto) -> set[str]:
        """Return the names that a node's subgraphs read, including their own tensors."""
        names: set[str] = set()
        nodes = [node]
        while nodes:
            for attribute in nodes.pop().attribute:
                graphs = [attribute.g] if attribute.HasField("g") else []
                for graph in (*attribute.graphs, *graphs):
                    nodes += graph.node
                    names.update(name for inner in graph.node for name in inner.input)
                    names.update(value.name for value in graph.output)
        return names

    def _reads(self, node: onnx.NodeProto) -> set[str]:
        return {*node.input, *self._captured(node)}
