"""What a measured form needs of a CPU to compute what it computed when it was measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue, ValidationError

from mopt_api.auto.int8 import CpuClass, cpu_class
from mopt_api.enums import Precision, TargetKind
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.plan import MeasurePlan

from .form import form_of


def needs_wide_sums(result: MeasureResult, entry: VariantResult) -> bool:
    """Return whether a form's INT8 products overflow on x86 CPUs that add them in 16 bits.

    For those prepare makes another form, so it is one that was measured on another CPU.

    Args:
        entry: Of the result. Where that has no plan, as of older versions, all INT8 is taken for
            such, that of weights alone too.
    """
    hardware = result.hardware
    measured_on = cpu_class(hardware.architecture or "", hardware.cpu_features)
    if entry.precision is not Precision.INT8 or measured_on is not CpuClass.WIDE_X86:
        return False
    plan = _plan_of(result.plan)
    if plan is None:
        return True
    variant = next((each for each in plan.variants if each.name == entry.name), None)
    if variant is None or plan.kind is not TargetKind.CPU:
        return False
    form = form_of(variant, plan.kind)
    return form is not None and form.maker.saturates


def _plan_of(written: Mapping[str, JsonValue] | None) -> MeasurePlan | None:
    try:
        return None if written is None else MeasurePlan.model_validate(written)
    except ValidationError:
        return None
