"""What a measurement is asked, whatever the model's weights: what was answered to the same question
of other weights tells which variants cannot win. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from mopt_api.auto.facts import SearchAim
from mopt_api.benchmark import Benchmark
from mopt_api.inputs import DimensionRange
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate


def question_of(
    benchmark: Benchmark,
    objective: Objective,
    gates: Sequence[QualityGate],
    dimensions: Mapping[str, DimensionRange],
    *,
    references: bool,
) -> str | None:
    """Return the digest of a question, as 64 hex digits.

    Not how long is measured, nor the data: those of two trainings differ.

    Args:
        references: Whether quality is compared with ground truth.

    Returns:
        None where other weights tell nothing: where speed is not the objective, since sizes and
        memory are known without measuring; under load, whose figures have no intervals; and with
        ground truth, by which FP32 itself may miss a gate.
    """
    by_speed = SearchAim.of(objective.metric) is SearchAim.SPEED
    if references or not by_speed or benchmark.load is not None:
        return None
    document = {
        "points": [point.to_api() for point in benchmark.points],
        "threads": benchmark.threads,
        "objective": objective.to_api(),
        "gates": [gate.to_api() for gate in gates],
        "dimensions": {name: size.to_api() for name, size in dimensions.items()},
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
