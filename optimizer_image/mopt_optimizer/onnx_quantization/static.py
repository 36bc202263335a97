"""Static INT8 and FP8: ranges from calibration samples, written as explicit Q/DQ nodes.

The file is standard ONNX: ONNX Runtime, OpenVINO and TensorRT (with scheme S8S8) take it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mopt_api.spec import QualityGate
from mopt_optimizer.errors import CalibrationError, QuantizationError, RuntimeFailure
from mopt_optimizer.onnx_files.float_models import (
    at_opset,
    open_float_model,
    save_model,
    serialized,
)
from mopt_optimizer.onnx_files.layers import Layer, find_layers
from mopt_optimizer.onnx_files.verify import OnnxSession

from .calibration import METHODS, PERCENTILE, Calibration
from .fp8 import FP8_OPSET
from .judging import Judge, minimum_with_margin
from .observing import KeptSamples, Observations, Sample, float_activations, observe
from .outside import OutsideWeights, outside_weights
from .placement import ADD
from .qdq import QdqWriter, Scheme, quantizable_operators, resolved
from .ranges import tensor_range
from .sensitivity import Ranges, SensitivityReport, search

if TYPE_CHECKING:
    import onnx

_FEWEST_SEARCHED = 2


@dataclass(frozen=True)
class StaticOptions:
    """How to quantize.

    Attributes:
        calibration: How ranges are chosen from the observed values.
        percentile: Of the magnitudes, for Calibration.PERCENTILE; above 0, at most 100.
        scheme: AUTO suits the CPU this runs on. FP8 raises the opset to 19 where it is older.
        per_channel: A scale for each output channel of a weight.
        exclude: Names of nodes that stay FP32 in any case.
        layer_outputs: Quantize also what a Conv, ConvTranspose, Gemm or MatMul computes before it
            reaches its activation function. ONNX Runtime has INT8 convolutions only so; OpenVINO
            and TensorRT fuse the activation and are faster and more exact without.
        biases: Write a layer's bias in 32-bit integers. TensorRT wants it as it is.
        layers_only: Nothing but Conv, ConvTranspose, Gemm and MatMul reads INT8, and what is added
            to their output, as TensorRT fuses it; only with Scheme.S8S8 or FP8.
        operators: Types of the nodes to quantize; None for all that ONNX Runtime's writer knows.
        gate: Quality to hold: layers stay FP32 until it does. None quantizes all.
        margin_db: Decibels of noise below what the gate allows, for data the search did not see.
        search_samples: Calibration samples, spread evenly, whose outputs the gate is tried on.
        search_macs: Fewer of them, 2 at least, where judging every layer once would take more
            multiply-accumulates than this; None for no bound.
    """

    calibration: Calibration = Calibration.MIN_MAX
    percentile: float = PERCENTILE
    scheme: Scheme = Scheme.AUTO
    per_channel: bool = True
    exclude: tuple[str, ...] = ()
    layer_outputs: bool = True
    biases: bool = True
    layers_only: bool = False
    operators: tuple[str, ...] | None = None
    gate: QualityGate | None = None
    margin_db: float = 0.5
    search_samples: int = 16
    search_macs: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile {self.percentile} is not above 0 and at most 100")
        if self.search_samples < 1:
            raise ValueError("search_samples must be 1 at least")
        if self.layers_only and not self.scheme.symmetric:
            raise ValueError(
                f"layers_only is symmetric: with scheme S8S8 or FP8, not {self.scheme}"
            )


@dataclass(frozen=True)
class StaticReport:
    """What was written.

    Attributes:
        path: The file.
        calibration: Of the ranges that were used; never BEST.
        scheme: Never AUTO.
        samples: Calibration samples seen.
        quantized_nodes: Nodes of the FP32 model that became INT8 or FP8.
        sensitivity: The search for the gate; None without one.
        evaluation_quality: By the gate's metric on the evaluation samples; None without them.
        gate_holds: On the evaluation samples, without margin; on the samples of the search where
            there are none; None without a gate.
    """

    path: Path
    calibration: Calibration
    scheme: Scheme
    samples: int
    quantized_nodes: int
    sensitivity: SensitivityReport | None
    evaluation_quality: float | None
    gate_holds: bool | None


@dataclass(frozen=True)
class _Calibrated:
    """A model with all that its Q/DQ forms are written from."""

    writer: QdqWriter
    observations: Observations
    layers: list[Layer]
    some: list[Sample]

    def searched(self, macs: int | None) -> list[Sample]:
        """Return the samples that the gate is tried on; see StaticOptions.search_macs."""
        each = len(self.layers) * sum(layer.macs for layer in self.layers)
        if macs is None or each * len(self.some) <= macs:
            return self.some
        count = min(len(self.some), max(_FEWEST_SEARCHED, macs // each))
        return [self.some[index * len(self.some) // count] for index in range(count)]

    def judge(self, samples: list[Sample], gate: QualityGate | None) -> Judge:
        return Judge(self.writer.model, samples, gate, self.writer.folder)

    def ranges(self, method: Calibration, percentile: float) -> Ranges:
        observers = self.observations.observers
        return {
            name: tensor_range(observer, method, percentile=percentile)
            for name, observer in observers.items()
        }


def _calibrated(
    model_path: Path, samples: Iterable[Sample], options: StaticOptions, keep: int, stack: ExitStack
) -> _Calibrated:
    model = open_to_quantize(model_path, options)
    operators = operators_of(model, model_path.name, options)
    added = [ADD] if options.layers_only else []
    tensors = float_activations(model, [*operators, *added])
    kept = KeptSamples(samples, keep)
    weights = stack.enter_context(outside_weights(model_path, model))
    try:
        observations = observe(model, tensors, kept, weights.folder if weights else None)
    except RuntimeFailure as error:
        raise QuantizationError(f"the model does not run: {error}") from error
    layers = find_layers(model, operators, observations.shapes)
    fixed = set(options.exclude)
    layers = [
        replace(
            layer,
            nodes=tuple(name for name in layer.nodes if name not in fixed),
            # Led by a node that stays FP32, it has nothing for INT8 to speed up.
            macs=0 if layer.nodes[0] in fixed else layer.macs,
        )
        for layer in layers
    ]
    writer = writer_for(model, operators, options, weights)
    return _Calibrated(writer, observations, [la for la in layers if la.nodes], kept.some())


def open_to_quantize(model_path: Path, options: StaticOptions) -> onnx.ModelProto:
    """Return a float model, in an opset that has the scheme's types.

    Raises:
        ModelError, ExportError: As open_float_model.
        QuantizationError: Likewise; FP8 takes no weights in other files.
    """
    if options.scheme is not Scheme.FP8:
        return open_float_model(model_path, external=True)
    return at_opset(open_float_model(model_path), FP8_OPSET, f"{model_path.name}, for FP8")


def operators_of(model: onnx.ModelProto, name: str, options: StaticOptions) -> list[str]:
    """Return the types of the nodes to quantize.

    Raises:
        QuantizationError: exclude names no node, or nothing is left to quantize.
    """
    operators = list(options.operators or quantizable_operators())
    unknown = set(options.exclude) - {node.name for node in model.graph.node}
    if unknown:
        raise QuantizationError(f"exclude names {sorted(unknown)[0]!r}, which is no node of {name}")
    left = {n.op_type for n in model.graph.node if n.name not in options.exclude}
    if not float_activations(model, operators) or left.isdisjoint(operators):
        kind = "FP8" if options.scheme is Scheme.FP8 else "INT8"
        raise QuantizationError(f"{name} has no node that {kind} can speed up")
    return operators


def writer_for(
    model: onnx.ModelProto,
    operators: list[str],
    options: StaticOptions,
    weights: OutsideWeights | None,
) -> QdqWriter:
    """Return what writes the Q/DQ forms of a model."""
    return QdqWriter(
        model,
        operators,
        resolved(options.scheme),
        per_channel=options.per_channel,
        fixed=options.exclude,
        layer_outputs=options.layer_outputs,
        biases=options.biases,
        layers_only=options.layers_only,
        weights=weights,
    )


def quantize_onnx_static(
    model_path: Path,
    out_path: Path,
    samples: Iterable[Sample],
    options: StaticOptions | None = None,
    *,
    evaluation: Iterable[Sample] | None = None,
) -> StaticReport:
    """Write a model with activations and weights in 8 bits.

    Each sample runs through the FP32 model once, one at a time; memory does not grow with their
    number. The same model, samples and options give the same bytes. Weights that lie in other
    files are made 8 bits wide one at a time; they go into out_path, or into OUT_PATH.data where one
    file cannot hold them.

    Args:
        samples: At least one dict per sample: input name to an array of the model's type. With a
            gate, or Calibration.BEST, options.search_samples of them stay in memory.
        evaluation: Other samples, to tell what the gate says on data the search did not see.

    Raises:
        CalibrationError: No samples, or samples that do not fit or are not finite in the model.
        ModelError, ExportError: As open_float_model.
        QuantizationError: It cannot be quantized, or the gate holds only with all of it in FP32.
        DiskError: No space left; out_path is as it was.
    """
    options = options or StaticOptions()
    with ExitStack() as stack:
        return _quantize(model_path, out_path, samples, options, evaluation, stack)


def _quantize(
    model_path: Path,
    out_path: Path,
    samples: Iterable[Sample],
    options: StaticOptions,
    evaluation: Iterable[Sample] | None,
    stack: ExitStack,
) -> StaticReport:
    judged = options.gate is not None or options.calibration is Calibration.BEST
    keep = options.search_samples if judged else 1
    calibrated = _calibrated(model_path, samples, options, keep, stack)
    tried = calibrated.searched(options.search_macs)
    judge = calibrated.judge(tried, options.gate) if judged else None
    method = options.calibration
    if method is Calibration.BEST and judge:
        method = _best(calibrated, judge, options)
    ranges = calibrated.ranges(method, options.percentile)
    sensitivity = None
    if options.gate and judge:
        required = minimum_with_margin(options.gate, options.margin_db)
        sensitivity = search(calibrated.writer, ranges, calibrated.layers, judge, required=required)
    exclude = sensitivity.exclude if sensitivity else ()
    quantized_nodes = sum(len(layer.nodes) for layer in calibrated.layers) - len(exclude)
    if not quantized_nodes or (exclude and sensitivity and not sensitivity.int8_mac_share):
        raise QuantizationError(
            f"{model_path.name}: the gate holds only with every layer in FP32; lower it, or use "
            "another precision"
        )
    quantized = calibrated.writer.quantized(ranges, exclude)
    folder = calibrated.writer.folder
    _check_runs(quantized, calibrated.some[0], folder)
    save_model(quantized, out_path, folder)
    quality, holds = _verdict(calibrated, quantized, evaluation, options, sensitivity)
    return StaticReport(
        path=out_path,
        calibration=method,
        scheme=calibrated.writer.scheme,
        samples=calibrated.observations.samples,
        quantized_nodes=quantized_nodes,
        sensitivity=sensitivity,
        evaluation_quality=quality,
        gate_holds=holds,
    )


def analyze_sensitivity(
    model_path: Path, samples: Iterable[Sample], options: StaticOptions | None = None
) -> SensitivityReport:
    """Measure what each layer in INT8 costs, and which would stay FP32 for options.gate.

    Writes no model. One is written in memory and run on options.search_samples samples for
    each layer, and a few more where the gate needs exclusions.

    Raises:
        As quantize_onnx_static.
    """
    options = options or StaticOptions()
    with ExitStack() as stack:
        return _analyze(model_path, samples, options, stack)


def _analyze(
    model_path: Path, samples: Iterable[Sample], options: StaticOptions, stack: ExitStack
) -> SensitivityReport:
    calibrated = _calibrated(model_path, samples, options, options.search_samples, stack)
    tried = calibrated.searched(options.search_macs)
    judge = calibrated.judge(tried, options.gate)
    method = options.calibration
    if method is Calibration.BEST:
        method = _best(calibrated, judge, options)
    gate = options.gate
    return search(
        calibrated.writer,
        calibrated.ranges(method, options.percentile),
        calibrated.layers,
        judge,
        required=minimum_with_margin(gate, options.margin_db) if gate else None,
        always=True,
    )


def _best(calibrated: _Calibrated, judge: Judge, options: StaticOptions) -> Calibration:
    """Return the method with the best quality, the first of equals."""
    qualities = {
        method: judge.quality(
            calibrated.writer.quantized(calibrated.ranges(method, options.percentile))
        )
        for method in METHODS
    }
    return max(METHODS, key=lambda method: qualities[method])


def _check_runs(quantized: onnx.ModelProto, sample: Sample, folder: Path | None) -> None:
    try:
        OnnxSession(serialized(quantized), folder=folder).run(dict(sample))
    except RuntimeFailure as error:
        raise QuantizationError(f"the quantized model does not run: {error}") from error


def _verdict(
    calibrated: _Calibrated,
    quantized: onnx.ModelProto,
    evaluation: Iterable[Sample] | None,
    options: StaticOptions,
    sensitivity: SensitivityReport | None,
) -> tuple[float | None, bool | None]:
    """Return the quality on evaluation samples, and whether the gate holds."""
    gate = options.gate
    quality = None
    if evaluation is not None:
        samples = list(evaluation)
        if not samples:
            raise CalibrationError("no evaluation samples; give some, or None")
        quality = calibrated.judge(samples, gate).quality(quantized)
    if gate is None or sensitivity is None:
        return quality, None
    reached = sensitivity.quality if quality is None else quality
    return quality, reached >= minimum_with_margin(gate, 0.0)
