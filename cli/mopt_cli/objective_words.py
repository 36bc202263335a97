"""What an objective's ratio is called: a smaller file is not faster. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mopt_api.enums import ObjectiveMetric
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.selection import objective_cost


@dataclass(frozen=True)
class Words:
    """Words of one objective.

    Attributes:
        heading: Of the column with ratios to the baseline.
        ratio: How much better something is than another, a format of `value` and `other`.
        best: What the best of several is.
    """

    heading: str
    ratio: str
    best: str

    def better(self, value: float, other: str) -> str:
        """Return a ratio as words, such as 3.0x smaller than the baseline."""
        return self.ratio.format(value=value, other=other)


_SPEED = Words("SPEEDUP", "{value:.2f}x over {other}", "fastest")
_WORDS = {
    ObjectiveMetric.SIZE_BYTES: Words("SMALLER", "{value:.1f}x smaller than {other}", "smallest"),
    ObjectiveMetric.PEAK_MEMORY: Words(
        "LESS MEMORY", "uses {value:.1f}x less memory than {other}", "most frugal"
    ),
}


def words_of(metric: ObjectiveMetric | None) -> Words:
    """Return an objective's words; without one those of speed."""
    return _WORDS.get(metric, _SPEED) if metric is not None else _SPEED


def objective_of(result: MeasureResult) -> ObjectiveMetric | None:
    """Return the figure that a result's ratios follow from.

    Its plan names it; of a result without one it is told by the ratios. None where it has none.
    """
    objective = (result.plan or {}).get("objective")
    named = objective.get("metric") if isinstance(objective, dict) else None
    if named in list(ObjectiveMetric):
        return ObjectiveMetric(str(named))
    baseline, point = result.baseline, result.objective_point or ""
    if baseline is None:
        return None
    shown = [(v, v.speedup) for v in result.variants if v.speedup is not None]
    for metric in ObjectiveMetric if shown else ():
        whole = objective_cost(baseline, metric, point)
        costs = [(objective_cost(v, metric, point), ratio) for v, ratio in shown]
        if whole and all(c and abs(whole / c - ratio) <= 1e-3 * ratio for c, ratio in costs):
            return metric
    return None
