"""Opens the model file. Call from a process without credentials: the bytes are not trusted."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ._errors import ModelError, UnsafeModelError
from .safety import rewrite_pt2
from .verifying import first_line

if TYPE_CHECKING:
    import onnx
    from torch.export import ExportedProgram

# A protobuf message cannot be larger; more needs external data.
MAX_ONNX_BYTES = 2**31 - 1
_KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}


def load_exported_program(path: Path, workdir: Path) -> ExportedProgram:
    """Open a .pt2 that was written by torch.export.save, after it was checked.

    Args:
        workdir: Gets the checked copy, as large as the model, for as long as the call lasts.

    Raises:
        UnsafeModelError: Opening it would run code that it carries.
        ModelError: It is not such a file, is damaged, or of an unreadable version.
        DiskError: No space for the copy.
    """
    checked = workdir / "checked.pt2"
    try:
        rewrite_pt2(path, checked)
        program = _torch_load(checked)
    finally:
        checked.unlink(missing_ok=True)
    _check_operators(program)
    return program


def _torch_load(path: Path) -> ExportedProgram:
    import torch
    from torch._export.serde.serialize import SerializeError

    with warnings.catch_warnings():
        # torch warns of its own deprecations while it loads; they are not about the model.
        warnings.simplefilter("ignore")
        try:
            return torch.export.load(path)
        except (
            SerializeError,
            RuntimeError,
            AssertionError,
            AttributeError,
            KeyError,
            IndexError,
            TypeError,
            ValueError,
        ) as error:
            reason = first_line(error)
            raise ModelError(f"torch {torch.__version__} cannot load it: {reason}") from error


def _check_operators(program: ExportedProgram) -> None:
    """Refuse a program whose targets are not operators: they would be called as they are."""
    import math
    import operator

    import torch

    for module in program.graph_module.modules():
        if not isinstance(module, torch.fx.GraphModule):
            continue
        for node in module.graph.nodes:
            target = node.target
            if node.op != "call_function" or isinstance(target, torch._ops.OperatorBase):
                continue
            origin = getattr(target, "__module__", None)
            if origin not in (operator.__name__, "_operator", math.__name__) and not (
                origin == "torch" and target.__name__.startswith(("sym_", "_sym_"))
            ):
                raise UnsafeModelError(f"the program calls {target!r}, which is no operator")


def load_onnx(path: Path) -> onnx.ModelProto:
    """Open an ONNX file that holds all its weights, and check it.

    Raises:
        ModelError: It is not ONNX, damaged, invalid, keeps weights in other files, or uses
            operators of a domain that no runtime of ours has.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    size = path.stat().st_size
    if size > MAX_ONNX_BYTES:
        raise ModelError(f"an ONNX file of {size} bytes; up to {MAX_ONNX_BYTES} are supported")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ModelError(
            f"not an ONNX model: {size} bytes that are another format, or truncated"
        ) from error
    if not model.graph.node or not model.opset_import:
        raise ModelError("not an ONNX model: no graph or no opset in it")
    _check_graph(model)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"invalid ONNX model: {first_line(error)}") from error
    return model


def _check_graph(model: onnx.ModelProto) -> None:
    """Refuse external data and unknown domains anywhere, subgraphs and functions included."""
    import onnx

    own = {function.domain for function in model.functions}
    graphs: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        tensors = list(graph.initializer) if isinstance(graph, onnx.GraphProto) else []
        for node in graph.node:
            if node.domain not in _KNOWN_DOMAINS | own:
                raise ModelError(
                    f"node {node.name or node.op_type!r} uses {node.op_type} of the custom domain "
                    f"{node.domain!r}; none of the runtimes has it"
                )
            for attribute in node.attribute:
                graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
                tensors += [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
        for tensor in tensors:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise ModelError(
                    f"weight {tensor.name!r} lies in another file; external data is not supported "
                    "yet: save the model as one file"
                )
