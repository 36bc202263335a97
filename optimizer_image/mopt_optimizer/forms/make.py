"""Makes one form of a prepared model; a failure affects that form alone."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name

from mopt_api.jobs.prepare_result import QuantizationReport
from mopt_optimizer.errors import (
    CalibrationError,
    ComparisonError,
    ExportError,
    ModelError,
    QuantizationError,
)

from .form import Form
from .material import Material
from .registry import FormKind


def make(form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a form's file; it runs beside the model that it is made from before it is there.

    The same material gives the same bytes, unless its budget ended a search.

    Raises:
        QuantizationError: It cannot be made from this model; the message says why.
        SpecError: A gate that does not fit the model's outputs.
        DiskError: No space left.
    """
    write = resolve_name(form.maker.make)
    try:
        report: QuantizationReport = write(form.name(material.gates), form, material, target)
        _check(form, material, target)
    except (CalibrationError, ComparisonError, ModelError, ExportError) as error:
        raise QuantizationError(f"cannot be made: {error}") from error
    return report


def _check(form: Form, material: Material, target: Path) -> None:
    """Raise, and remove the file, where it is not what it is made from in another precision."""
    reference = material.source if form.from_program else material.fp32
    # In FP16 PyTorch takes minutes on a CPU for what takes seconds in FP32.
    small = form.kind is FormKind.TORCH_FP16
    try:
        material.beside.check(reference, target, small=small)
    except QuantizationError:
        target.unlink()
        raise
