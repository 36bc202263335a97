"""Orders the forms of a model to try, and says why the others are passed over. Pure.

A request is a sequence of steps. If no form of a step can be used, the next step is taken:

    auto      the form selected by measurement, else the fastest of known quality, else none
    quantize  INT8, FP16, BF16 or FP8, else onnx, else none
    onnx      an ONNX file in FP32, else none
    tensorrt  a TensorRT engine, else onnx, else none
    none      the source model
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mopt_api.auto.int8 import CpuClass, cpu_class
from mopt_api.enums import Precision, Runtime, TargetKind
from mopt_api.jobs.measure_result import BASELINE
from mopt_api.runtimes import RUNTIMES
from mopt_api.variants import uses_bf16
from mopt_optimizer.errors import SpecError
from mopt_optimizer.machine.facts import TENSORRT, Machine
from mopt_optimizer.machine.system import has_native_bf16

from .manifest import Form, Manifest, Verdict


class Optimization(StrEnum):
    """What a caller requests."""

    AUTO = "auto"
    QUANTIZE = "quantize"
    ONNX = "onnx"
    TENSORRT = "tensorrt"
    NONE = "none"


FALLBACKS = {
    Optimization.AUTO: (Optimization.AUTO, Optimization.NONE),
    Optimization.QUANTIZE: (Optimization.QUANTIZE, Optimization.ONNX, Optimization.NONE),
    Optimization.ONNX: (Optimization.ONNX, Optimization.NONE),
    Optimization.TENSORRT: (Optimization.TENSORRT, Optimization.ONNX, Optimization.NONE),
    Optimization.NONE: (Optimization.NONE,),
}
"""The steps of each request, in order."""

_RUNTIME_ORDER = (Runtime.OPENVINO, Runtime.ONNX_RUNTIME, Runtime.PYTORCH)


class Outcome(StrEnum):
    """The outcome for a form."""

    USED = "Used"
    PASSED_OVER = "PassedOver"
    FAILED = "Failed"


@dataclass(frozen=True)
class Attempt:
    """One entry in the record of a selection.

    Attributes:
        step: The step of the fallback order.
        form: The form's name; None if the step has no form.
    """

    step: Optimization
    form: str | None
    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A form that fits the machine, and why it is tried."""

    step: Optimization
    form: Form
    reason: str


def parse_optimization(value: str) -> Optimization:
    """Return the optimization of a name.

    Raises:
        SpecError: Unknown name; the message lists the known ones.
    """
    try:
        return Optimization(value)
    except ValueError as error:
        raise SpecError(f"optimization {value!r} is none of {', '.join(Optimization)}") from error


def _opened(runtime: str) -> list[Precision]:
    """Return a runtime's precisions on CPUs, where forms are opened; empty if it has none."""
    info = next((info for one, info in RUNTIMES.items() if one == runtime), None)
    if info is None:
        return []
    return [p for p in info.precisions if info.computes(p, TargetKind.CPU)]


def misfit(form: Form, machine: Machine) -> str | None:
    """Return why a form cannot run on a machine, or None if it can."""
    if form.needs.gpu and not machine.gpus:
        return "needs a GPU, and this machine has none"
    if form.runtime not in machine.runtimes:
        return f"{form.runtime} is not installed"
    precisions = _opened(form.runtime)
    if not precisions:
        return f"this version of mopt cannot open {form.runtime} forms"
    if form.precision not in precisions and not form.is_quantized_program:
        return f"{form.runtime} does not compute in {form.precision} here"
    bf16 = uses_bf16(form.precision, form.float_precision)
    if bf16 and not has_native_bf16(list(machine.cpu_features)):
        return "the CPU has no bf16 arithmetic; FP32 would run under that name"
    if _is_compiled(form) and not machine.compiler:
        return "PyTorch compiles it, and there is no C++ compiler (g++) here"
    if form.needs.architecture not in (None, machine.architecture):
        return f"is for {form.needs.architecture}, this machine is {machine.architecture}"
    if missing := [f for f in form.needs.cpu_features if f not in machine.cpu_features]:
        return f"needs {', '.join(missing)}, which the CPU lacks"
    if form.needs.wide_sums and _class_of(machine) is CpuClass.NARROW_X86:
        return "its INT8 products overflow on this CPU, which adds them in 16 bits"
    return None


def _class_of(machine: Machine) -> CpuClass:
    return cpu_class(machine.architecture, machine.cpu_features)


def _is_compiled(form: Form) -> bool:
    """Return whether a form runs only compiled; what ModelQuantizer saved may run eager."""
    int8 = form.runtime == Runtime.PYTORCH and form.precision == Precision.INT8
    return form.compiled or (int8 and not form.is_quantized_program)


def candidates(
    manifest: Manifest, optimization: Optimization, machine: Machine
) -> Iterator[Candidate | Attempt]:
    """Yield, in order, the forms to try and the reasons why others are passed over."""
    seen: set[str] = set()
    for step in FALLBACKS[optimization]:
        found = _step_forms(manifest, step)
        if not found:
            yield Attempt(step, None, Outcome.PASSED_OVER, _nothing(step))
        for form in found:
            if form.name in seen:
                continue
            seen.add(form.name)
            why_not = _unproven(form, step) or misfit(form, machine)
            if why_not:
                yield Attempt(step, form.name, Outcome.PASSED_OVER, why_not)
            else:
                yield Candidate(step, form, _why(form, step, manifest, machine))


def _nothing(step: Optimization) -> str:
    return {
        Optimization.AUTO: "no form but the source model is registered",
        Optimization.QUANTIZE: "no form of reduced precision is registered",
        Optimization.ONNX: "no ONNX form in FP32 is registered",
        Optimization.TENSORRT: "no TensorRT form is registered",
        Optimization.NONE: "the source model is not registered",
    }[step]


def _step_forms(manifest: Manifest, step: Optimization) -> list[Form]:
    if step is Optimization.NONE:
        return [form for form in manifest.forms if form.name == BASELINE]
    forms = sorted(manifest.forms, key=_preference)
    if step is Optimization.QUANTIZE:
        return [f for f in forms if not f.exact_precision and f.runtime != TENSORRT]
    if step is Optimization.ONNX:
        return [f for f in forms if f.is_onnx and f.exact_precision]
    if step is Optimization.TENSORRT:
        return [f for f in forms if f.runtime == TENSORRT]
    chosen = [f for f in forms if f.name == manifest.selected]
    rest = [f for f in forms if f not in chosen and f.name != BASELINE and _worth_it(f)]
    return chosen + rest


def _worth_it(form: Form) -> bool:
    """Return whether auto may prefer a form to the baseline: not if it was measured slower."""
    return form.speedup is None or form.speedup > 1


def _preference(form: Form) -> tuple[float, ...]:
    """Sort key: known quality, then measured speed, then the runtime that is usually fastest."""
    runtimes = [runtime.value for runtime in _RUNTIME_ORDER]
    rank = runtimes.index(form.runtime) if form.runtime in runtimes else len(runtimes)
    known = form.verdict is not Verdict.PASSED and not form.exact_precision
    return (known, -(form.speedup or -math.inf), rank)


def _unproven(form: Form, step: Optimization) -> str | None:
    if form.verdict is Verdict.REJECTED:
        return f"was rejected when it was measured: {form.message or 'no reason recorded'}"
    if (
        step is Optimization.AUTO
        and form.verdict is Verdict.UNMEASURED
        and not form.exact_precision
    ):
        return f"its quality was never measured; ask for it with {Optimization.QUANTIZE.value!r}"
    return None


def _why(form: Form, step: Optimization, manifest: Manifest, machine: Machine) -> str:
    if step is Optimization.NONE:
        return "the source model"
    words = []
    if form.name == manifest.selected:
        words.append("chosen by measurement")
    if form.speedup is not None:
        words.append(f"{form.speedup:.3g} times the baseline's speed")
        if manifest.measured_on and manifest.measured_on != machine.cpu:
            words.append(f"measured on {manifest.measured_on}, this is {machine.cpu or 'unknown'}")
    else:
        words.append("its speed was never measured")
    if form.verdict is Verdict.UNMEASURED and not form.exact_precision:
        words.append("its quality was never measured")
    return ", ".join(words)
