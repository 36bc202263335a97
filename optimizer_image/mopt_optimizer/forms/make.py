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


def make(form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a form's file.

    The same material gives the same bytes, unless its budget ended a search.

    Raises:
        QuantizationError: It cannot be made from this model; the message says why.
        SpecError: A gate that does not fit the model's outputs.
        DiskError: No space left.
    """
    write = resolve_name(form.maker.make)
    try:
        report: QuantizationReport = write(form.name(material.gates), form, material, target)
    except (CalibrationError, ComparisonError, ModelError, ExportError) as error:
        raise QuantizationError(f"cannot be made: {error}") from error
    return report
