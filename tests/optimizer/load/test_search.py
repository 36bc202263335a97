"""The search for the best configuration, on made-up machines, beside a grid that tries all."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from load_machines import Machine, driven, grid_best, grid_trials, reached

from mopt_api.figures import Latency, Serving
from mopt_api.jobs.load_result import LoadStop, LoadTrial
from mopt_api.load import LoadScenario
from mopt_optimizer.load.configurations import Space, key_of
from mopt_optimizer.load.rules import Bound
from mopt_optimizer.load.search import BETTER, MOST_TRIALS, NARROW, Limits, Proposal, search

pytestmark = pytest.mark.optimizer

DURATION = 10.0
machines = st.builds(
    Machine,
    sample_ms=st.floats(0.5, 50),
    parallel=st.floats(0.5, 0.99),
    call_ms=st.floats(0, 5),
    crowding=st.floats(0, 0.2),
    cache=st.sampled_from([1, 2, 4, 8, 16, 64]),
)
cpus = st.sampled_from([4, 6, 8, 12, 16, 32])
batches = st.sampled_from([(1, 2, 4, 8), (1, 2, 4, 8, 16)])
CLOSE = 0.9
"""Of the best: two rates within one step of the search on each side, and one better by noise."""
ONE_RATE = 9
"""Trials that one configuration takes at most: beside a third of the smallest grid they show."""


def offline(cpus: int, batches: tuple[int, ...], budget: float = 1e9) -> Limits:
    return Limits(cpus, batches, LoadScenario.OFFLINE, DURATION, budget)


def server(cpus: int, batches: tuple[int, ...], bound: Bound, budget: float = 1e9) -> Limits:
    return Limits(cpus, batches, LoadScenario.SERVER, DURATION, budget, bound)


def has_one_peak(machine: Machine, limits: Limits) -> bool:
    """Return whether every configuration that is not nearly the best has a better neighbour."""
    space = Space(limits.cpus, limits.batches)
    values = {key_of(s): reached(machine, s, limits) for s in space.everything()}
    best = max(values.values())
    return all(
        values[key_of(serving)] >= CLOSE * best
        or any(
            values[key_of(n)] > BETTER * NARROW * values[key_of(serving)]
            for n in space.neighbours(serving)
        )
        for serving in space.everything()
    )


@settings(max_examples=60, deadline=None)
@given(machines, cpus, batches)
def test_offline_finds_the_grids_winner(
    machine: Machine, cpus: int, batches: tuple[int, ...]
) -> None:
    limits = offline(cpus, batches)
    assume(has_one_peak(machine, limits))
    found, tried = driven(search(limits), machine, None, DURATION)
    assert found.best is not None
    assert found.stopped is LoadStop.CONVERGED
    assert found.best.valid
    best, value = grid_best(machine, limits)
    winner = found.best.serving
    assert winner == best or reached(machine, winner, limits) >= CLOSE * value
    # In time: the grid's trials are long, since their figures count.
    seconds = sum(DURATION if proposal.full else DURATION / 5 for proposal in tried)
    assert seconds <= grid_trials(limits) * DURATION / 3


@settings(max_examples=60, deadline=None)
@given(machines, cpus, batches, st.floats(1.0, 6.0))
def test_server_finds_the_grids_winner(
    machine: Machine, cpus: int, batches: tuple[int, ...], patience: float
) -> None:
    bound = Bound(99, (machine.call_ms + machine.sample_ms) * patience)
    limits = server(cpus, batches, bound)
    assume(has_one_peak(machine, limits))
    found, tried = driven(search(limits), machine, bound, DURATION)
    best, value = grid_best(machine, limits)
    assume(value > 0.05 * machine.capacity(best))  # Else no rate is worth the name.
    assert found.best is not None, found.message
    assert bound.kept_by(found.best.latency_ms)
    winner = found.best.serving
    assert winner == best or reached(machine, winner, limits) >= CLOSE * value
    assert (found.best.offered or 0) >= 0.85 * value
    assert len(tried) <= grid_trials(limits) / 3 + ONE_RATE


@settings(max_examples=60, deadline=None)
@given(machines, cpus, batches, st.floats(0.05, 6.0), st.floats(1, 200))
def test_it_ends_within_its_budget_but_for_what_counts(
    machine: Machine, cpus: int, batches: tuple[int, ...], patience: float, budget: float
) -> None:
    bound = Bound(99, (machine.call_ms + machine.sample_ms) * patience)
    limits = server(cpus, batches, bound, budget)
    found, tried = driven(search(limits), machine, bound, DURATION)
    short = [proposal for proposal in tried if not proposal.full]
    assert sum(DURATION / 5 for _ in short) <= budget + DURATION / 5
    assert len(tried) <= MOST_TRIALS + 8
    assert (found.best is None) == bool(found.message)
    for proposal in tried:
        serving = proposal.serving
        assert serving.instances * serving.threads <= max(cpus, serving.threads)
        assert serving.threads <= cpus
        assert serving.batch in batches


@pytest.mark.parametrize("cpus", [2, 4, 8])
@pytest.mark.parametrize("disturbed", [2, 4, 8])
def test_a_trial_that_was_disturbed_hides_nothing_behind_it(cpus: int, disturbed: int) -> None:
    machine = Machine(
        sample_ms=2, parallel=0.5, call_ms=4, crowding=0, cache=1024, disturbed=disturbed
    )
    limits = offline(cpus, (1, 2, 4, 8, 16))
    found, tried = driven(search(limits), machine, None, DURATION)
    assert found.best is not None
    assert found.best.serving == grid_best(machine, limits)[0]
    assert any(proposal.serving.batch == disturbed for proposal in tried)


def test_a_request_that_takes_longer_than_the_bound_is_told_of() -> None:
    machine = Machine(sample_ms=100, parallel=0.5, call_ms=0, crowding=0, cache=64)
    bound = Bound(99, 10)
    found, tried = driven(search(server(4, (1, 2, 4), bound)), machine, bound, DURATION)
    assert found.best is None
    assert found.message.startswith("no rate keeps p99 within 10 ms: a request takes 62.5 ms")
    assert all(proposal.offered is None for proposal in tried)


def test_a_form_that_is_far_behind_takes_two_trials() -> None:
    machine = Machine(sample_ms=10, parallel=0.9, call_ms=0, crowding=0, cache=64)
    limits = Limits(4, (1, 2, 4), LoadScenario.OFFLINE, DURATION, 1e9, rival=lambda _: 10_000.0)
    found, tried = driven(search(limits), machine, None, DURATION)
    assert len(tried) == 2
    assert found.best is None
    assert found.message.startswith("far behind: ")
    assert found.message.endswith("in the same configuration, 4 x 1 threads, batch 1")


def test_a_configuration_that_cannot_be_opened_is_left_out() -> None:
    steps = search(offline(2, (1,)))
    assert next(steps) == Proposal(Serving(instances=1, threads=2, batch=1))
    assert steps.send(None) == Proposal(Serving(instances=2, threads=1, batch=1))
    answer = LoadTrial(
        serving=Serving(instances=2, threads=1, batch=1),
        throughput=10,
        latency_ms=Latency(p50=1, p90=1, p99=1),
        queries=10,
        seconds=1,
        valid=True,
    )
    proposal = steps.send(answer)
    assert proposal == Proposal(Serving(instances=1, threads=1, batch=1))
    proposal = steps.send(None)
    assert proposal == Proposal(answer.serving, full=True)
    with pytest.raises(StopIteration) as end:
        steps.send(answer)
    assert end.value.value.best == answer


def test_where_time_runs_out_at_once_what_was_seen_counts() -> None:
    machine = Machine(sample_ms=10, parallel=0.9, call_ms=0, crowding=0, cache=64)
    found, tried = driven(search(offline(4, (1, 2), budget=1)), machine, None, DURATION)
    assert tried == [
        Proposal(Serving(instances=1, threads=4, batch=1)),
        Proposal(Serving(instances=1, threads=4, batch=1), full=True),
    ]
    assert found.stopped is LoadStop.BUDGET
    assert found.best is not None


def test_a_long_trial_that_misses_the_bound_lowers_the_rate() -> None:
    machine = Machine(sample_ms=10, parallel=0.9, call_ms=0, crowding=0, cache=64)
    bound = Bound(99, 50)
    steps = search(server(1, (1,), bound))
    proposal = next(steps)
    while not proposal.full:
        proposal = steps.send(machine.trial(proposal, bound, 2.0))
    missed = machine.trial(proposal, bound, 10.0).model_copy(update={"valid": False})
    again = steps.send(missed)
    assert again.full
    assert again.serving == proposal.serving
    assert (again.offered or 0) < (proposal.offered or 0)


def test_a_trial_that_does_not_fit_into_the_time_left_is_not_begun() -> None:
    machine = Machine(sample_ms=200, parallel=0.9, call_ms=0, crowding=0, cache=64)
    bound = Bound(99, 2000)
    limits = replace(server(1, (1,), bound), most_seconds=60)
    found, tried = driven(search(limits), machine, bound, DURATION)
    assert found.best is None
    assert found.stopped is LoadStop.BUDGET
    assert re.search(r"no long trial of 1 x 1 threads.* is valid: it takes 1\d\d s", found.message)
    assert not any(proposal.full for proposal in tried)
