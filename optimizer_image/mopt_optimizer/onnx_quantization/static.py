"""Static INT8 and FP8: ranges from calibration samples, written as explicit Q/DQ nodes.

The file is standard ONNX: ONNX Runtime, OpenVINO and TensorRT (with scheme S8S8) load it unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mopt_api.spec import QualityGate
from mopt_optimizer.errors import CalibrationError, QuantizationError, RuntimeFailure
from mopt_optimizer.onnx_files.float_models import (
    at_opset,
    open_float_model,
    save_model,
)
from mopt_optimizer.onnx_files.layers import Layer, find_layers

from .agreement import check_runs
from .calibration import METHODS, PERCENTILE, Calibration
from .doubts import kept_after
from .fp8 import FP8_OPSET
from .gated import out_of_reach, search_with_margin, verdict
from .judging import Judge
from .observing import KeptSamples, Observations, Sample, float_activations, observe
from .outside import OutsideWeights, outside_weights
from .placement import ADD
from .qdq import QdqWriter, Scheme, check_quantized, quantizable_operators, resolved
from .ranges import tensor_range
from .reports import SensitivityReport
from .sensitivity import Ranges, search
from .splitting import Split, kept_for, split_samples

if TYPE_CHECKING:
    import onnx

_FEWEST_SEARCHED = 2


@dataclass(frozen=True)
class StaticOptions:
    """Quantization options.

    Attributes:
        calibration: How ranges are chosen from the observed values.
        percentile: Of the magnitudes, for Calibration.PERCENTILE; above 0, at most 100.
        scheme: AUTO picks the one for this CPU. FP8 raises an older opset to 19.
        per_channel: One scale per output channel of a weight.
        exclude: Names of nodes that always stay FP32.
        layer_outputs: Also quantize the output of a Conv, ConvTranspose, Gemm or MatMul before its
            activation function. ONNX Runtime runs INT8 convolutions only this way; OpenVINO and
            TensorRT fuse the activation and are faster and more accurate without.
        biases: Write a layer's bias as 32-bit integers. TensorRT expects it in float.
        layers_only: Only Conv, ConvTranspose, Gemm and MatMul read INT8, plus what is added to
            their output, as TensorRT fuses it; requires Scheme.S8S8 or FP8.
        operators: Operator types to quantize; None for all that ONNX Runtime's quantizer supports.
        gates: Quality gates: layers stay FP32 until all hold. None quantizes everything.
        margin_db: Least noise margin in dB below the gates' limits, for data that the search did
            not see; see unseen.lost_on_unseen for what raises it.
        search_samples: Number of calibration samples, spread evenly, that gates are tried on; half
            as many more are held back for the chosen model, see splitting.
        search_macs: Use fewer of them, at least 2, if judging every layer once would take more
            multiply-accumulates than this; None for no limit.
        search_seconds: The search ends after this time with the best that it found; the file is
            then another on a slower machine. None derives it from the FP32 model's time, see
            budget.default_seconds; math.inf is without end.
        again: A second search, its gates raised by what unseen data showed; see gated.
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
    gates: tuple[QualityGate, ...] = ()
    margin_db: float = 0.5
    search_samples: int = 16
    search_macs: int | None = None
    search_seconds: float | None = None
    again: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile {self.percentile} is not above 0 and at most 100")
        if self.search_seconds is not None and not self.search_seconds > 0:
            raise ValueError(f"search_seconds {self.search_seconds} is not above 0")
        if self.search_samples < 1:
            raise ValueError("search_samples must be 1 at least")
        if self.layers_only and not self.scheme.symmetric:
            raise ValueError(
                f"layers_only is symmetric: with scheme S8S8 or FP8, not {self.scheme}"
            )


@dataclass(frozen=True)
class StaticReport:
    """Result of a static quantization.

    Attributes:
        path: The output file.
        calibration: Method of the ranges used; never BEST.
        scheme: Never AUTO.
        samples: Number of calibration samples.
        quantized_nodes: Number of FP32 nodes that became INT8 or FP8.
        kept: Nodes that stay FP32 since calibration cannot know their ranges, each with why.
        sensitivity: The search for the gates; None without a gate.
        evaluation_quality: In the metric of sensitivity, PSNR without it, on the evaluation
            samples; None without them.
        gate_holds: Whether all gates do, without margin, on the evaluation samples or, without
            them, on the search samples; None without a gate.
    """

    path: Path
    calibration: Calibration
    scheme: Scheme
    samples: int
    quantized_nodes: int
    kept: Mapping[str, str]
    sensitivity: SensitivityReport | None
    evaluation_quality: float | None
    gate_holds: bool | None


@dataclass(frozen=True)
class _Calibrated:
    """A model with everything its Q/DQ forms are written from."""

    writer: QdqWriter
    tensors: list[str]
    observations: Observations
    layers: list[Layer]
    some: list[Sample]
    kept: Mapping[str, str]

    def split(self, options: StaticOptions) -> Split:
        """Return the samples to try gates on, and those held back; see StaticOptions."""
        each = len(self.layers) * sum(layer.macs for layer in self.layers)
        most = options.search_samples
        if options.search_macs is not None and each:
            most = min(most, max(_FEWEST_SEARCHED, options.search_macs // each))
        return split_samples(self.some, most)

    def judge(self, samples: list[Sample], gates: Sequence[QualityGate]) -> Judge:
        return Judge(self.writer.model, samples, gates, self.writer.folder)

    def ranges(self, method: Calibration, percentile: float) -> Ranges:
        return _ranges(self.observations, method, percentile)


def _ranges(observations: Observations, method: Calibration, percentile: float) -> Ranges:
    return {
        name: tensor_range(observer, method, percentile=percentile)
        for name, observer in observations.observers.items()
        if observer.count
    }


def _calibrated(
    model_path: Path, samples: Iterable[Sample], options: StaticOptions, keep: int, stack: ExitStack
) -> _Calibrated:
    model = open_to_quantize(model_path, options)
    operators = operators_of(model, model_path.name, options)
    tensors = float_activations(model, [*operators, *([ADD] if options.layers_only else [])])
    passing = KeptSamples(samples, keep)
    weights = stack.enter_context(outside_weights(model_path, model))
    try:
        observations = observe(model, tensors, passing, weights.folder if weights else None)
    except RuntimeFailure as error:
        raise QuantizationError(f"the model does not run: {error}") from error
    kept = kept_after(model, observations, weights.folder if weights else None)
    fixed = dict.fromkeys((*options.exclude, *kept))
    layers = [
        replace(
            layer,
            nodes=tuple(name for name in layer.nodes if name not in fixed),
            # If its leading node stays FP32, INT8 has nothing to speed up.
            macs=0 if layer.nodes[0] in fixed else layer.macs,
        )
        for layer in find_layers(model, operators, observations.shapes)
    ]
    layers = [layer for layer in layers if layer.nodes]
    if not layers:
        raise QuantizationError(f"{model_path.name}: nothing in INT8: {next(iter(kept.values()))}")
    writer = writer_for(model, operators, replace(options, exclude=tuple(fixed)), weights)
    return _Calibrated(writer, tensors, observations, layers, passing.some(), kept)


def open_to_quantize(model_path: Path, options: StaticOptions) -> onnx.ModelProto:
    """Return a float model in an opset that supports the scheme's types.

    Raises:
        ModelError, ExportError: As open_float_model.
        QuantizationError: Likewise, or FP8 with external weights.
    """
    if options.scheme is not Scheme.FP8:
        return open_float_model(model_path, external=True)
    return at_opset(open_float_model(model_path), FP8_OPSET, f"{model_path.name}, for FP8")


def operators_of(model: onnx.ModelProto, name: str, options: StaticOptions) -> list[str]:
    """Return the operator types to quantize.

    Raises:
        QuantizationError: exclude names an unknown node, or nothing is left to quantize.
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
    """Return the writer of a model's Q/DQ forms."""
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
    """Write a model with 8-bit activations and weights.

    Each sample runs through the FP32 model once, one at a time; memory does not grow with their
    number. The same model, samples and options give identical bytes, unless time ended a search.
    External weights are quantized one at a time and go into out_path, or into OUT_PATH.data if one
    file cannot hold them.

    Args:
        samples: One dict per sample, at least one: input name to array of the declared type and
            shape. With a gate or Calibration.BEST, options.search_samples of them stay in memory.
        evaluation: Other samples, to check the gate on data the search did not see.

    Raises:
        CalibrationError: No samples, or some do not match the inputs or are not finite in the
            model.
        ModelError, ExportError: As open_float_model.
        QuantizationError: The model cannot be quantized, or the gate holds only with all of it
            in FP32.
        DiskError: No space left; out_path is unchanged.
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
    judged = bool(options.gates) or options.calibration is Calibration.BEST
    keep = kept_for(options.search_samples) if judged else 1
    calibrated = _calibrated(model_path, samples, options, keep, stack)
    split = calibrated.split(options)
    judge = calibrated.judge(split.searched, options.gates) if judged else None
    method = options.calibration
    if method is Calibration.BEST and judge:
        method = _best(calibrated, judge, options)
    ranges = calibrated.ranges(method, options.percentile)
    sensitivity = None
    if options.gates and judge:
        sensitivity = _searched(calibrated, split, judge, replace(options, calibration=method))
    exclude = sensitivity.exclude if sensitivity else ()
    quantized_nodes = sum(len(layer.nodes) for layer in calibrated.layers) - len(exclude)
    if sensitivity and exclude and not sensitivity.int8_mac_share:
        raise QuantizationError(f"{model_path.name}: {out_of_reach(sensitivity)}")
    quantized = calibrated.writer.quantized(ranges, exclude)
    check_quantized(quantized, model_path.name)
    folder = calibrated.writer.folder
    check_runs(quantized, calibrated.some[0], folder)
    save_model(quantized, out_path, folder)
    evaluating = _evaluating(calibrated, evaluation, options.gates)
    quality, holds = verdict(quantized, evaluating, sensitivity)
    return StaticReport(
        path=out_path,
        calibration=method,
        scheme=calibrated.writer.scheme,
        samples=calibrated.observations.samples,
        quantized_nodes=quantized_nodes,
        kept=calibrated.kept,
        sensitivity=sensitivity,
        evaluation_quality=quality,
        gate_holds=holds,
    )


def _searched(
    calibrated: _Calibrated, split: Split, judge: Judge, options: StaticOptions
) -> SensitivityReport:
    """Search for the layers that stay FP32.

    Args:
        judge: By what is searched on.
        options: Whose calibration is not BEST.
    """
    return search_with_margin(
        calibrated.writer,
        calibrated.layers,
        calibrated.tensors,
        calibrated.observations,
        judge,
        split.searched,
        partial(_ranges, method=options.calibration, percentile=options.percentile),
        margin_db=options.margin_db,
        seconds=options.search_seconds,
        again=options.again,
        held_back=calibrated.judge(split.held_back, options.gates) if split.held_back else None,
    )


def analyze_sensitivity(
    model_path: Path, samples: Iterable[Sample], options: StaticOptions | None = None
) -> SensitivityReport:
    """Measure the quality cost of each layer in INT8, and which must stay FP32 for options.gates.

    Writes no file. Without gates, one model per layer is built in memory and run on
    options.search_samples samples; with gates, layers are measured as the search does.

    Raises:
        As quantize_onnx_static.
    """
    options = options or StaticOptions()
    with ExitStack() as stack:
        return _analyze(model_path, samples, options, stack)


def _analyze(
    model_path: Path, samples: Iterable[Sample], options: StaticOptions, stack: ExitStack
) -> SensitivityReport:
    keep = kept_for(options.search_samples)
    calibrated = _calibrated(model_path, samples, options, keep, stack)
    split = calibrated.split(options)
    judge = calibrated.judge(split.searched, options.gates)
    method = options.calibration
    if method is Calibration.BEST:
        method = _best(calibrated, judge, options)
    if options.gates:
        return _searched(calibrated, split, judge, replace(options, calibration=method))
    ranges = calibrated.ranges(method, options.percentile)
    all_int8 = judge.judged(calibrated.writer.quantized(ranges))
    return search(calibrated.writer, ranges, calibrated.layers, judge, all_int8, margin=None)


def _best(calibrated: _Calibrated, judge: Judge, options: StaticOptions) -> Calibration:
    """Return the method of the largest margin; the first on a tie."""
    margins = {
        method: judge.margin(
            judge.judged(calibrated.writer.quantized(calibrated.ranges(method, options.percentile)))
        )
        for method in METHODS
    }
    return max(METHODS, key=lambda method: margins[method])


def _evaluating(
    calibrated: _Calibrated, evaluation: Iterable[Sample] | None, gates: Sequence[QualityGate]
) -> Judge | None:
    """Return who judges by the evaluation samples; None without them."""
    if evaluation is None:
        return None
    samples = list(evaluation)
    if not samples:
        raise CalibrationError("no evaluation samples; give some, or None")
    return calibrated.judge(samples, gates)
