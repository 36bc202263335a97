"""Quality of a rewritten model's outputs against the FP32 model, measured as a gate does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.metrics import METRICS, Scale
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import QuantizationError, RuntimeFailure, first_line
from mopt_optimizer.machine.threads import granted_threads
from mopt_optimizer.onnx_files.float_models import serialized
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.quality import Comparison, ComparisonError, check_comparable, sqnr

from .observing import Sample

if TYPE_CHECKING:
    import onnx


def noise_of(quality: float, metric: QualityMetric) -> float:
    """Return a quality as noise power, which adds up over layers; 0 means identical.

    PSNR and SQNR become a mean square error (for a signal of peak or power 1), the maximum error
    is squared; for SSIM, cosine and agreement it is the distance to 1.

    Args:
        quality: As Judge.quality returns it.
    """
    match METRICS[metric].scale:
        case Scale.UP_TO_ONE:
            return 1.0 - quality
        case Scale.ERROR:
            return quality * quality
        case Scale.DECIBELS:
            return math.pow(10.0, -quality / 10.0)


def minimum_with_margin(gate: QualityGate, margin_db: float) -> float:
    """Return the quality to reach on known samples so that unseen ones pass too.

    The allowed noise is lowered by margin_db decibels: the minimum of PSNR and SQNR rises by that
    much; the distance to 1 of SSIM, cosine and agreement shrinks by that factor, the maximum error
    by its square root. As in Judge.quality, the maximum error is negated.
    """
    if gate.maximum is not None:
        return -gate.maximum * math.pow(10.0, -margin_db / 20.0)
    minimum = 0.0 if gate.minimum is None else gate.minimum
    if METRICS[gate.metric].scale is Scale.UP_TO_ONE:
        return 1.0 - (1.0 - minimum) * math.pow(10.0, -margin_db / 10.0)
    return minimum + margin_db


class Judge:
    """Judges models against the FP32 outputs of a few samples, which stay in memory.

    Without a gate, the metric is the worst sample's PSNR; its peak is the largest FP32 magnitude.

    Args:
        folder: See verify.new_session.

    Raises:
        QuantizationError: The FP32 model does not run.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        samples: Sequence[Sample],
        gate: QualityGate | None,
        folder: Path | None = None,
    ) -> None:
        self._folder = folder
        self._samples = [dict(sample) for sample in samples]
        self._order = [*range(len(samples))]
        with _refused():
            session = self._session(model)
            self._expected = [list(session.run(sample)) for sample in self._samples]
        self.metric = gate.metric if gate else QualityMetric.PSNR
        self._aggregate = gate.aggregate if gate else Aggregate.WORST
        self._data_range = gate.data_range if gate else _peak(self._expected)

    def quality(self, model: onnx.ModelProto, samples: Sequence[int] | None = None) -> float:
        """Return the gate's metric over the samples, aggregated as the gate specifies.

        The maximum error is negated: higher is always better.

        Args:
            samples: Indices of those that are run; None for all.

        Raises:
            QuantizationError: The model does not run, or its outputs cannot be compared.
        """
        return self.aggregated(self.values(model, samples))

    def values(self, model: onnx.ModelProto, samples: Sequence[int] | None = None) -> list[float]:
        """Return each sample's value of the gate's metric; arguments and errors are quality's."""
        with _refused():
            session = self._session(model)
            chosen = range(len(self._samples)) if samples is None else samples
            return [self._value(session, index) for index in chosen]

    def aggregated(self, values: Sequence[float]) -> float:
        """Return the quality that samples' values come to."""
        worst = self._aggregate is Aggregate.WORST
        return min(values) if worst else math.fsum(values) / len(values)

    def reaches(self, model: onnx.ModelProto, required: float) -> bool:
        """Return whether a model's quality is at least as required.

        Where the worst sample counts, the first that is below decides, and is the first to be run
        the next time.

        Raises:
            QuantizationError: As quality.
        """
        values: list[float] = []
        with _refused():
            session = self._session(model)
            for index in self._order:
                values.append(self._value(session, index))
                if self._aggregate is Aggregate.WORST and values[-1] < required:
                    self._order.remove(index)
                    self._order.insert(0, index)
                    return False
        return self.aggregated(values) >= required

    def _session(self, model: onnx.ModelProto) -> OnnxSession:
        return OnnxSession(serialized(model), folder=self._folder)

    def _value(self, session: OnnxSession, index: int) -> float:
        comparison = Comparison({self.metric: self._data_range})
        comparison.add(self._expected[index], list(session.run(self._samples[index])))
        (result,) = comparison.results()
        return result.worst if METRICS[self.metric].higher_is_better else -result.worst


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except RuntimeFailure as error:
        raise QuantizationError(f"the model does not run: {error}") from error


def _peak(outputs: Sequence[Sequence[NDArray[Any]]]) -> float:
    values = [float(np.abs(a).max()) for arrays in outputs for a in arrays if a.size]
    peak = max(values, default=0.0)
    return peak if math.isfinite(peak) and peak > 0 else 1.0


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
        if "NOT_IMPLEMENTED" not in str(error):
            raise QuantizationError(f"the converted model does not run: {error}") from error
        found, runtime = _openvino_outputs(other, sample), "OpenVINO"
    try:
        check_comparable(expected, found)
    except ComparisonError as error:
        raise QuantizationError(f"the converted model is wrong: {error}") from error
    pairs = zip(expected, found, strict=True)
    return min(sqnr(a, b) for a, b in pairs if a.size), runtime


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
