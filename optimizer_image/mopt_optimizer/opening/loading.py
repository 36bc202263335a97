"""Opens the model file. Call from a process without credentials: the bytes are not trusted."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from mopt_api.enums import ModelFormat
from mopt_api.formats import FORMATS
from mopt_optimizer.errors import ModelError, first_line

from .flat_inputs import check_mode, flatten_inputs
from .free_axes import free_axes
from .limits import MAX_ONNX_BYTES
from .onnx_counts import check_counts
from .onnx_graphs import check_external_data, check_graphs
from .onnx_text import check_text
from .resolved import check_program, check_script
from .safety import (
    check_messages,
    is_tar,
    rewrite_pt2,
    rewrite_torchscript,
    unpack_onnx,
    zip_errors,
)
from .strangers import check_familiar

if TYPE_CHECKING:
    import onnx
    import torch
    from torch.export import ExportedProgram

__all__ = [
    "SCRIPT_SUFFIX",
    "archive_names",
    "check_external_data",
    "load_exported_program",
    "load_onnx",
    "load_torchscript",
    "onnx_file",
    "open_onnx",
    "script_parameters",
]

SCRIPT_SUFFIX = FORMATS[ModelFormat.TORCH_SCRIPT].suffix
MAX_REASON = 300
"""Characters of a library's message that are quoted: it may hold the whole file."""


def archive_names(path: Path) -> list[str] | None:
    """Return the names in a zip archive; None for a file that is none.

    Raises:
        ModelError: A damaged archive.
    """
    with zip_errors("archive"):
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()


def load_exported_program(path: Path, workdir: Path) -> ExportedProgram:
    """Open a .pt2 that was written by torch.export.save, after it was checked.

    It takes its tensors by position, however it was exported.

    Args:
        workdir: Gets the checked copy, as large as the model, for as long as the call lasts.

    Raises:
        UnsafeModelError: Opening it would run code that it carries.
        ModelError: It is not such a file, is damaged, of an unreadable version, or was exported in
            training mode.
        DiskError: No space for the copy.
    """
    check_familiar(path)
    checked = workdir / "checked.pt2"
    try:
        rewrite_pt2(path, checked)
        program = _torch_load(checked)
    finally:
        checked.unlink(missing_ok=True)
    check_program(program)
    check_mode(program)
    flatten_inputs(program)
    return program


def _torch_load(path: Path) -> ExportedProgram:
    import torch

    with warnings.catch_warnings():
        # torch warns of its own deprecations while it loads; they are not about the model.
        warnings.simplefilter("ignore")
        try:
            return torch.export.load(path)
        # Whatever torch and sympy meet in a hostile file, it is the file that is wrong.
        except Exception as error:
            raise _unreadable(error) from error


def _unreadable(error: Exception) -> ModelError:
    import torch

    if isinstance(error, MemoryError):
        return ModelError("opening it takes more memory than there is")
    reason = first_line(error)[:MAX_REASON]
    return ModelError(f"torch {torch.__version__} cannot load it: {reason}")


def load_torchscript(path: Path, workdir: Path) -> torch.jit.ScriptModule:
    """Open a file that was written by torch.jit.save, after it was checked; in eval mode.

    Args:
        workdir: Gets the checked copy, as large as the model, for as long as the call lasts.

    Raises:
        UnsafeModelError: Opening or running it would reach files or extensions.
        ModelError: It is not such a file, is damaged, of an unreadable version, or has no forward.
        DiskError: No space for the copy.
    """
    check_familiar(path)
    checked = workdir / "checked.ts"
    try:
        rewrite_torchscript(path, checked)
        module = _jit_load(checked)
    finally:
        checked.unlink(missing_ok=True)
    module.eval()
    return module


def _jit_load(path: Path) -> torch.jit.ScriptModule:
    """Do as torch.jit.load, and check what it compiled."""
    import torch
    from torch.jit._recursive import wrap_cpp_module

    unit = torch._C.CompilationUnit()
    try:
        opened = torch._C.import_ir_module(  # type: ignore[call-arg]
            unit, str(path), torch.device("cpu"), {}, False
        )
        module: torch.jit.ScriptModule = wrap_cpp_module(opened)  # type: ignore[no-untyped-call]
    except Exception as error:  # as in _torch_load
        raise _unreadable(error) from error
    check_script(unit)
    if not hasattr(module, "forward"):
        raise ModelError("a TorchScript file whose module has no method forward")
    return module


def script_parameters(module: torch.nn.Module) -> dict[str, bool]:
    """Return the parameters of a TorchScript module's forward, and whether each must be given."""
    arguments = module.forward.schema.arguments[1:]  # type: ignore[attr-defined]
    return {argument.name: not argument.has_default_value() for argument in arguments}


def onnx_file(path: Path, folder: Path) -> Path:
    """Return the ONNX file of a model: the file itself, or that of an archive, unpacked.

    Args:
        folder: Is made for what an archive holds.

    Raises:
        UnsafeModelError, ModelError, DiskError: As safety.unpack_onnx.
    """
    return unpack_onnx(path, folder) if is_tar(path) else path


def load_onnx(path: Path) -> onnx.ModelProto:
    """Open an ONNX file that holds all its weights, and check it; see also free_axes.

    Raises:
        ModelError: It is not ONNX, damaged, invalid, keeps weights in other files, uses operators
            of a domain that no runtime of ours has, or expands to far too much.
    """
    return _opened(path, external=False)


def open_onnx(path: Path) -> onnx.ModelProto:
    """Do as load_onnx; weights in files beside it are checked, but not read.

    Raises:
        UnsafeModelError: It names a file elsewhere: an absolute path, one with .., a symlink.
        ModelError: As load_onnx, or a file of weights is missing or too short.
    """
    return _opened(path, external=True)


def _opened(path: Path, *, external: bool) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    size = path.stat().st_size
    if size > MAX_ONNX_BYTES:
        raise ModelError(f"an ONNX file of {size} bytes; up to {MAX_ONNX_BYTES} are supported")
    check_familiar(path)
    check_messages(path, onnx.ModelProto.DESCRIPTOR)
    try:
        # By its content: a file's name may end in anything.
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise ModelError(
            f"not an ONNX model: {size} bytes that are another format, or truncated"
        ) from error
    if not model.graph.node or not model.opset_import:
        raise ModelError("not an ONNX model: no graph or no opset in it")
    check_text(model)
    _check_opsets(model)
    _check_outputs(model)
    check_graphs(model, path.parent if external else None)
    check_counts(model)
    try:
        # By its path where weights lie outside: they are found from there.
        onnx.checker.check_model(str(path) if external else model)
    # Also what onnx raises by mistake, such as where it quotes a damaged name.
    except Exception as error:
        raise ModelError(f"invalid ONNX model: {first_line(error)[:MAX_REASON]}") from error
    free_axes(model)
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


def _check_outputs(model: onnx.ModelProto) -> None:
    """Refuse what no tensor metric compares: sequences, and maps, as ZipMap makes them."""
    for value in model.graph.output:
        inner = value.type
        if inner.HasField("sequence_type"):
            inner = inner.sequence_type.elem_type
        if not inner.HasField("map_type") and not value.type.HasField("tensor_type"):
            kind = (value.type.WhichOneof("value") or "value of no type").removesuffix("_type")
            raise ModelError(
                f"output {value.name} is a {kind.replace('_', ' ')}, and only tensors can be "
                "compared: let the model return its tensors as outputs of their own, or joined by "
                "ConcatFromSequence"
            )
        if inner.HasField("map_type"):
            raise ModelError(
                f"output {value.name} is a sequence of maps, made by ZipMap: convert the model "
                "with zipmap=False (skl2onnx and onnxmltools: options={'zipmap': False})"
            )
