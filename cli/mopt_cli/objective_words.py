"""Which objective a result was judged by. Pure."""

from __future__ import annotations

from mopt_api.enums import ObjectiveMetric
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.selection import objective_cost


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
