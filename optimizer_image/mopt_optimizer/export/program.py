"""An ExportedProgram as ONNX, its dimensions named as in the spec, verified against eager."""

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
    """Return a program as ONNX, in memory, its weights shared with the program's.

    Raises:
        ExportError: An operator that ONNX or the exporter does not have, or an opset that it
            cannot write.
    """
    import torch
    from torch.onnx.errors import OnnxExporterError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        try:
            # Its optimizer is left out: our passes do the same, each verified.
            exported = torch.onnx.export(
                program, dynamo=True, opset_version=opset_version, optimize=False, verbose=False
            )
        except OnnxExporterError as error:
            raise ExportError(f"the model cannot be exported: {root_message(error)}") from error
    if exported is None:
        raise ExportError("the model cannot be exported: the exporter gave no model")
    # Where it cannot convert its own form it leaves another opset, and only logs that.
    written = exported.model.opset_imports.get("")
    if written != opset_version:
        raise ExportError(f"torch.onnx wrote opset {written}, and cannot write {opset_version}")
    return exported
