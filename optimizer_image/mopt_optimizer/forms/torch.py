"""Makes reduced-precision forms of a program, as .pt2: torch's own format, without pickles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
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

from .form import Form
from .material import Material

Made = tuple[ExportedProgram, QuantizationReport]


def make_fp16(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:  # noqa: ARG001
    """Write a program in FP16.

    Raises:
        QuantizationError: It cannot be made, or does not accept a size that the model does.
        CalibrationError, ExportError, ModelError, DiskError.
    """

    def narrow(program: ExportedProgram) -> Made:
        # In FP16 a CPU takes minutes for what takes seconds in FP32.
        example = smallest_example(material.cases)
        return _quantized(name, _config(QuantizationType.FP16), program, [example.inputs])

    return _make(narrow, material, target, computed=False)


def make_bf16(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:  # noqa: ARG001
    """Write a program in BF16. Raises as make_fp16."""
    config, samples = _config(QuantizationType.BF16), [_example(material).inputs]
    return _make(lambda program: _quantized(name, config, program, samples), material, target)


def make_int8(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a program in INT8 by torchao's PT2E. Raises as make_fp16."""
    options = form.quantization
    config = replace(
        _config(QuantizationType(options.mode.lower())),
        per_channel=options.per_channel,
        exclude=tuple(options.exclude),
        narrow_sums=form.narrow_sums,
    )
    samples: Any = material.samples if form.needs_samples else [_example(material).inputs]
    return _make(lambda program: _quantized(name, config, program, samples), material, target)


def make_linear_int8(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a program for GPUs with Linear in INT8; its activations are scaled on each call.

    Raises as make_fp16.
    """
    return _make(
        lambda program: _linear(name, form, LinearType.INT8, program, material), material, target
    )


def make_linear_fp8(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write a program with Linear in FP8, as make_linear_int8. Raises as make_fp16."""
    return _make(
        lambda program: _linear(name, form, LinearType.FP8, program, material), material, target
    )


def _make(
    narrow: Callable[[ExportedProgram], Made],
    material: Material,
    target: Path,
    *,
    computed: bool = True,
) -> QuantizationReport:
    """Write what narrow returns for the source program; check it at each verified size.

    Args:
        computed: See _check_sizes.
    """
    with TemporaryDirectory(dir=target.parent) as folder:
        program = load_exported_program(material.source, Path(folder))
        try:
            made, report = narrow(program)
        except (BackendError, NonFiniteWeight, SpecError) as error:
            raise QuantizationError(f"cannot be made: {error}") from error
        _check_sizes(made, material.cases, computed=computed)
        save_program(made, target)
    return report


def _config(kind: QuantizationType) -> QuantizationConfig:
    # Nothing is timed here; it is compiled where it runs.
    return QuantizationConfig(quantization_type=kind, execution=Execution.EAGER)


def _example(material: Material) -> Case:
    """Return the case that sizes are captured from: the last of those that leave them free."""
    return _free(material.cases)[-1]


def _linear(
    name: str, form: Form, kind: LinearType, program: ExportedProgram, material: Material
) -> Made:
    names = [str(name) for name in program.graph_signature.user_inputs]
    example = tuple(torch.from_numpy(_example(material).inputs[name]) for name in names)
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


def _quantized(
    name: str, config: QuantizationConfig, program: ExportedProgram, samples: Any
) -> Made:
    quantized = ModelQuantizer(config).quantize(program, samples)
    report = quantized.report
    return quantized.program, QuantizationReport(
        name=name,
        quantized_nodes=len(report.quantized),
        kept=dict.fromkeys(report.weight_only, "its weights alone are smaller")
        | dict.fromkeys(report.kept, "stays FP32"),
    )


def smallest_example(cases: Sequence[Case]) -> Case:
    """Return the smallest case that leaves every free axis free."""
    return min(_free(cases), key=lambda case: sum(array.size for array in case.inputs.values()))


def _free(cases: Sequence[Case]) -> list[Case]:
    """Return the cases that leave every free axis free, the last of all where none does.

    torch fixes axes of size 1. The first axis is exempt: ModelQuantizer doubles it before export.
    """

    def fixes(case: Case) -> bool:
        return any(
            size == 1 and axis > 0 and any(c.inputs[name].shape[axis] > 1 for c in cases)
            for name, array in case.inputs.items()
            for axis, size in enumerate(array.shape)
        )

    return [case for case in cases if not fixes(case)] or [cases[-1]]


def _check_sizes(program: ExportedProgram, cases: Sequence[Case], *, computed: bool) -> None:
    """Raise QuantizationError if the new graph does not accept a size that the model does.

    Args:
        computed: False propagates shapes only.
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
