"""Whether a rewritten model runs, and how close it is to the one it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.figures import EXACT_PSNR_DB
from mopt_optimizer.errors import QuantizationError, RuntimeFailure, first_line
from mopt_optimizer.machine.threads import granted_threads
from mopt_optimizer.onnx_files.float_models import serialized
from mopt_optimizer.onnx_files.verify import OnnxSession, lacks_kernel
from mopt_optimizer.quality import ComparisonError, check_comparable, sqnr

from .observing import Sample

if TYPE_CHECKING:
    import onnx


def check_runs(quantized: onnx.ModelProto, sample: Sample, folder: Path | None) -> None:
    """Run a model once.

    Args:
        folder: See verify.new_session.

    Raises:
        QuantizationError: It does not run.
    """
    try:
        OnnxSession(serialized(quantized), folder=folder).run(dict(sample))
    except RuntimeFailure as error:
        raise QuantizationError(f"the quantized model does not run: {error}") from error


def agreement(model: onnx.ModelProto, other: onnx.ModelProto, sample: Sample) -> tuple[float, str]:
    """Return the SQNR in dB of other's worst output against model's, and the runtime of other.

    That is ONNX Runtime, or OpenVINO in f32 where ONNX Runtime lacks a kernel.

    Raises:
        QuantizationError: A model does not run, or an output is not finite or differs in shape.
    """
    try:
        expected = OnnxSession(serialized(model)).run(dict(sample))
    except RuntimeFailure as error:
        raise QuantizationError(f"the model does not run: {error}") from error
    try:
        found, runtime = OnnxSession(serialized(other)).run(dict(sample)), "ONNX Runtime"
    except RuntimeFailure as error:
        if not lacks_kernel(error):
            raise QuantizationError(f"the converted model does not run: {error}") from error
        found, runtime = _openvino_outputs(other, sample), "OpenVINO"
    try:
        check_comparable(expected, found)
    except ComparisonError as error:
        raise QuantizationError(f"the converted model is wrong: {error}") from error
    pairs = zip(expected, found, strict=True)
    return min((sqnr(a, b) for a, b in pairs if a.size), default=EXACT_PSNR_DB), runtime


def _openvino_outputs(model: onnx.ModelProto, sample: Sample) -> list[NDArray[Any]]:
    try:
        import openvino as ov
    except ModuleNotFoundError as error:
        raise QuantizationError(
            "ONNX Runtime has no kernel for the converted model, and OpenVINO, which would check "
            "it, is not installed"
        ) from error
    core = ov.Core()
    try:
        compiled = core.compile_model(
            core.read_model(serialized(model)),
            "CPU",
            {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": granted_threads()},
        )
        results = compiled(dict(sample))
    except RuntimeError as error:
        raise QuantizationError(f"the converted model does not run: {first_line(error)}") from error
    return [np.array(results[port]) for port in compiled.outputs]
