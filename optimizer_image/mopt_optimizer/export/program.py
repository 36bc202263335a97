"""Converts an ExportedProgram to ONNX."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from mopt_optimizer.errors import (
    ExportError,
    root_message,
)

if TYPE_CHECKING:
    import torch
    import torch.onnx
    from torch.export import ExportedProgram


def exported_program(program: ExportedProgram, opset_version: int) -> torch.onnx.ONNXProgram:
    """Convert a program to ONNX in memory, sharing its weights.

    Raises:
        ExportError: ONNX or the exporter lacks an operator, or cannot write the opset.
    """
    import torch
    from torch.onnx.errors import OnnxExporterError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        try:
            # Without its optimizer: our passes do the same, each verified.
            exported = torch.onnx.export(
                program, dynamo=True, opset_version=opset_version, optimize=False, verbose=False
            )
        except OnnxExporterError as error:
            raise ExportError(f"the model cannot be exported: {root_message(error)}") from error
    if exported is None:
        raise ExportError("the model cannot be exported: the exporter gave no model")
    # If it cannot convert the opset, it keeps another one and only logs that.
    written = exported.model.opset_imports.get("")
    if written != opset_version:
        raise ExportError(f"torch.onnx wrote opset {written}, and cannot write {opset_version}")
    return exported
