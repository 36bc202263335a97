"""The operator ends at every write of a life, on either side of it, whichever watch is late.

What a random search (test_interleavings) may miss is tried one by one: a life of two targets has
so many steps that each can be the last one of a process.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from api_in_memory import KINDS
from operator_simulation import Simulation
from small_lives import PUBLISH, TWO_TARGETS

from mopt_operator.config.settings import Settings

SETTINGS = Settings(optimizer_image="mopt/optimizer:test")
SPEC = {**TWO_TARGETS, "publish": PUBLISH}
# Turns of a life in which nothing is lost; it is at rest well before.
TURNS = 8


def live(sim: Simulation, late: str | None = None) -> None:
    """Let watches, operator and kubelet take turns; one watch brings nothing before the end."""
    for _ in range(TURNS):
        for kind in KINDS:
            while kind != late and sim.waiting[kind]:
                sim.deliver(kind)
        sim.reconcile()
        for job in sim.unfinished():
            sim.finish(job)
        sim.now += timedelta(seconds=20)
    sim.run_to_the_end()


@pytest.fixture(scope="module")
def calm() -> Simulation:
    """Return the end of a life in which nothing happens."""
    sim = Simulation(SPEC, SETTINGS)
    live(sim)
    return sim


def test_a_life_has_the_writes_that_are_expected_of_it(calm: Simulation) -> None:
    """Each Job is created, told of and let expire once; a status follows each step."""
    writes = [step.removeprefix("before ") for step in calm.steps if step.startswith("before")]
    assert writes.count("a Job") == writes.count("a time to live") == 4
    assert writes.count("a status") <= 6
    assert len(calm.steps) == 2 * len(writes)


@pytest.mark.parametrize("late", [None, *KINDS])
def test_process_that_ends_at_any_step_leaves_one_job_per_stage(
    calm: Simulation, late: str | None
) -> None:
    for step in range(len(calm.steps)):
        sim = Simulation(SPEC, SETTINGS)
        sim.kill_after = step
        live(sim, late)
        assert sim.killed == 1 or late, f"step {step} was not reached"
        assert sim.verdict() == calm.verdict(), f"killed at step {step}"
        assert sim.made == calm.made, f"killed at step {step}"
        assert sim.events.count("JobCreated") <= 4
        assert sim.events.count("Optimized") <= 1


def test_process_that_ends_at_every_second_step_still_comes_to_the_end(calm: Simulation) -> None:
    """Each process makes one step more than it takes to be of use."""
    sim = Simulation(SPEC, SETTINGS)
    for _ in range(10 * TURNS):
        sim.kill_after = 1
        sim.reconcile()
        for job in sim.unfinished():
            sim.finish(job)
        sim.resync()
        sim.now += timedelta(seconds=20)
    assert sim.killed > 5
    sim.run_to_the_end()
    assert sim.verdict() == calm.verdict()
    assert sim.made == calm.made
