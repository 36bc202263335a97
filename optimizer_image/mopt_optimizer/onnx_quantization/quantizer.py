"""ONNX Runtime's quantizer, which looks at a weight once for all forms of a model.

Importing this module loads onnxruntime.
"""

from __future__ import annotations

from collections.abc import Hashable
from copy import deepcopy
from typing import Any

from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

Scales = dict[Hashable, Any]
"""Scale and zero point of each weight, by its name and how it is quantized."""


class RememberingQuantizer(QDQQuantizer):  # type: ignore[misc]
    """Takes the scales of weights from earlier forms of the same model, with the same options.

    They are most of the time of writing a form: one channel after the other, in Python.

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
