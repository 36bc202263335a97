"""INT8 through NNCF as one ONNX file: the best way to make it, and the layers that stay FP32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.onnx_files.float_models import save_model
from mopt_optimizer.onnx_files.layers import find_layers
from mopt_optimizer.onnx_quantization.calibrated import quantized_layers
from mopt_optimizer.onnx_quantization.gated import out_of_reach, search_with_margin
from mopt_optimizer.onnx_quantization.judging import Judge
from mopt_optimizer.onnx_quantization.observing import Sample
from mopt_optimizer.onnx_quantization.qdq import Scheme, saturates_here
from mopt_optimizer.onnx_quantization.reports import SensitivityReport
from mopt_optimizer.onnx_quantization.splitting import split_by_cost
from mopt_optimizer.onnx_quantization.stripping import StrippedForms

from .nncf_call import quantized
from .nncf_options import NncfOptions, NncfRanges, NncfReport

if TYPE_CHECKING:
    import onnx

# Of fewer samples a half is too few to choose by; of more, as many say which way is better.
_FEWEST, _MOST = 4, 16


def quantize_as_onnx(
    model: onnx.ModelProto,
    out_path: Path,
    samples: Sequence[Sample],
    options: NncfOptions,
    kept: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
) -> NncfReport:
    """Write a model in INT8 as an ONNX file with Q/DQ nodes.

    Args:
        model: FP32, with named nodes.
        options: Their exclude holds what is kept.
        kept: See NncfReport.
        shapes: Of activations, for the first sample.

    Raises:
        QuantizationError: NNCF does not support the model, quantized nothing of it, or the gates
            hold only with all of it in FP32; exclude names no node.
        ComparisonError, SpecError: A gate does not fit the outputs.
        DiskError: No space left.
    """
    names = {node.name for node in model.graph.node}
    if unknown := [name for name in options.exclude if name not in names]:
        raise QuantizationError(f"exclude names {unknown[0]!r}, which is no node of the model")
    if options.best:
        options = _best(model, samples, options)
    forms = _forms(model, samples, options)
    some(_activations(forms.quantized()), kept)
    sensitivity = None
    if options.gating.gates:
        sensitivity = _searched(forms, samples, options, shapes)
        if sensitivity.exclude and not sensitivity.int8_mac_share:
            raise QuantizationError(out_of_reach(sensitivity))
    found = forms.quantized(sensitivity.exclude if sensitivity else ())
    save_model(found, out_path)
    return NncfReport(out_path, len(samples), _activations(found), kept, options, sensitivity)


def some(quantizers: int, kept: Mapping[str, str]) -> int:
    """Return the number of quantized activations.

    Raises:
        QuantizationError: There are none.
    """
    if quantizers:
        return quantizers
    why = "".join(f"; {node}: {reason}" for node, reason in list(kept.items())[:1])
    raise QuantizationError(f"NNCF quantized nothing: no node of the model would be INT8{why}")


def _activations(model: onnx.ModelProto) -> int:
    return [node.op_type for node in model.graph.node].count("QuantizeLinear")


def _forms(
    model: onnx.ModelProto, samples: Sequence[Sample], options: NncfOptions
) -> StrippedForms:
    return StrippedForms(model, quantized(model, samples, options, options.exclude))


def candidates(model: onnx.ModelProto, options: NncfOptions) -> list[NncfOptions]:
    """Return the ways to quantize that are tried, the usual one first. Pure."""
    found = [replace(options, best=False, ranges=ranges) for ranges in NncfRanges]
    if options.bias_correction and has_depthwise(model):
        found += [replace(one, full_correction=True) for one in found]
    return found


def has_depthwise(model: onnx.ModelProto) -> bool:
    """Return whether some convolution computes each channel by itself. Pure."""
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    return any(
        any(a.name == "group" and a.i > 1 for a in node.attribute)
        and list(shapes.get(node.input[1], ())[1:2]) == [1]
        for node in model.graph.node
        if node.op_type == "Conv"
    )


def _best(model: onnx.ModelProto, samples: Sequence[Sample], options: NncfOptions) -> NncfOptions:
    """Return the way whose form, made from half of some samples, is best on the other half; the
    first on a tie."""
    tried = candidates(model, options)
    if len(samples) < _FEWEST:
        return tried[0]
    count = min(len(samples), _MOST)
    spread = [samples[index * len(samples) // count] for index in range(count)]
    judge = _judge(model, spread[1::2], options)

    def margin(one: NncfOptions) -> float:
        try:
            return judge.margin(judge.judged(_forms(model, spread[::2], one).quantized()))
        except QuantizationError:
            return -float("inf")  # The one that is chosen says why, if it fails too.

    return max(tried, key=margin)


def _searched(
    forms: StrippedForms,
    samples: Sequence[Sample],
    options: NncfOptions,
    shapes: Mapping[str, tuple[int, ...]],
) -> SensitivityReport:
    """Search for the layers that stay FP32."""
    model, gating = forms.model, options.gating
    operators = forms.in_int8()
    fixed = {node.name for node in model.graph.node} - operators.keys()
    layers = quantized_layers(find_layers(model, {*operators.values()}, shapes), fixed)
    split = split_by_cost(samples, layers, gating.search_samples, gating.search_macs)
    judge = _judge(model, split.searched, options)
    return search_with_margin(
        forms,
        layers,
        judge,
        split.searched,
        lambda shown: _forms(model, shown, options),
        margin_db=gating.margin_db,
        seconds=gating.search_seconds,
        again=gating.again,
        start=gating.start,
        held_back=_judge(model, split.held_back, options) if split.held_back else None,
    )


def _judge(model: onnx.ModelProto, samples: Sequence[Sample], options: NncfOptions) -> Judge:
    exact = saturates_here(Scheme.U8S8_REDUCED if options.narrow_sums else Scheme.U8S8)
    return Judge(model, samples, options.gating.gates, exact=exact)
