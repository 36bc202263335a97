"""ONNX Runtime's quantizer, which looks at a weight once for all forms of a model.

Importing this module loads onnxruntime.
"""

from __future__ import annotations

from collections.abc import Hashable
from copy import deepcopy
from itertools import count
from typing import TYPE_CHECKING, Any

from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

if TYPE_CHECKING:
    import onnx

Scales = dict[Hashable, Any]
"""Scale and zero point of each weight, by its name and how it is quantized."""


class RememberingQuantizer(QDQQuantizer):  # type: ignore[misc]
    """Takes the scales of weights from earlier forms of the same model, with the same options.

    They are most of the time of writing a form: one channel after the other, in Python. Copies of a
    bias that layers share get a name that is free; ONNX Runtime (1.32) looks among weights alone,
    and takes that of another tensor.

    Args:
        scales: What is known, and is added to.
    """

    tensors_to_quantize: dict[str, Any]

    def __init__(self, *arguments: Any, scales: Scales, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._scales = scales

    def _calc_initializer_quant_params(self) -> dict[str, Any]:
        wanted = self.tensors_to_quantize
        keys = {name: (name, info.tensor_type, info.axis) for name, info in wanted.items()}
        self.tensors_to_quantize = {
            name: info for name, info in wanted.items() if keys[name] not in self._scales
        }
        found = super()._calc_initializer_quant_params()
        # An activation has none, which is known then too.
        self._scales |= {keys[name]: found.get(name) for name in self.tensors_to_quantize}
        self.tensors_to_quantize = wanted
        # The quantizer raises the scales of weights whose bias would overflow.
        known = ((name, self._scales[keys[name]]) for name in wanted)
        return {name: deepcopy(scales) for name, scales in known if scales is not None}

    def _dup_initializer(self, initializer: onnx.TensorProto) -> onnx.TensorProto:
        copied = type(initializer)()
        copied.CopyFrom(initializer)
        graph = self.model.graph()
        taken = {name for node in graph.node for name in (*node.input, *node.output)}
        taken |= {tensor.name for tensor in graph.initializer}
        numbers = (f"{initializer.name}_copy_{number}" for number in count())
        copied.name = next(name for name in numbers if name not in taken)
        self.model.add_initializer(copied)
        return copied
