"""Calls NNCF, on either kind of model."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

from mopt_optimizer.errors import QuantizationError, first_line
from mopt_optimizer.machine.threads import granted_threads
from mopt_optimizer.onnx_quantization.observing import Sample

from .nncf_options import NncfOptions, NncfRanges

# NNCF reports each call to a web analytics service unless this is set before its import.
_NO_TELEMETRY = "NNCF_CI"

AnyModel = TypeVar("AnyModel")


def quantized(
    model: AnyModel, samples: Sequence[Sample], options: NncfOptions, left_out: Sequence[str]
) -> AnyModel:
    """Return a model in INT8, which is another one.

    Args:
        model: Of ONNX or OpenVINO.
        left_out: Names of its own operations that stay FP32.

    Raises:
        QuantizationError: NNCF does not support the model.
    """
    nncf = _nncf()
    preset = nncf.QuantizationPreset
    try:
        # NNCF draws progress bars on standard output.
        with contextlib.redirect_stdout(io.StringIO()), _limited_sessions():
            result: AnyModel = nncf.quantize(
                model,
                nncf.Dataset([dict(sample) for sample in samples]),
                preset=preset.PERFORMANCE if options.symmetric else preset.MIXED,
                subset_size=len(samples),
                fast_bias_correction=not options.full_correction,
                model_type=nncf.ModelType.TRANSFORMER if options.transformer else None,
                ignored_scope=nncf.IgnoredScope(names=list(left_out)),
                advanced_parameters=_advanced(nncf, options),
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


def _advanced(nncf: ModuleType, options: NncfOptions) -> Any:
    found = nncf.AdvancedQuantizationParameters(
        disable_bias_correction=not options.bias_correction,
    )
    if options.narrow_sums:
        found.overflow_fix = nncf.quantization.advanced_parameters.OverflowFix.ENABLE
    if options.ranges is NncfRanges.HISTOGRAM:
        ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet
        found.activations_range_estimator_params = ranges.HISTOGRAM
    return found


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
