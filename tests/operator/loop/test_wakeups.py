"""The queue asks for a look whenever one is needed, and seldom otherwise.

The watches' events come one by one, in any order between the kinds; nothing looks on its own.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from api_in_memory import KINDS
from operator_simulation import Simulation

from mopt_operator.config.settings import Settings

SPEC: dict[str, Any] = {
    "model": {"uri": "s3://models/m.onnx", "format": "ONNX", "sha256": "0" * 64},
    "inputs": [{"name": "x", "shape": [1, 3, 8, 8]}],
    "benchmark": {"points": [{"name": "one"}, {"name": "four"}]},
    "output": {"uri": "s3://out/m"},
}
# The request; of each Job its Pod's start and end, and its own end; what follows from each of the
# three statuses that are written. There are more than 20 events.
MOST_LOOKS = 10


def life(seed: int) -> tuple[Simulation, int]:
    """Let a resource come to rest by the events alone; return it and how often it was looked at."""
    simulation, chance, looks = (
        Simulation(SPEC, Settings(optimizer_image="x")),
        random.Random(seed),
        0,
    )
    looks += simulation.work_off()
    while True:
        told = [kind for kind in KINDS if simulation.waiting[kind]]
        jobs = simulation.unfinished()
        if not told and not jobs:
            return simulation, looks
        if told and (not jobs or chance.random() < 0.8):
            simulation.deliver(chance.choice(told))
        elif jobs:
            simulation.finish(jobs[0])
        looks += simulation.work_off()


@pytest.mark.parametrize("seed", range(20))
def test_events_alone_bring_a_resource_to_its_end(seed: int) -> None:
    simulation, looks = life(seed)
    calm = Simulation(SPEC, Settings(optimizer_image="x"))
    calm.run_to_the_end()
    assert simulation.verdict() == calm.verdict()
    assert all(
        "ttlSecondsAfterFinished" in job["spec"] for job in simulation.objects["jobs"].values()
    )
    assert looks <= MOST_LOOKS
