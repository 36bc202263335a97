"""mopt's side: from the same FP32 file as the peers, graph passes and verification included."""

from __future__ import annotations

from pathlib import Path

from work import Work

from mopt_api.inputs import DimensionRange, InputSpec
from mopt_api.spec import QualityGate
from mopt_optimizer import (
    StaticOptions,
    convert_float,
    quantize_model,
    quantize_onnx_dynamic,
    quantize_onnx_static,
    quantize_openvino_nncf,
)
from mopt_optimizer.formats.onnx import onnx_cases
from mopt_optimizer.onnx_quantization import Calibration, DynamicOptions, FloatType
from mopt_optimizer.onnx_quantization.gated import Gating
from mopt_optimizer.opening.loading import load_exported_program
from mopt_optimizer.passes import named_passes
from mopt_optimizer.passes.running import optimize
from mopt_optimizer.runtimes.openvino import NncfOptions

_METHODS = {
    "MinMax": Calibration.MIN_MAX,
    "Entropy": Calibration.ENTROPY,
    "Percentile": Calibration.PERCENTILE,
    "MSE": Calibration.MSE,
}


def _silent(step: str, message: str, **fields: object) -> None:
    """Log nothing."""


def _optimized(work: Work) -> Path:
    """Return the FP32 file after the graph passes, as prepare makes it before it quantizes."""
    path = work.folder / "fp32.onnx"
    path.write_bytes(work.source.read_bytes())
    inputs = [InputSpec.model_validate(fact) for fact in work.facts["inputs"]]
    sizes = {k: DimensionRange.model_validate(v) for k, v in work.facts["dimensions"].items()}
    optimize(path, named_passes(), onnx_cases(work.source, inputs, sizes), _silent)
    return path


def graph_passes(work: Work) -> Path:
    """Run every pass, each verified at several sizes."""
    return _optimized(work)


def dynamic(work: Work) -> Path:
    """Quantize the weights of convolutions too, as the peers do."""
    quantize_onnx_dynamic(_optimized(work), work.target, DynamicOptions(convolutions=True))
    return work.target


def static(work: Work, *, method: str, layer_outputs: bool = True, gated: bool = False) -> Path:
    """Quantize with a calibrator; behind a gate some layers stay FP32."""
    options = StaticOptions(
        calibration=_METHODS[method], layer_outputs=layer_outputs, gates=_gates(work, gated=gated)
    )
    quantize_onnx_static(_optimized(work), work.target, work.samples, options)
    return work.target


def _gates(work: Work, *, gated: bool) -> tuple[QualityGate, ...]:
    """Return the middle one of the subject's gates, or none."""
    return (QualityGate.model_validate(work.facts["gate"]),) if gated else ()


def fp16(work: Work) -> Path:
    """Convert what is safe in FP16 on the calibration samples."""
    convert_float(_optimized(work), work.target, FloatType.FP16, work.samples)
    return work.target


def nncf(work: Work, *, gated: bool = False) -> Path:
    """Quantize for OpenVINO through NNCF, the best of its ways, as prepare does; behind a gate some
    layers stay FP32."""
    options = NncfOptions(best=True, gating=Gating(gates=_gates(work, gated=gated)))
    quantize_openvino_nncf(_optimized(work), work.target, work.samples, options)
    return work.target


def _pytorch(work: Work, kind: str) -> Path:
    path = work.folder / "model.pt2"
    program = load_exported_program(work.program, work.folder)
    samples = [tuple(sample.values()) for sample in work.samples]
    quantize_model(program, kind, samples).save(path)
    return path


def torch_static(work: Work) -> Path:
    """Quantize the PyTorch program, for Inductor."""
    return _pytorch(work, "static")


def torch_dynamic(work: Work) -> Path:
    """Quantize the PyTorch program's weights."""
    return _pytorch(work, "dynamic")
