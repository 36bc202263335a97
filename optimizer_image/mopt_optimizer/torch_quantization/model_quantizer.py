"""ModelQuantizer: one call from a float model to a smaller, faster one that is checked."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from mopt_api.auto.int8 import U7S8, CpuClass
from mopt_optimizer.errors import CalibrationError, NonFiniteOutput, QuantizationError
from mopt_optimizer.machine.system import System, has_native_bf16, own_cpu_class
from mopt_optimizer.quality import check_comparable, sqnr

from . import halves, int8
from .backends import available_backends, choose_backend, scheme_of
from .benchmark import ModelComparison, compare_models
from .capturing import capture, float_copy, input_names, quiet, run_sample, signature
from .config import QuantizationConfig, QuantizationType
from .fusion import fuse
from .quantized_model import Made, QuantizedModel
from .reports import FusionReport, QuantizationReport
from .sampling import Args, samples

logger = logging.getLogger(__name__)


class ModelQuantizer:
    """Makes quantized forms of models; keeps no state between models."""

    def __init__(self, config: QuantizationConfig | None = None) -> None:
        """Take how to quantize; DYNAMIC without a config."""
        self.config = config or QuantizationConfig()

    def quantize(
        self, model: nn.Module | ExportedProgram, calibration_data: Any = None
    ) -> QuantizedModel:
        """Return the quantized model; the one given is not changed.

        Args:
            model: For inference, on the CPU. Its forward takes tensors.
            calibration_data: An iterable of samples (tensors, tuples, dicts by input name; a
                DataLoader or generator, gone through once), one sample, or a folder of images.
                STATIC needs it; the others take inputs for the graph from its first sample.

        Raises:
            CalibrationError: STATIC without samples, or a sample that cannot be used.
            NonFiniteWeight: NaN or infinity in a parameter, or too large for FP16.
            BackendError: The backend is not there.
            SpecError: An exclude pattern that names no module.
            ExportError: The graph cannot be captured.
            QuantizationError: Nothing to quantize, or the result is not finite.
        """
        work = float_copy(model)
        names, required = input_names(work)
        backend_of(self.config)
        if calibration_data is None:
            if self.config.quantization_type is QuantizationType.STATIC:
                raise CalibrationError(
                    "static INT8 takes its scales from real inputs: give calibration_data, "
                    "better 100 samples; or use DYNAMIC"
                )
            return QuantizedModel(
                names, self.config.execution, lambda args: self._make(work, iter([args]), names)
            )
        data = samples(
            calibration_data,
            names,
            self.config.images,
            self.config.calibration_samples,
            required=required,
        )
        quantized = QuantizedModel(names, self.config.execution)
        quantized.adopt(self._make(work, data, names))
        return quantized

    def _make(self, work: nn.Module, data: Iterator[Args], names: list[str]) -> Made:
        example = next(data)
        reference = run_sample(work, example, "calibration sample 0")
        fusion = FusionReport()
        if self.config.fuse:
            work, fusion = fuse(work, example)
        if self.config.quantization_type.is_int8:
            program, report = self._int8(work, chain([example], data), example)
        else:
            program, report = self._half(work, example, names)
        quality = _agreement(program, example, reference)
        report |= {"fusion": fusion, "sqnr_db": quality, "inputs": signature(program)}
        made = QuantizationReport.model_validate(report)
        for note in made.notes:
            logger.warning("%s: %s", made.quantization_type.upper(), note)
        return program, made

    def _int8(
        self, work: nn.Module, data: Iterator[Args], example: Args
    ) -> tuple[ExportedProgram, dict[str, Any]]:
        config = self.config
        dynamic = config.quantization_type is QuantizationType.DYNAMIC
        backend = backend_of(config)
        graph_module = _module(capture(work, example, dynamic=config.dynamic_shapes))
        recipe = int8.Recipe(
            backend=backend,
            dynamic=dynamic,
            per_channel=config.per_channel,
            reduced_range=scheme_of(backend, cpu_of(config)) == U7S8,
            excluded=int8.excluded_modules(graph_module, config.exclude),
        )
        prepared = int8.observed(_copy(graph_module), recipe)
        # Dynamic scales are not calibrated; one sample initializes the observers of weights.
        used = iter([example]) if dynamic else data
        count = int8.calibrate(prepared, graph_module, used)
        converted = int8.converted(prepared)
        placed = int8.placement(converted)
        if not placed.quantized and not placed.weight_only:
            raise QuantizationError(
                "no module was quantized: INT8 is for Linear and Conv2d, and these stayed FP32: "
                f"{', '.join(placed.kept) or 'none with weights'}. Exclude fewer, or use BF16"
            )
        notes = []
        if placed.weight_only:
            notes.append(
                "convolutions keep FP32 arithmetic under DYNAMIC: smaller, not faster; use STATIC"
            )
        report = {
            "quantization_type": config.quantization_type,
            "backend": backend,
            "reduced_range": recipe.reduced_range,
            "quantized": placed.quantized,
            "weight_only": placed.weight_only,
            "kept": placed.kept,
            "samples": 0 if dynamic else count,
            "notes": tuple(notes),
        }
        return capture(converted, example, dynamic=config.dynamic_shapes), report

    def _half(
        self, work: nn.Module, example: Args, names: list[str]
    ) -> tuple[ExportedProgram, dict[str, Any]]:
        kind = self.config.quantization_type
        modules = tuple(n for n, m in work.named_modules() if n and _has_own_weights(m))
        narrow, kept = halves.narrowed(work, kind, names[: len(example)], self.config.exclude)
        program = capture(narrow, example, dynamic=self.config.dynamic_shapes)
        report = {
            "quantization_type": kind,
            "quantized": tuple(name for name in modules if name not in kept),
            "kept": kept,
            "notes": _half_notes(kind),
        }
        return program, report

    def benchmark_quantization(
        self,
        model: nn.Module | ExportedProgram,
        quantized: QuantizedModel,
        test_input: Any,
        num_iterations: int = 50,
        *,
        data_range: float | None = None,
        compiled_baseline: bool = False,
    ) -> ModelComparison:
        """Return sizes, latencies, memory and quality of both, measured side by side.

        See benchmark.compare_models for the arguments.
        """
        return compare_models(
            model,
            quantized,
            test_input,
            num_iterations,
            data_range=data_range,
            compiled_baseline=compiled_baseline,
        )


def quantize_model(
    model: nn.Module | ExportedProgram,
    quantization_type: QuantizationType | str = QuantizationType.DYNAMIC,
    calibration_data: Any = None,
    **options: Any,
) -> QuantizedModel:
    """Return the quantized model, in one line.

    Args:
        options: Other fields of QuantizationConfig.

    Raises:
        SpecError: An option that is none, or of a wrong value.
        OptimizerError: As ModelQuantizer.quantize.
    """
    config = QuantizationConfig.of(quantization_type=quantization_type, **options)
    return ModelQuantizer(config).quantize(model, calibration_data)


def backend_of(config: QuantizationConfig) -> Any:
    """Return the backend of a config on this machine.

    Raises:
        BackendError: It is not there.
    """
    return choose_backend(
        config.backend, available=available_backends(), architecture=platform.machine()
    )


def cpu_of(config: QuantizationConfig) -> CpuClass:
    """Return the class of the CPUs that a config's INT8 is for."""
    if config.narrow_sums is None:
        return own_cpu_class()
    return CpuClass.NARROW_X86 if config.narrow_sums else CpuClass.WIDE_X86


def _module(program: ExportedProgram) -> fx.GraphModule:
    with quiet():
        module = program.module()
    if not isinstance(module, fx.GraphModule):
        raise QuantizationError(f"torch gave a {type(module).__name__} instead of a graph")
    return module


def _copy(module: fx.GraphModule) -> fx.GraphModule:
    import copy

    with quiet():
        return copy.deepcopy(module)


def _has_own_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def _half_notes(kind: QuantizationType) -> tuple[str, ...]:
    hardware = System().hardware({})
    if kind is QuantizationType.FP16 and "avx512_fp16" not in hardware.cpu_features:
        return (
            "this CPU does not compute in FP16: slower than FP32 here, in eager many times; "
            "half the bytes are the only gain",
        )
    if kind is QuantizationType.BF16 and not has_native_bf16(hardware.cpu_features):
        return ("this CPU does not compute in BF16: slower than FP32 here",)
    return ()


def _agreement(program: ExportedProgram, example: Args, reference: list[torch.Tensor]) -> float:
    """Return the worst output's signal-to-noise ratio in dB.

    Raises:
        QuantizationError: An output is not finite, or of another shape.
    """
    outputs = run_sample(_module(program), example, "the quantized model's first sample")
    expected = [t.float().numpy() for t in reference]
    found = [t.float().numpy() for t in outputs]
    try:
        check_comparable(expected, found)
    except NonFiniteOutput as error:
        raise QuantizationError(
            f"the quantized model gives NaN or infinity ({error}); exclude modules with large "
            "values, or use BF16"
        ) from error
    return min(sqnr(e, f) for e, f in zip(expected, found, strict=True))
