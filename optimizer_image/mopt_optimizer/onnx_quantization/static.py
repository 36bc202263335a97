"""Static INT8 and FP8: ranges from calibration samples, written as explicit Q/DQ nodes.

The file is standard ONNX: ONNX Runtime, OpenVINO and TensorRT (with scheme S8S8) load it unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from mopt_api.spec import QualityGate
from mopt_optimizer.errors import CalibrationError, QuantizationError
from mopt_optimizer.onnx_files.float_models import save_model

from .agreement import check_runs
from .calibrated import Calibrated, RangedForms, calibrated
from .calibration import METHODS, Calibration
from .gated import out_of_reach, search_with_margin, verdict
from .judging import Judge
from .observing import Sample
from .qdq import check_quantized
from .reports import SensitivityReport
from .sensitivity import search
from .splitting import Split, kept_for
from .static_options import StaticOptions, StaticReport


def quantize_onnx_static(
    model_path: Path,
    out_path: Path,
    samples: Iterable[Sample],
    options: StaticOptions | None = None,
    *,
    evaluation: Iterable[Sample] | None = None,
) -> StaticReport:
    """Write a model with 8-bit activations and weights.

    Each sample runs through the FP32 model once, one at a time, and a few of them again where
    biases are corrected; memory does not grow with their number. The same model, samples and
    options give identical bytes, unless time ended a search. External weights are quantized one at
    a time and go into out_path, or into OUT_PATH.data if one file cannot hold them.

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
    found = calibrated(model_path, samples, options, keep, stack)
    split = found.split()
    judge = found.judge(split.searched, options.gates) if judged else None
    method, forms = _chosen(found, split.searched if judged else found.shown, judge)
    sensitivity = _searched(found, split, judge, method, forms) if options.gates and judge else None
    exclude = sensitivity.exclude if sensitivity else ()
    quantized_nodes = sum(len(layer.nodes) for layer in found.layers) - len(exclude)
    if sensitivity and exclude and not sensitivity.int8_mac_share:
        raise QuantizationError(f"{model_path.name}: {out_of_reach(sensitivity)}")
    quantized = forms.quantized(exclude)
    check_quantized(quantized, model_path.name)
    check_runs(quantized, found.some[0], forms.folder)
    save_model(quantized, out_path, forms.folder)
    evaluating = _evaluating(found, evaluation, options.gates)
    quality, holds = verdict(quantized, evaluating, sensitivity)
    return StaticReport(
        path=out_path,
        calibration=method,
        scheme=found.writer.scheme,
        samples=found.observations.samples,
        quantized_nodes=quantized_nodes,
        kept=found.kept,
        sensitivity=sensitivity,
        evaluation_quality=quality,
        gate_holds=holds,
    )


def _chosen(
    found: Calibrated, samples: Iterable[Sample], judge: Judge | None
) -> tuple[Calibration, RangedForms]:
    """Return the calibration method and what writes its forms; of BEST that of the largest margin,
    the first on a tie.

    Args:
        samples: That biases are corrected on.
        judge: By what is searched on; not None for BEST.
    """
    method = found.options.calibration
    if method is not Calibration.BEST or judge is None:
        return method, found.forms(method, samples)
    tried = [(method, found.forms(method, samples)) for method in METHODS]
    return max(tried, key=lambda one: judge.margin(judge.judged(one[1].quantized())))


def _searched(
    found: Calibrated, split: Split, judge: Judge, method: Calibration, forms: RangedForms
) -> SensitivityReport:
    """Search for the layers that stay FP32.

    Args:
        judge: By what is searched on.
        method: Of the forms.
    """
    options = found.options
    return search_with_margin(
        forms,
        found.layers,
        judge,
        split.searched,
        partial(found.recalibrated, method),
        margin_db=options.margin_db,
        seconds=options.search_seconds,
        again=options.again,
        start=options.start,
        held_back=found.judge(split.held_back, options.gates) if split.held_back else None,
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
    found = calibrated(model_path, samples, options, kept_for(options.search_samples), stack)
    split = found.split()
    judge = found.judge(split.searched, options.gates)
    method, forms = _chosen(found, split.searched, judge)
    if options.gates:
        return _searched(found, split, judge, method, forms)
    return search(forms, found.layers, judge, judge.judged(forms.quantized()), margin=None)


def _evaluating(
    found: Calibrated, evaluation: Iterable[Sample] | None, gates: Sequence[QualityGate]
) -> Judge | None:
    """Return who judges by the evaluation samples; None without them."""
    if evaluation is None:
        return None
    samples = list(evaluation)
    if not samples:
        raise CalibrationError("no evaluation samples; give some, or None")
    return found.judge(samples, gates)
