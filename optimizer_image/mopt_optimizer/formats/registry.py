"""The source formats: one row and one module each. A format's library is loaded with its module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name

from mopt_api.enums import DType, ModelFormat
from mopt_optimizer.errors import ModelError

from .base import (
    DescribedAxis,
    DescribedValue,
    DescribeRequest,
    ModelDescription,
    SourceFormat,
)

FORMATS: dict[ModelFormat, str] = {
    ModelFormat.TORCH_SCRIPT: "mopt_optimizer.formats.torchscript:TorchScript",
    ModelFormat.EXPORTED_PROGRAM: "mopt_optimizer.formats.exported_program:ExportedPrograms",
    ModelFormat.ONNX: "mopt_optimizer.formats.onnx:Onnx",
}
"""MODULE:CLASS of each; the first that recognizes a file is its format."""


def source_format(kind: ModelFormat) -> SourceFormat:
    """Return what opens files of a format."""
    found: SourceFormat = resolve_name(FORMATS[kind])()
    return found


def format_of(path: Path) -> ModelFormat:
    """Return the format that a file's content looks like; opening it says whether it is.

    Raises:
        ModelError: No such file, or an empty or damaged one.
    """
    if not path.is_file() or not path.stat().st_size:
        raise ModelError(f"{path.name} is no file, or an empty one")
    return next(kind for kind in FORMATS if source_format(kind).recognizes(path))


def describe_file(request: DescribeRequest, workdir: Path) -> ModelDescription:
    """Open a model file and return what it holds.

    Raises:
        UnsafeModelError, ModelError: It cannot be opened.
        DimensionError: A dimension that the model does not have, or a size it does not take.
        DiskError: No space for the checked copy.
    """
    path = Path(request.path)
    kind = request.format or format_of(path)
    opened = source_format(kind)
    description = opened.describe(path, request.dimensions, workdir)
    if not request.run:
        return description
    inputs = [_with_shape(value, request.shapes) for value in description.inputs]
    return opened.dry_run(path, description.model_copy(update={"inputs": inputs}), workdir)


def _with_shape(value: DescribedValue, shapes: Mapping[str, list[int]]) -> DescribedValue:
    """Return an input with the sizes that the caller gives where the file has none."""
    if value.axes is not None or value.name not in shapes:
        return value
    axes = [DescribedAxis(size=size) for size in shapes[value.name]]
    return value.model_copy(update={"axes": axes, "dtype": DType.FLOAT32.value})
