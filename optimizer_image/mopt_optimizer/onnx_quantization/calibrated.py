"""A model opened, observed on calibration samples, and ready to be written in 8 bits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mopt_api.spec import QualityGate
from mopt_optimizer.errors import QuantizationError, RuntimeFailure
from mopt_optimizer.onnx_files.float_models import at_opset, open_float_model
from mopt_optimizer.onnx_files.layers import Layer, find_layers

from .bias_correction import SAMPLES, Corrections, bias_corrections
from .calibration import Calibration
from .doubts import kept_after
from .fp8 import FP8_OPSET
from .judging import Judge
from .observing import KeptSamples, Observations, Sample, float_activations, observe
from .outside import OutsideWeights, outside_weights
from .placement import ADD
from .qdq import QdqWriter, Scheme, quantizable_operators, resolved, saturates_here
from .ranges import Ranges, tensor_range
from .splitting import Split, split_by_cost
from .static_options import StaticOptions

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class RangedForms:
    """Writes the forms of known ranges; see writing.FormWriter."""

    writer: QdqWriter
    ranges: Ranges
    corrections: Corrections = field(default_factory=dict)

    @property
    def model(self) -> onnx.ModelProto:
        """FP32."""
        return self.writer.model

    @property
    def folder(self) -> Path | None:
        """As QdqWriter.folder."""
        return self.writer.folder

    def quantized(self, exclude: Collection[str] = ()) -> onnx.ModelProto:
        """Return the form without some nodes in 8 bits."""
        return self.writer.quantized(self.ranges, exclude, self.corrections)


@dataclass(frozen=True)
class Calibrated:
    """A model with everything its Q/DQ forms are written from.

    Attributes:
        some: Samples in memory, at least one.
        shown: Samples that are read again, to correct biases on.
    """

    writer: QdqWriter
    tensors: list[str]
    observations: Observations
    layers: list[Layer]
    some: list[Sample]
    shown: Iterable[Sample]
    kept: Mapping[str, str]
    options: StaticOptions

    def split(self) -> Split:
        """Return the samples to try gates on, and those held back; see StaticOptions."""
        options = self.options
        return split_by_cost(self.some, self.layers, options.search_samples, options.search_macs)

    def judge(self, samples: list[Sample], gates: Sequence[QualityGate]) -> Judge:
        """Return who judges forms by some samples."""
        writer = self.writer
        exact = saturates_here(writer.scheme)
        return Judge(writer.model, samples, gates, writer.folder, exact=exact)

    def forms(
        self,
        method: Calibration,
        samples: Iterable[Sample],
        observations: Observations | None = None,
    ) -> RangedForms:
        """Return what writes forms.

        Args:
            method: Not BEST.
            samples: That biases are corrected on.
            observations: That ranges come from; None is those of all samples.
        """
        ranges = _ranges(observations or self.observations, method, self.options.percentile)
        plain = RangedForms(self.writer, ranges)
        if not self._corrects:
            return plain
        shapes = self.observations.shapes
        found = bias_corrections(plain.model, plain.quantized(), samples, shapes, plain.folder)
        return replace(plain, corrections=found)

    def recalibrated(self, method: Calibration, samples: Sequence[Sample]) -> RangedForms:
        """Return what writes forms from what these samples alone show."""
        shown = KeptSamples(samples, 1)
        found = observe(self.writer.model, self.tensors, shown, self.writer.folder)
        return self.forms(method, samples, found)

    @property
    def _corrects(self) -> bool:
        fp8 = self.writer.scheme is Scheme.FP8
        return self.options.bias_correction and not fp8


def _ranges(observations: Observations, method: Calibration, percentile: float) -> Ranges:
    return {
        name: tensor_range(observer, method, percentile=percentile)
        for name, observer in observations.observers.items()
        if observer.count
    }


def calibrated(
    model_path: Path, samples: Iterable[Sample], options: StaticOptions, keep: int, stack: ExitStack
) -> Calibrated:
    """Open a model and observe it.

    Args:
        keep: Number of samples that stay in memory.
        stack: Closes what holds external weights.

    Raises:
        CalibrationError, ModelError, ExportError, QuantizationError: As quantize_onnx_static.
    """
    model = open_to_quantize(model_path, options)
    operators = operators_of(model, model_path.name, options)
    tensors = float_activations(model, [*operators, *([ADD] if options.layers_only else [])])
    passing = KeptSamples(samples, max(keep, SAMPLES if options.bias_correction else 1))
    weights = stack.enter_context(outside_weights(model_path, model))
    try:
        observations = observe(model, tensors, passing, weights.folder if weights else None)
    except RuntimeFailure as error:
        raise QuantizationError(f"the model does not run: {error}") from error
    kept = kept_after(model, observations, weights.folder if weights else None)
    fixed = dict.fromkeys((*options.exclude, *kept))
    layers = quantized_layers(find_layers(model, operators, observations.shapes), fixed)
    if not layers:
        raise QuantizationError(f"{model_path.name}: nothing in INT8: {next(iter(kept.values()))}")
    writer = writer_for(model, operators, replace(options, exclude=tuple(fixed)), weights)
    some, shown = passing.some(keep), passing.again(SAMPLES)
    return Calibrated(writer, tensors, observations, layers, some, shown, kept, options)


def quantized_layers(layers: Iterable[Layer], fixed: Collection[str]) -> list[Layer]:
    """Return the layers without nodes that stay FP32 in every form.

    Args:
        fixed: Names of these.
    """
    left = [
        replace(
            layer,
            nodes=tuple(name for name in layer.nodes if name not in fixed),
            # If its leading node stays FP32, INT8 has nothing to speed up.
            macs=0 if layer.nodes[0] in fixed else layer.macs,
        )
        for layer in layers
    ]
    return [layer for layer in left if layer.nodes]


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
