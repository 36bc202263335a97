"""ONNX files whose weights lie in the file itself, or beside it where one cannot hold them."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .store import disk_errors

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

# protobuf's limit is 2 GiB; what surrounds the weights, and copies passes make, stays below it.
MAX_INLINE_BYTES = 1536 * 1024 * 1024


def needs_external_data(tensor: onnx.TensorProto) -> bool:
    """Return whether a weight lies in another file."""
    import onnx

    return tensor.data_location == onnx.TensorProto.EXTERNAL


def _tensors(model: ir.Model) -> list[ir.TensorProtocol]:
    values = [*model.graph.initializers.values()]
    for graph in model.graph.subgraphs():
        values += graph.initializers.values()
    return [value.const_value for value in values if value.const_value is not None]


def weight_bytes(model: ir.Model) -> tuple[int, int]:
    """Return the bytes of all weights, and of those that lie in other files."""
    import onnx_ir as ir

    tensors = _tensors(model)
    outside = sum(t.nbytes for t in tensors if isinstance(t, ir.ExternalTensor))
    return sum(t.nbytes for t in tensors), outside


def save_graph(model: ir.Model, path: Path, *, external: bool | None = None) -> None:
    """Write a graph; weights in PATH.data where one file cannot hold them.

    Weights that lie in another file already are not copied where those in memory fit into the
    file itself: only what refers to them is written.

    Args:
        external: True moves all weights into PATH.data; None only where it must.

    Raises:
        DiskError: The disk is full.
    """
    import onnx_ir as ir

    total, outside = weight_bytes(model)
    apart = total - outside > MAX_INLINE_BYTES if external is None else external
    with disk_errors(str(path)):
        ir.save(model, path, external_data=f"{path.name}.data" if apart else None)


def place_model(source: Path, target: Path, *, external: bool | None = None) -> None:
    """Write a finished model to its place; weights are streamed from the source.

    Raises:
        DiskError: The disk is full.
    """
    import onnx_ir as ir

    place_graph(ir.load(source), target, external=external)


def place_graph(model: ir.Model, target: Path, *, external: bool | None = None) -> None:
    """Write a graph to its place, with all its weights in one file or in one more.

    Both files are complete before either gets its name; the weights get theirs first.

    Args:
        external: Whether weights go to TARGET.data; None where they lie outside already, or one
            file cannot hold them.

    Raises:
        DiskError: The disk is full.
    """
    total, outside = weight_bytes(model)
    apart = outside > 0 or total > MAX_INLINE_BYTES if external is None else external
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:100]}.") as folder:
        written = Path(folder) / target.name
        save_graph(model, written, external=apart)
        data = written.with_name(f"{written.name}.data")
        if data.exists():
            os.replace(data, target.with_name(data.name))
        os.replace(written, target)


def model_bytes(path: Path) -> int:
    """Return the bytes of a model's file and of its weights in other files."""
    import onnx_ir as ir

    return path.stat().st_size + weight_bytes(ir.load(path))[1]
