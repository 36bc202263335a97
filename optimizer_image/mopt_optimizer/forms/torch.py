"""Forms of a program in reduced precision, as .pt2: torch's own format, without pickles."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch._subclasses import FakeTensorMode
from torch.export import ExportedProgram

from mopt_api.jobs.prepare_result import QuantizationReport
from mopt_optimizer.errors import (
    BackendError,
    NonFiniteWeight,
    QuantizationError,
    SpecError,
    first_line,
)
from mopt_optimizer.onnx_files.verify import Case
from mopt_optimizer.opening.loading import load_exported_program
from mopt_optimizer.torch_quantization import (
    Execution,
    ModelQuantizer,
    QuantizationConfig,
    QuantizationType,
)
from mopt_optimizer.torch_quantization.capturing import CALL_FAILURES, quiet, tensors
from mopt_optimizer.torch_quantization.linears import LinearType, narrow_linears
from mopt_optimizer.torch_quantization.quantized_model import save_program

from .form import LINEAR, Form, FormKind
from .material import Material

_HALVES = {
    FormKind.TORCH_FP16: QuantizationType.FP16,
    FormKind.TORCH_BF16: QuantizationType.BF16,
}


def make_torch(
    name: str, form: Form, material: Material, target: Path, workdir: Path
) -> QuantizationReport:
    """Write a program in FP16 or BF16, in INT8 by torchao's PT2E, or with Linear in 8 bits.

    Args:
        workdir: For a copy of the model.

    Raises:
        QuantizationError: It cannot be made, or loses a size that the model takes.
        CalibrationError, ExportError, ModelError, DiskError.
    """
    program = load_exported_program(material.source, workdir)
    try:
        made, report = (_linear if form.kind in LINEAR else _whole)(name, form, program, material)
    except (BackendError, NonFiniteWeight, SpecError) as error:
        raise QuantizationError(f"cannot be made: {error}") from error
    # In FP16 a CPU takes minutes for what it computes in FP32 in seconds.
    _check_sizes(made, material.cases, computed=form.kind is not FormKind.TORCH_FP16)
    save_program(made, target)
    return report


def _linear(
    name: str, form: Form, program: ExportedProgram, material: Material
) -> tuple[ExportedProgram, QuantizationReport]:
    kind = LinearType.INT8 if form.kind is FormKind.TORCH_LINEAR_INT8 else LinearType.FP8
    names = [str(name) for name in program.graph_signature.user_inputs]
    example = tuple(torch.from_numpy(material.cases[-1].inputs[name]) for name in names)
    options = form.quantization
    made, report = narrow_linears(
        program,
        kind,
        example,
        per_channel=options.per_channel,
        exclude=tuple(options.exclude),
    )
    kept = {layer: f"stays FP32: it {why}" for layer, why in report.kept.items()}
    if report.others:
        kept["convolutions"] = f"{report.others}, which stay FP32: only Linear is in 8 bits"
    return made, QuantizationReport(name=name, quantized_nodes=len(report.quantized), kept=kept)


def _whole(
    name: str, form: Form, program: ExportedProgram, material: Material
) -> tuple[ExportedProgram, QuantizationReport]:
    # Sizes are captured from an example: the last case is the one at opt.
    example = material.cases[-1]
    if form.kind is FormKind.TORCH_FP16:
        example = smallest_example(material.cases)
    samples: Any = material.samples if form.needs_samples else [example.inputs]
    quantized = ModelQuantizer(_config(form)).quantize(program, samples)
    report = quantized.report
    return quantized.program, QuantizationReport(
        name=name,
        quantized_nodes=len(report.quantized),
        kept=dict.fromkeys(report.weight_only, "its weights alone are smaller")
        | dict.fromkeys(report.kept, "stays FP32"),
    )


def smallest_example(cases: Sequence[Case]) -> Case:
    """Return the case with least to compute that leaves every free axis free.

    torch fixes an axis of 1 to that, but for the first, which is doubled for it.
    """

    def fixes(case: Case) -> bool:
        return any(
            size == 1 and axis > 0 and any(c.inputs[name].shape[axis] > 1 for c in cases)
            for name, array in case.inputs.items()
            for axis, size in enumerate(array.shape)
        )

    fit = [case for case in cases if not fixes(case)] or [cases[-1]]
    return min(fit, key=lambda case: sum(array.size for array in case.inputs.values()))


def _config(form: Form) -> QuantizationConfig:
    # Nothing is timed here; compiling belongs where it runs.
    if form.kind in _HALVES:
        return QuantizationConfig(quantization_type=_HALVES[form.kind], execution=Execution.EAGER)
    return QuantizationConfig(
        quantization_type=QuantizationType(form.quantization.mode.lower()),
        per_channel=form.quantization.per_channel,
        exclude=tuple(form.quantization.exclude),
        execution=Execution.EAGER,
    )


def _check_sizes(program: ExportedProgram, cases: Sequence[Case], *, computed: bool) -> None:
    """Raise where a size that the model takes is none of the new graph's.

    Args:
        computed: False follows shapes alone.
    """
    with quiet():
        module = program.module()
    mode = None if computed else FakeTensorMode(allow_non_fake_inputs=True)
    names = [str(name) for name in program.graph_signature.user_inputs]
    for case in cases:
        where = ", ".join(f"{key} {size}" for key, size in case.sizes.items()) or "its fixed sizes"
        try:
            inputs = [torch.from_numpy(case.inputs[name]) for name in names]
            with torch.no_grad(), mode or nullcontext():
                if mode is not None:
                    inputs = [mode.from_tensor(value, static_shapes=True) for value in inputs]
                found = tensors(module(*inputs))
        except CALL_FAILURES as error:
            raise QuantizationError(
                f"its graph does not take {where}: {first_line(error)}"
            ) from error
        shapes, expected = [tuple(t.shape) for t in found], [e.shape for e in case.expected]
        if shapes != expected:
            raise QuantizationError(f"its graph gives {shapes} at {where} instead of {expected}")
