"""INT8 through NNCF, OpenVINO's quantizer, from the same calibration samples.

Writes OpenVINO's .xml and .bin, or one .onnx with Q/DQ nodes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mopt_optimizer.errors import (
    CalibrationError,
    DiskError,
    ModelError,
    QuantizationError,
    RuntimeFailure,
    first_line,
)
from mopt_optimizer.onnx_files.float_models import open_float_model, serialized
from mopt_optimizer.onnx_quantization.doubts import kept_after
from mopt_optimizer.onnx_quantization.observing import Sample, float_activations, observe
from mopt_optimizer.store.writing import disk_errors, replacing

from .nncf_call import quantized
from .nncf_onnx import quantize_as_onnx, some
from .nncf_options import NncfOptions, NncfReport

if TYPE_CHECKING:
    import onnx
    import openvino as ov

# Less free space than this counts as a full disk.
_FULL_BYTES = 1024 * 1024


def quantize_openvino_nncf(
    model_path: Path,
    out_path: Path,
    samples: Iterable[Sample],
    options: NncfOptions | None = None,
) -> NncfReport:
    """Quantize an ONNX model to INT8 for OpenVINO; dynamic dimensions stay dynamic.

    The same model and samples give the same bytes. For IR, the weights are moved into place first,
    so that an .xml never lacks them.

    Args:
        model_path: FP32 ONNX.
        out_path: Ends in .xml for IR, or in .onnx for one file.
        samples: At least one; all are held in memory, since NNCF iterates over them several times.

    Raises:
        ModelError, ExportError, QuantizationError: NNCF or OpenVINO does not support the model.
        CalibrationError: No samples, or they do not match the inputs or make a tensor infinite.
        DiskError: No space left.
    """
    options = options or NncfOptions()
    if out_path.suffix not in (".xml", ".onnx"):
        raise QuantizationError(f"{out_path.name} ends neither in .xml nor in .onnx")
    onnx_model = open_float_model(model_path)
    held = [dict(sample) for sample in samples]
    if not held:
        raise CalibrationError("no calibration samples; give at least one, some tens are usual")
    kept, shapes = _observed(onnx_model, held)
    options = replace(options, exclude=tuple(dict.fromkeys((*options.exclude, *kept))))
    if out_path.suffix == ".onnx":
        return quantize_as_onnx(onnx_model, out_path, held, options, kept, shapes)
    if options.best or options.gating.gates:
        raise QuantizationError(f"{out_path.name}: only an .onnx is chosen or gated")
    model = _opened(onnx_model, model_path.name)
    left_out = [name for node in options.exclude for name in _operations(model, onnx_model, node)]
    found = quantized(model, held, options, left_out)
    _number_operations(found)
    _save(found, out_path)
    kinds = [operation.get_type_name() for operation in found.get_ops()]
    quantizers = some(kinds.count("FakeQuantize"), kept)
    return NncfReport(out_path, len(held), quantizers, kept, options)


def _observed(
    model: onnx.ModelProto, samples: list[dict[str, Any]]
) -> tuple[dict[str, str], Mapping[str, tuple[int, ...]]]:
    """Return the nodes that calibration says too little of, with the reason for each, and the
    shapes of all activations for the first sample.

    Raises:
        CalibrationError, QuantizationError: As quantize_openvino_nncf.
    """
    try:
        observations = observe(model, float_activations(model, None), samples)
    except RuntimeFailure as error:
        raise QuantizationError(f"the model does not run: {error}") from error
    return kept_after(model, observations), observations.shapes


def _unknown_node(name: str) -> QuantizationError:
    return QuantizationError(f"exclude names {name!r}, which is no node of the model")


def _opened(model: onnx.ModelProto, name: str) -> ov.Model:
    import openvino as ov

    try:
        read = ov.Core().read_model(serialized(model))
        _fold(read)
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot read {name}: {first_line(error)}") from error
    return read


def _fold(model: ov.Model) -> None:
    """Compute what is constant, in place.

    The reader leaves biases as Reshape(Constant, ShapeOf(...)) where sizes are dynamic, and NNCF
    corrects none that is not a Constant. What is folded gets a name that is no counter's.
    """
    from openvino.passes import ConstantFolding, Manager

    before = {operation.get_friendly_name() for operation in _constants(model)}
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    folded = [one for one in _constants(model) if one.get_friendly_name() not in before]
    for index, operation in enumerate(folded):
        operation.set_friendly_name(f"folded/{index}")


def _constants(model: ov.Model) -> list[ov.Node]:
    return [one for one in model.get_ordered_ops() if one.get_type_name() == "Constant"]


def _number_operations(model: ov.Model) -> None:
    """Renumber the operations that OpenVINO named: its counter grows with each model."""
    for index, operation in enumerate(model.get_ordered_ops()):
        kind = operation.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", operation.get_friendly_name()):
            operation.set_friendly_name(f"{kind}_{index}")


def _operations(model: ov.Model, onnx_model: onnx.ModelProto, name: str) -> list[str]:
    """Return the names of the OpenVINO operations that an ONNX node became."""
    node = next((node for node in onnx_model.graph.node if node.name == name), None)
    if node is None:
        raise _unknown_node(name)
    inputs = set(node.input)
    ends = set(node.output)
    pending = [
        operation
        for operation in model.get_ordered_ops()
        if any(ends & output.get_names() for output in operation.outputs())
    ]
    found: dict[str, None] = {}
    while pending:
        operation = pending.pop()
        found[operation.get_friendly_name()] = None
        # A Conv with bias became a Convolution and an Add: walk up to the node's inputs.
        pending += [
            source.get_node()
            for source in (value.get_source_output() for value in operation.inputs())
            if not inputs & source.get_names() and source.get_node().get_type_name() != "Constant"
        ]
    return list(found)


def _save(model: ov.Model, out_path: Path) -> None:
    import openvino as ov

    out_path.parent.mkdir(parents=True, exist_ok=True)
    weights = out_path.with_suffix(".bin")
    with (
        disk_errors(str(out_path)),
        TemporaryDirectory(dir=out_path.parent) as folder,
        replacing(out_path) as xml,
        replacing(weights) as binary,
    ):
        written = Path(folder) / "model.xml"
        try:
            # Not save_model, which compresses FP32 weights to FP16 by default.
            ov.serialize(model, str(written))
        except RuntimeError as error:
            # OpenVINO does not say why a write fails.
            if shutil.disk_usage(folder).free < _FULL_BYTES:
                raise DiskError(f"no space left while writing {out_path}") from error
            raise QuantizationError(f"OpenVINO cannot write it: {first_line(error)}") from error
        written.with_suffix(".bin").replace(binary)
        written.replace(xml)
