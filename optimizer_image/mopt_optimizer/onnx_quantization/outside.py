"""External weights of an ONNX file: models that do not fit twice into memory, or into one file.

ONNX Runtime's quantizer needs every weight in memory, in FP32 and in INT8, in one protobuf message
of at most 2 GiB. All it uses of a weight is the minimum and maximum, per channel or overall. It
therefore gets stand-ins: weights that hold only those two values. The real weights then replace
them in its output, quantized one at a time into a scratch file that all forms of the model share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.onnx_files.files import needs_external_data, outside_values
from mopt_optimizer.opening.limits import MAX_ONNX_BYTES
from mopt_optimizer.store.writing import disk_errors

if TYPE_CHECKING:
    import onnx

# Values quantized at a time.
_CHUNK = 16 * 1024 * 1024
_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}


@contextmanager
def outside_weights(path: Path, model: onnx.ModelProto) -> Iterator[OutsideWeights | None]:
    """Yield the external weights of a model, or None if it has none.

    Inside the context, a scratch folder beside the model holds their INT8 forms.

    Args:
        path: The file that loading.open_onnx read the model from.

    Raises:
        QuantizationError: The model's folder is not writable, or weights that have to be held in
            memory are too large.
    """
    outside = {t.name: t for t in model.graph.initializer if needs_external_data(t)}
    if not outside:
        yield None
        return
    try:
        scratch = TemporaryDirectory(dir=path.parent, prefix=".int8-")
    except PermissionError as error:
        raise QuantizationError(
            f"{path.parent} cannot be written: weights in 8 bits are kept beside the model"
        ) from error
    with scratch as folder:
        yield OutsideWeights(model, outside, path.parent, f"{Path(folder).name}/int8.data")


class OutsideWeights:
    """External weights of a model, and their stand-ins.

    Attributes:
        folder: Where sessions find the weight files that models refer to.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        outside: dict[str, onnx.TensorProto],
        folder: Path,
        int8_file: str,
    ) -> None:
        self.folder = folder
        self._int8_file = int8_file
        self._outside = outside
        self._axes = {n: a for n, a in _channel_axes(model).items() if n in outside}
        whole = sum(4 * math.prod(t.dims) for n, t in outside.items() if n not in self._axes)
        if whole > MAX_ONNX_BYTES // 2:
            raise QuantizationError(
                f"weights of {whole} bytes are read by other nodes than Conv, Gemm and MatMul; "
                f"with weights in other files, {MAX_ONNX_BYTES // 2} bytes of such are supported"
            )
        self._stand_ins = {name: self._stand_in(name) for name in outside}
        self._int8: dict[tuple[str, bytes], onnx.TensorProto] = {}

    def _stand_in(self, name: str) -> onnx.TensorProto:
        """Return a weight's minimum and maximum per channel; all of a small weight whose channel
        axis is unknown."""
        from onnx import numpy_helper

        values = outside_values(self._outside[name], self.folder)
        if name not in self._axes:
            return numpy_helper.from_array(np.array(values), name)
        kept = self._axes[name]
        others = tuple(axis for axis in range(values.ndim) if axis != kept)
        bounds = [values.min(axis=others, keepdims=True), values.max(axis=others, keepdims=True)]
        return numpy_helper.from_array(np.concatenate(bounds, axis=1 - kept), name)

    def slim(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return a copy of the model with stand-ins for its external weights."""
        import onnx
        from onnxruntime.quantization.quant_utils import add_infer_metadata

        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        for tensor in copied.graph.initializer:
            if tensor.name in self._stand_ins:
                tensor.CopyFrom(self._stand_ins[tensor.name])
        # Shapes are already inferred; inferred again from stand-ins, they would be wrong.
        add_infer_metadata(copied)
        return copied

    def restored(self, written: onnx.ModelProto) -> onnx.ModelProto:
        """Replace stand-ins with the real FP32 and INT8 weights, in place; return the model.

        Raises:
            DiskError: No space left.
        """
        from onnx import numpy_helper

        by_name = {tensor.name: tensor for tensor in written.graph.initializer}
        for name in self._axes:
            if tensor := by_name.get(name):
                tensor.CopyFrom(self._outside[name])
            if tensor := by_name.get(f"{name}_quantized"):
                scales = numpy_helper.to_array(by_name[f"{name}_scale"])
                zeros = numpy_helper.to_array(by_name[f"{name}_zero_point"])
                tensor.CopyFrom(self._in_int8(name, tensor.data_type, scales, zeros))
        return written

    def _in_int8(
        self, name: str, kind: int, scales: NDArray[Any], zeros: NDArray[Any]
    ) -> onnx.TensorProto:
        """Return a weight as external integers, written once per set of scales."""
        import onnx

        key = (name, scales.tobytes() + zeros.tobytes())
        if key not in self._int8:
            file = self.folder / self._int8_file
            dims = self._outside[name].dims
            tensor = onnx.TensorProto(
                name=f"{name}_quantized",
                data_type=kind,
                dims=dims,
                data_location=onnx.TensorProto.EXTERNAL,
            )
            with disk_errors(str(file)), file.open("ab") as writer:
                place = {
                    "location": self._int8_file,
                    "offset": writer.tell(),
                    "length": math.prod(dims),
                }
                for values in self._integers(name, kind, scales, zeros):
                    writer.write(values)
            for entry, value in place.items():
                tensor.external_data.add(key=entry, value=str(value))
            self._int8[key] = tensor
        return self._int8[key]

    def _integers(
        self, name: str, kind: int, scales: NDArray[Any], zeros: NDArray[Any]
    ) -> Iterator[bytes]:
        from onnxruntime.quantization.quant_utils import quantize_nparray

        values = outside_values(self._outside[name], self.folder)
        axis = self._axes[name]
        shape = [1] * values.ndim
        if scales.size > 1:
            shape[axis] = scales.size
        scales, zeros = scales.reshape(shape), zeros.reshape(shape)
        rows = max(1, _CHUNK * len(values) // max(values.size, 1))
        for first in range(0, len(values), rows):
            part = slice(first, first + rows)
            own = part if shape[0] > 1 else slice(None)
            yield quantize_nparray(kind, values[part], scales[own], zeros[own]).tobytes()


def _channel_axes(model: onnx.ModelProto) -> dict[str, int]:
    """Return the output-channel axis of each weight that all readers use with the same axis."""
    ranks = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    found: dict[str, set[int | None]] = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            axis = _CHANNEL_AXIS.get(node.op_type) if position == 1 else None
            if node.op_type == "Gemm" and position == 1:
                axis = 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
            if node.op_type == "MatMul" and ranks.get(name) != 2:
                axis = None
            found.setdefault(name, set()).add(axis)
    return {
        name: axis
        for name, axes in found.items()
        if len(axes) == 1 and (axis := next(iter(axes))) is not None
    }
