"""What holds of a server's answers beside what was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from mopt_api.figures import QualityResult
from mopt_api.inputs import InputSpec
from mopt_api.jobs.gates import figure_name, gate_failure, judged_result
from mopt_api.jobs.measure_result import PointResult, VariantResult
from mopt_api.metrics import metric_in_words
from mopt_api.spec import QualityGate
from mopt_optimizer.proofs.checks import Check
from mopt_optimizer.serving.datatypes import DATATYPES

from .client import Metadata, Times

_US_PER_MS = 1000


@dataclass(frozen=True)
class Overhead:
    """Medians of where a call's time went, in milliseconds."""

    queue: float
    compute: float
    rest: float

    def to_api(self) -> dict[str, float]:
        """Return the JSON form."""
        return {"queueMs": self.queue, "computeMs": self.compute, "networkMs": self.rest}


def overhead(p50_ms: float, times: Sequence[Times]) -> Overhead | None:
    """Return where the time went; None where the server does not tell."""
    if not times:
        return None
    queue = median(each.queue for each in times) / _US_PER_MS
    compute = median(each.compute for each in times) / _US_PER_MS
    return Overhead(queue, compute, max(0.0, p50_ms - queue - compute))


def model_check(model: str, metadata: Metadata, declared: Sequence[InputSpec]) -> Check:
    """Return whether a server's model takes what was measured."""
    theirs = {tensor.name: tensor for tensor in metadata.inputs}
    ours = {spec.name: spec for spec in declared}
    if theirs.keys() != ours.keys():
        message = f"{model} takes {', '.join(theirs) or 'nothing'}; {', '.join(ours)} was measured"
        return Check("model", False, message)
    for name, spec in ours.items():
        tensor, datatype = theirs[name], DATATYPES[spec.dtype.value]
        if tensor.datatype != datatype or len(tensor.shape) != len(spec.shape):
            return Check(
                "model",
                False,
                f"input {name} of {model} is {tensor.datatype} of {len(tensor.shape)} dimensions; "
                f"{datatype} of {len(spec.shape)} was measured",
            )
    return Check("model", True, f"{model} takes what was measured: {', '.join(ours)}")


def data_check(found: str, stated: str | None) -> Check:
    """Return whether the samples are those of the measurement."""
    said = "as measured" if found == stated else f"{stated or 'nothing'} when measured"
    return Check("evaluation data", found == stated, f"{found}, {said}")


def gate_checks(
    gates: Sequence[QualityGate], found: Sequence[QualityResult], measured: VariantResult
) -> Iterator[Check]:
    """Yield whether each gate holds of the server's outputs."""
    for gate in gates:
        result = judged_result(gate, found)
        failure = gate_failure(gate, found)
        name = gate.metric.value if result is None else figure_name(result)
        yield Check(name, failure is None, failure or _quality(result, gate, measured))


def _quality(result: QualityResult | None, gate: QualityGate, measured: VariantResult) -> str:
    if result is None:
        return ""
    limit = (
        f"at least {gate.minimum:.10g}" if gate.maximum is None else f"at most {gate.maximum:.10g}"
    )
    before = judged_result(gate, measured.quality)
    stated = "" if before is None else f", {_worst(before)} when measured"
    return f"worst {_worst(result)}{stated}; mean {_mean(result)}; {limit}"


def _worst(result: QualityResult) -> str:
    return metric_in_words(result.metric, result.worst, exact=result.exact)


def _mean(result: QualityResult) -> str:
    return metric_in_words(result.metric, result.mean, exact=result.exact)


def speed_check(here: PointResult, measured: PointResult, share: float) -> Check:
    """Return whether the median latency is within a share of the measured one.

    Args:
        share: By which it may be longer: 0.15 is 15 %.
    """
    p50, before = here.latency_ms.p50, measured.latency_ms.p50
    message = (
        f"p50 {p50:.3g} ms, {before:.3g} ms when measured: {p50 / before:.3g} times, at most "
        f"{1 + share:.4g}"
    )
    return Check("speed", p50 <= before * (1 + share), message)
