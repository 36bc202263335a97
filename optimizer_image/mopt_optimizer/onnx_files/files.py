"""ONNX files with inline weights, or with external data if one file cannot hold them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.store.writing import disk_errors

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

MAX_INLINE_VARIABLE = "MOPT_MAX_INLINE_BYTES"
# protobuf's limit is 2 GiB; this leaves room for the graph and for copies that passes make.
# The variable lowers it, so that tests exercise large models' paths on small ones.
MAX_INLINE_BYTES = int(os.environ.get(MAX_INLINE_VARIABLE, 1536 * 1024 * 1024))


def needs_external_data(tensor: onnx.TensorProto) -> bool:
    """Return whether a weight is stored as external data."""
    import onnx

    return tensor.data_location == onnx.TensorProto.EXTERNAL


def data_files(path: Path) -> list[Path]:
    """Return the external data files of an ONNX file, sorted by name."""
    import onnx_ir as ir

    tensors = _tensors(ir.load(path))
    names = {str(t.location) for t in tensors if isinstance(t, ir.ExternalTensor)}
    return [path.parent / name for name in sorted(names)]


def count_operators(path: Path) -> dict[str, int]:
    """Return the node count per operator type, subgraphs included, by name; reads no weights."""
    import onnx_ir as ir

    nodes = ir.traversal.RecursiveGraphIterator(ir.load(path).graph)
    return dict(sorted(Counter(node.op_type for node in nodes).items()))


def outside_values(tensor: onnx.TensorProto, folder: Path) -> NDArray[Any]:
    """Return the values of an external weight, memory-mapped, not read.

    Args:
        tensor: Already checked by sources.check_external_data.
        folder: The model's.
    """
    import onnx

    entries = {entry.key: entry.value for entry in tensor.external_data}
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    shape = tuple(tensor.dims)
    if not np.prod(shape):
        return np.zeros(shape, kind)
    offset = int(entries.get("offset", "0"))
    return np.memmap(folder / entries["location"], kind, "r", offset, shape)


def _tensors(model: ir.Model) -> list[ir.TensorProtocol]:
    values = [*model.graph.initializers.values()]
    for graph in model.graph.subgraphs():
        values += graph.initializers.values()
    return [value.const_value for value in values if value.const_value is not None]


def weight_bytes(model: ir.Model) -> tuple[int, int]:
    """Return the bytes of all weights, and of the external ones."""
    import onnx_ir as ir

    tensors = _tensors(model)
    outside = sum(t.nbytes for t in tensors if isinstance(t, ir.ExternalTensor))
    return sum(t.nbytes for t in tensors), outside


def needs_other_file(model: ir.Model) -> bool:
    """Return whether a model's weights are too large to be stored inline."""
    return weight_bytes(model)[0] > MAX_INLINE_BYTES


def save_graph(model: ir.Model, path: Path, *, external: bool | None = None) -> None:
    """Write a graph; weights go to PATH.data if one file cannot hold them.

    Existing external data is not copied if the weights in memory fit into the file itself: only the
    references are written.

    Args:
        external: True moves all weights into PATH.data; None only if necessary.

    Raises:
        DiskError: The disk is full.
    """
    import onnx_ir as ir

    total, outside = weight_bytes(model)
    apart = total - outside > MAX_INLINE_BYTES if external is None else external
    with disk_errors(str(path)):
        ir.save(model, path, external_data=f"{path.name}.data" if apart else None)


def place_model(source: Path, target: Path, *, external: bool | None = None) -> None:
    """Write a finished model to its target; weights are streamed from the source.

    Raises:
        DiskError: The disk is full.
    """
    import onnx_ir as ir

    place_graph(ir.load(source), target, external=external)


def place_graph(model: ir.Model, target: Path, *, external: bool | None = None) -> None:
    """Write a graph to its target, with all its weights inline or in one external file.

    Both files are complete before either is moved into place; the weights are moved first.

    Args:
        external: Whether weights go to TARGET.data; None does so if some are external already, or
            one file cannot hold them.

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


def place_whole(proto: onnx.ModelProto, folder: Path, target: Path) -> None:
    """Write a finished model to its target, in one file if possible, else in two.

    Args:
        folder: Folder of its external data.

    Raises:
        DiskError: The disk is full.
    """
    import onnx_ir as ir

    model = ir.serde.deserialize_model(proto)
    ir.external_data.set_base_dir(model.graph, folder)
    apart = needs_other_file(model)
    if not apart:
        ir.external_data.load_to_model(model)
    place_graph(model, target, external=apart)


def gather_weights(path: Path) -> None:
    """Merge a model's external data into one file, without unused data.

    A model without external data is left unchanged.

    Raises:
        DiskError: The disk is full.
    """
    if not (files := data_files(path)):
        return
    place_model(path, path, external=True)
    for file in {*files} - {*data_files(path)}:
        file.unlink()


def model_bytes(path: Path) -> int:
    """Return the bytes of a model's file and of its external data."""
    import onnx_ir as ir

    return path.stat().st_size + weight_bytes(ir.load(path))[1]
