"""What an ONNX model may hold: known domains and element types, whole weights, files beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mopt_optimizer.errors import ModelError, UnsafeModelError

from .limits import amount

if TYPE_CHECKING:
    import onnx

    Graph = onnx.GraphProto | onnx.FunctionProto

_KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
_BITS = {
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64", "COMPLEX64"), 64),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("INT2", "UINT2"), 2),
    "COMPLEX128": 128,
}
_BITS_OF_OTHERS = 8  # bool, INT8, UINT8 and the kinds of FLOAT8


def graphs_of(model: onnx.ModelProto) -> Iterator[Graph]:
    """Yield the graph, the functions, what trains them, and all graphs in their nodes."""
    pending: list[Graph] = [model.graph, *model.functions]
    for training in model.training_info:
        pending += [training.initialization, training.algorithm]
    while pending:
        graph = pending.pop()
        yield graph
        for attribute in attributes_of(graph):
            pending += subgraphs_of(attribute)


def attributes_of(graph: Graph) -> Iterator[onnx.AttributeProto]:
    """Yield the attributes of a graph's nodes, and the defaults of a function's own."""
    import onnx

    if isinstance(graph, onnx.FunctionProto):
        yield from graph.attribute_proto
    for node in graph.node:
        yield from node.attribute


def subgraphs_of(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """Return the graphs in an attribute."""
    return [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def check_graphs(model: onnx.ModelProto, folder: Path | None) -> None:
    """Refuse bad external data, unknown domains and damaged weights, wherever they stand.

    Args:
        folder: Where weights may lie; None refuses all external data.

    Raises:
        UnsafeModelError, ModelError: As check_external_data; or an unknown domain or element type,
            or a weight with fewer values than its shape says.
    """
    own = {function.domain for function in model.functions}
    for graph in graphs_of(model):
        for node in graph.node:
            if node.domain not in _KNOWN_DOMAINS | own:
                raise ModelError(
                    f"node {node.name or node.op_type!r} uses {node.op_type} of the custom domain "
                    f"{node.domain!r}; none of the runtimes has it"
                )
        tensors = list(_tensors_of(graph))
        _check_kinds(graph, tensors)
        for tensor in tensors:
            _check_tensor(tensor, folder)


def _tensors_of(graph: Graph) -> Iterator[onnx.TensorProto]:
    import onnx

    sparse: list[onnx.SparseTensorProto] = []
    if isinstance(graph, onnx.GraphProto):
        yield from graph.initializer
        sparse += graph.sparse_initializer
    for attribute in attributes_of(graph):
        yield from attribute.tensors
        if attribute.HasField("t"):
            yield attribute.t
        sparse += attribute.sparse_tensors
        if attribute.HasField("sparse_tensor"):
            sparse.append(attribute.sparse_tensor)
    if sparse:
        # No runtime of ours keeps them sparse; a file of bytes would become a tensor of any size.
        raise ModelError(
            f"weight {sparse[0].values.name!r} is a sparse tensor: export it as a plain one"
        )


def _check_kinds(graph: Graph, tensors: Iterable[onnx.TensorProto]) -> None:
    import onnx

    values = graph.input if isinstance(graph, onnx.GraphProto) else []
    kinds = [(t.name, t.data_type) for t in tensors]
    kinds += [
        (v.name, v.type.tensor_type.elem_type) for v in values if v.type.HasField("tensor_type")
    ]
    known = onnx.TensorProto.DataType.values()
    for name, kind in kinds:
        if kind not in known:
            raise ModelError(f"{name!r} has the unknown element type {kind}")


def _packing(tensor: onnx.TensorProto) -> str:
    """Return how to make one file of a model and of the file that a weight of it lies in."""
    places = [entry.value for entry in tensor.external_data if entry.key == "location"]
    if any("/" in place or "\\" in place for place in places):
        return (
            "onnx.save(onnx.load('model.onnx'), 'flat.onnx') does, up to 2 GB; above, with "
            "save_as_external_data=True, location='flat.data', and both packed into a tar"
        )
    return "pack both into a tar (tar cf model.tar model.onnx model.onnx.data)"


def _check_tensor(tensor: onnx.TensorProto, folder: Path | None) -> None:
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        if folder is None:
            raise ModelError(
                f"weight {tensor.name!r} lies in another file, and a model is one: "
                f"{_packing(tensor)}"
            )
        check_external_data(tensor, folder)
        return
    if any(size < 0 for size in tensor.dims):
        shape = str(list(tensor.dims))[:80]
        raise ModelError(f"weight {tensor.name!r} has the shape {shape}")
    expected, held = _lengths(tensor)
    if held < expected or (tensor.HasField("raw_data") and held > expected):
        raise ModelError(
            f"weight {tensor.name!r} of the shape {str(list(tensor.dims))[:80]} has {held} bytes, "
            f"and its shape asks for {amount(expected)}: it is damaged"
        )


def _lengths(tensor: onnx.TensorProto) -> tuple[int, int]:
    """Return the bytes that a weight's shape asks for, and those that the file has for it."""
    import onnx

    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    values = 1
    for size in tensor.dims:
        values *= size
    if kind == "STRING":
        return values, len(tensor.string_data)
    expected = (values * _BITS.get(kind, _BITS_OF_OTHERS) + 7) // 8
    if tensor.HasField("raw_data"):
        return expected, len(tensor.raw_data)
    held = 4 * len(tensor.float_data) + 8 * (len(tensor.double_data) + len(tensor.int64_data))
    # A narrow type takes 32 bits here, or two of 4 bits do: never fewer than it needs.
    return expected, held + 8 * len(tensor.uint64_data) + 4 * len(tensor.int32_data)


def check_external_data(tensor: onnx.TensorProto, folder: Path) -> None:
    """Check where a weight lies: a plain file in the model's folder, large enough.

    Raises:
        UnsafeModelError: An absolute path, one with .., or one through a symlink.
        ModelError: No such file, or one that ends before the weight does.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    where = f"weight {tensor.name!r} lies in {location!r}"
    parts = PurePosixPath(location.replace("\\", "/")).parts
    if not parts or "\0" in location:
        raise ModelError(f"weight {tensor.name!r} names no file")
    if parts[0] == "/" or ".." in parts or ":" in parts[0]:
        raise UnsafeModelError(f"{where}: only files in the model's folder are read")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise UnsafeModelError(f"{where}, which is or passes a symbolic link")
    if not path.is_file():
        raise ModelError(f"{where}, which is missing: keep it beside the model")
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", "0"))
    except ValueError as error:
        raise ModelError(f"{where} at an offset that is no number") from error
    size = path.stat().st_size
    if offset < 0 or length < 0 or offset + length > size:
        raise ModelError(
            f"{where} from byte {offset}, {length} bytes long; the file has {size}: it is truncated"
        )
