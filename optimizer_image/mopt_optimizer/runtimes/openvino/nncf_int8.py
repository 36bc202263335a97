"""INT8 through NNCF, OpenVINO's quantizer, from the same calibration samples.

Writes OpenVINO's .xml and .bin, or one .onnx with Q/DQ nodes.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from mopt_optimizer.errors import (
    CalibrationError,
    DiskError,
    ModelError,
    QuantizationError,
    RuntimeFailure,
    first_line,
)
from mopt_optimizer.machine.threads import granted_threads
from mopt_optimizer.onnx_files.float_models import open_float_model, save_model, serialized
from mopt_optimizer.onnx_quantization.doubts import kept_after
from mopt_optimizer.onnx_quantization.observing import Sample, float_activations, observe
from mopt_optimizer.store.writing import disk_errors, replacing

if TYPE_CHECKING:
    import onnx
    import openvino as ov

# NNCF reports each call to a web analytics service unless this is set before its import.
_NO_TELEMETRY = "NNCF_CI"
# Less free space than this counts as a full disk.
_FULL_BYTES = 1024 * 1024


@dataclass(frozen=True)
class NncfOptions:
    """Quantization options.

    Attributes:
        symmetric: All activations are symmetric around 0; otherwise only those where NNCF expects
            both signs.
        bias_correction: Shift each layer's bias by the mean quantization error.
        transformer: Use NNCF's rules for transformers. They include SmoothQuant, which helps some
            encoders and ruins others: compare the quality.
        exclude: Names of ONNX nodes that stay FP32.
    """

    symmetric: bool = False
    bias_correction: bool = True
    transformer: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class NncfReport:
    """What was written.

    Attributes:
        path: The .onnx, or the .xml with its weights next to it as .bin.
        samples: Number of calibration samples.
        fake_quantizers: Number of quantized activations (FakeQuantize or QuantizeLinear).
        kept: Nodes that stay FP32 since calibration cannot know what they compute, with the reason
            for each.
    """

    path: Path
    samples: int
    fake_quantizers: int
    kept: Mapping[str, str]


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
    kept = _kept(onnx_model, held)
    options = replace(options, exclude=tuple(dict.fromkeys((*options.exclude, *kept))))
    if out_path.suffix == ".onnx":
        return _as_onnx(onnx_model, out_path, held, options, kept)
    model = _opened(onnx_model, model_path.name)
    left_out = [name for node in options.exclude for name in _operations(model, onnx_model, node)]
    quantized = _quantized(model, held, options, left_out)
    _number_operations(quantized)
    _save(quantized, out_path)
    kinds = [operation.get_type_name() for operation in quantized.get_ops()]
    return NncfReport(out_path, len(held), _some(kinds.count("FakeQuantize"), kept), kept)


def _kept(model: onnx.ModelProto, samples: list[dict[str, Any]]) -> dict[str, str]:
    """Return the nodes that calibration says too little of, with the reason for each.

    Raises:
        CalibrationError, QuantizationError: As quantize_openvino_nncf.
    """
    try:
        observations = observe(model, float_activations(model, None), samples)
    except RuntimeFailure as error:
        raise QuantizationError(f"the model does not run: {error}") from error
    return kept_after(model, observations)


def _some(quantizers: int, kept: Mapping[str, str]) -> int:
    """Return the number of quantized activations.

    Raises:
        QuantizationError: There are none.
    """
    if quantizers:
        return quantizers
    why = "".join(f"; {node}: {reason}" for node, reason in list(kept.items())[:1])
    raise QuantizationError(f"NNCF quantized nothing: no node of the model would be INT8{why}")


def _as_onnx(
    model: onnx.ModelProto,
    out_path: Path,
    samples: list[dict[str, Any]],
    options: NncfOptions,
    kept: Mapping[str, str],
) -> NncfReport:
    names = {node.name for node in model.graph.node}
    if unknown := [name for name in options.exclude if name not in names]:
        raise _unknown_node(unknown[0])
    quantized = _quantized(model, samples, options, list(options.exclude))
    number = [node.op_type for node in quantized.graph.node].count("QuantizeLinear")
    report = NncfReport(out_path, len(samples), _some(number, kept), kept)
    save_model(quantized, out_path)
    return report


def _unknown_node(name: str) -> QuantizationError:
    return QuantizationError(f"exclude names {name!r}, which is no node of the model")


def _opened(model: onnx.ModelProto, name: str) -> ov.Model:
    import openvino as ov

    try:
        return ov.Core().read_model(serialized(model))
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot read {name}: {first_line(error)}") from error


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


AnyModel = TypeVar("AnyModel")


def _quantized(
    model: AnyModel, samples: list[dict[str, Any]], options: NncfOptions, left_out: list[str]
) -> AnyModel:
    nncf = _nncf()
    preset = nncf.QuantizationPreset
    try:
        # NNCF draws progress bars on standard output.
        with contextlib.redirect_stdout(io.StringIO()), _limited_sessions():
            result: AnyModel = nncf.quantize(
                model,
                nncf.Dataset(samples),
                preset=preset.PERFORMANCE if options.symmetric else preset.MIXED,
                subset_size=len(samples),
                fast_bias_correction=True,
                model_type=nncf.ModelType.TRANSFORMER if options.transformer else None,
                ignored_scope=nncf.IgnoredScope(names=left_out),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    disable_bias_correction=not options.bias_correction
                ),
            )
            return result
    except (
        nncf.ValidationError,
        nncf.InternalError,
        nncf.UnsupportedModelError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
    ) as error:
        raise QuantizationError(f"NNCF cannot quantize it: {first_line(error)}") from error


@contextmanager
def _limited_sessions() -> Iterator[None]:
    """Limit the ONNX Runtime sessions that NNCF opens to the granted thread count.

    NNCF has no option for threads; ONNX Runtime then takes one per core of the machine, and the
    container is throttled.
    """
    import onnxruntime

    original = onnxruntime.SessionOptions

    def limited() -> onnxruntime.SessionOptions:
        options = original()
        options.intra_op_num_threads = granted_threads()
        return options

    onnxruntime.SessionOptions = limited
    try:
        yield
    finally:
        onnxruntime.SessionOptions = original


def _nncf() -> ModuleType:
    os.environ.setdefault(_NO_TELEMETRY, "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from torch, which NNCF imports if installed
        import nncf  # type: ignore[import-untyped]
    logging.getLogger("nncf").setLevel(logging.ERROR)
    module: ModuleType = nncf
    return module


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
