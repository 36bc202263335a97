"""Several instances in OpenVINO: streams of one compiled model, which share its weights."""

from __future__ import annotations

from collections.abc import Sequence

from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.instances import Batches, Compute

from .runner import OpenVinoRunner


def streams(opening: Opening, count: int, batches: Batches) -> list[Compute]:
    """Return instances, see registry.open_instances."""
    runner = OpenVinoRunner(opening, streams=count)

    def instance() -> Compute:
        infer = runner.stream()

        def compute(samples: Sequence[int]) -> None:
            infer(batches(samples))

        return compute

    return [instance() for _ in range(count)]
