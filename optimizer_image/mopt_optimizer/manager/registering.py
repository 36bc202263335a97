"""Checks model files before they are registered: their kind and their inputs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopt_api.enums import Runtime
from mopt_optimizer.errors import ExportError, ModelError, SpecError, first_line
from mopt_optimizer.opening.inputs import ModelInput
from mopt_optimizer.opening.loading import (
    SCRIPT_SUFFIX,
    load_exported_program,
    load_onnx,
    open_onnx,
)
from mopt_optimizer.opening.model_inputs import onnx_inputs, program_inputs

from .manifest import ONNX_SUFFIX, PROGRAM_SUFFIX, is_quantized_program

if TYPE_CHECKING:
    import onnx
    import torch


def file_inputs(path: Path, data: Sequence[str] = ()) -> list[ModelInput]:
    """Return the inputs of a model file, by its suffix; the file is checked as in prepare.

    Args:
        data: Names of the files beside it: external data of an ONNX file, or ModelQuantizer's
            report.

    Raises:
        ModelError, UnsafeModelError: Damaged, not a model, or needs files that are not in data.
        SpecError: Unknown suffix, or data for a .pt2 that needs none.
    """
    if is_quantized_program([path.name, *data]):
        from .quantized import saved_inputs

        return saved_inputs(path)
    if path.suffix == PROGRAM_SUFFIX:
        if data:
            raise SpecError(f"{path.name} holds its weights itself; give no {', '.join(data)}")
        with tempfile.TemporaryDirectory() as folder:
            return program_inputs(load_exported_program(path, Path(folder)))
    if path.suffix == SCRIPT_SUFFIX:
        raise ModelError(
            "TorchScript does not say its inputs' shapes; load it with torch.jit.load, or another "
            "form here"
        )
    if path.suffix != ONNX_SUFFIX:
        raise SpecError(f"{path.name}: not a {ONNX_SUFFIX} or {PROGRAM_SUFFIX} file")
    return onnx_inputs(_with_data(path, data) if data else load_onnx(path))


def _with_data(path: Path, names: Sequence[str]) -> onnx.ModelProto:
    """Return an ONNX model without loading its external data, which must be in these files."""
    from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

    model = open_onnx(path)
    for tensor in _get_all_tensors(model):
        if uses_external_data(tensor):
            location = ExternalDataInfo(tensor).location
            if location not in names:
                raise ModelError(
                    f"{path.name}: weight {tensor.name!r} lies in {location!r}, which is not "
                    f"among the files given: {', '.join(names)}"
                )
    return model


def default_runtime(path: Path) -> Runtime:
    """Return the runtime of a source model: PyTorch for a .pt2, ONNX Runtime for an .onnx."""
    return Runtime.PYTORCH if path.suffix == PROGRAM_SUFFIX else Runtime.ONNX_RUNTIME


def write_program(
    model: torch.nn.Module | torch.export.ExportedProgram,
    example: Any,
    dynamic_shapes: Any,
    path: Path,
) -> None:
    """Write a module or program as a .pt2.

    Args:
        example: A tensor or a tuple of tensors, for a module.
        dynamic_shapes: As in torch.export.export; None fixes the example's sizes.

    Raises:
        SpecError: A module without an example.
        ExportError: torch cannot export the module.
    """
    import torch

    if isinstance(model, torch.nn.Module):
        if example is None:
            raise SpecError("a torch module is exported with example inputs: give example=")
        inputs = tuple(example) if isinstance(example, (tuple, list)) else (example,)
        with warnings.catch_warnings():
            # torch's own deprecation warnings during export are not about the model.
            warnings.simplefilter("ignore")
            try:
                program = torch.export.export(model.eval(), inputs, dynamic_shapes=dynamic_shapes)
            except (
                RuntimeError,
                ValueError,
                TypeError,
                AssertionError,
                torch._dynamo.exc.UserError,
            ) as error:
                raise ExportError(f"torch cannot export the model: {first_line(error)}") from error
    else:
        program = model
    program.example_inputs = None
    from mopt_optimizer.opening.programs import write_program

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_program(program, path)
