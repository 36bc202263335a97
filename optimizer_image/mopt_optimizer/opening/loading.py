"""Opens the model file. Call from a process without credentials: the bytes are not trusted."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mopt_api.enums import ModelFormat
from mopt_api.formats import FORMATS
from mopt_optimizer.errors import ModelError, UnsafeModelError, first_line

from .limits import MAX_ONNX_BYTES
from .safety import is_tar, rewrite_pt2, rewrite_torchscript, unpack_onnx

if TYPE_CHECKING:
    import onnx
    import torch
    from torch.export import ExportedProgram

SCRIPT_SUFFIX = FORMATS[ModelFormat.TORCH_SCRIPT].suffix
_KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}


def archive_names(path: Path) -> list[str] | None:
    """Return the names in a zip archive; None for a file that is none.

    Raises:
        ModelError: A damaged archive.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelError(f"damaged archive: {error}") from error


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


def load_torchscript(path: Path, workdir: Path) -> torch.jit.ScriptModule:
    """Open a file that was written by torch.jit.save, after it was checked; in eval mode.

    Args:
        workdir: Gets the checked copy, as large as the model, for as long as the call lasts.

    Raises:
        UnsafeModelError: Opening or running it would reach files or extensions.
        ModelError: It is not such a file, is damaged, or of an unreadable version.
        DiskError: No space for the copy.
    """
    import torch

    checked = workdir / "checked.ts"
    try:
        rewrite_torchscript(path, checked)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so
            module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
                checked, map_location="cpu"
            )
    except (RuntimeError, ValueError, AttributeError) as error:
        reason = first_line(error)
        raise ModelError(f"torch {torch.__version__} cannot load it: {reason}") from error
    finally:
        checked.unlink(missing_ok=True)
    module.eval()
    return module


def script_parameters(module: torch.nn.Module) -> dict[str, bool]:
    """Return the parameters of a TorchScript module's forward, and whether each must be given."""
    arguments = module.forward.schema.arguments[1:]  # type: ignore[attr-defined]
    return {argument.name: not argument.has_default_value() for argument in arguments}


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


def onnx_file(path: Path, folder: Path) -> Path:
    """Return the ONNX file of a model: the file itself, or that of an archive, unpacked.

    Args:
        folder: Is made for what an archive holds.

    Raises:
        UnsafeModelError, ModelError, DiskError: As safety.unpack_onnx.
    """
    return unpack_onnx(path, folder) if is_tar(path) else path


def load_onnx(path: Path) -> onnx.ModelProto:
    """Open an ONNX file that holds all its weights, and check it.

    Raises:
        ModelError: It is not ONNX, damaged, invalid, keeps weights in other files, or uses
            operators of a domain that no runtime of ours has.
    """
    return _opened(path, external=False)


def open_onnx(path: Path) -> onnx.ModelProto:
    """Open an ONNX file and check it; weights in files beside it are checked, but not read.

    Raises:
        UnsafeModelError: It names a file elsewhere: an absolute path, one with .., a symlink.
        ModelError: As load_onnx, or a file of weights is missing or too short.
    """
    return _opened(path, external=True)


def _opened(path: Path, *, external: bool) -> onnx.ModelProto:
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
    _check_opsets(model)
    _check_graph(model, path.parent if external else None)
    try:
        # By its path where weights lie outside: they are found from there.
        onnx.checker.check_model(str(path) if external else model)
    # onnx fails to decode its own message where it quotes a damaged name.
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        raise ModelError(f"invalid ONNX model: {first_line(error)}") from error
    return model


def _check_opsets(model: onnx.ModelProto) -> None:
    """Refuse an opset that is newer than what is installed; the checker only says unknown."""
    from onnx.defs import onnx_opset_version

    newest = onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and not 1 <= entry.version <= newest:
            raise ModelError(
                f"the model uses opset {entry.version}; 1 to {newest} are known here: export it "
                "with an older opset_version"
            )


def _check_graph(model: onnx.ModelProto, folder: Path | None) -> None:
    """Refuse bad external data and unknown domains, in subgraphs and functions too.

    Args:
        folder: Where weights may lie; None refuses all external data.
    """
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
        values = graph.input if isinstance(graph, onnx.GraphProto) else []
        kinds = [(t.name, t.data_type) for t in tensors]
        kinds += [
            (v.name, v.type.tensor_type.elem_type) for v in values if v.type.HasField("tensor_type")
        ]
        for name, kind in kinds:
            if kind not in onnx.TensorProto.DataType.values():
                raise ModelError(f"{name!r} has the unknown element type {kind}")
        for tensor in tensors:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                if folder is not None:
                    check_external_data(tensor, folder)
                    continue
                raise ModelError(
                    f"weight {tensor.name!r} lies in another file, and a model is one: pack both "
                    "into a tar (tar cf model.tar model.onnx model.onnx.data)"
                )


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
