"""Certain or silent: how often a contest is wrong, in noise whose truth is known."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_rounds import NOISES, Noise, Race, quiet

from mopt_api.enums import ObjectiveMetric
from mopt_optimizer.timing.deciding import FIRST_LOOK, TURNS, Budget, looks
from mopt_optimizer.timing.interleave import pooled

RUNS = 200
noises = pytest.mark.parametrize("noise", NOISES.values(), ids=list(NOISES))


@given(st.integers(2, 2000))
def test_looks_become_rarer_and_end_with_the_last_round(most: int) -> None:
    found = looks(most)
    assert found[-1] == most
    assert found == sorted(set(found))
    assert found[0] == min(FIRST_LOOK, most)
    assert len(found) <= 16


def test_twice_the_duration_is_twice_the_turns() -> None:
    budget = Budget.of(3.0, 6.0)
    assert budget.rounds == 2 * TURNS
    assert budget.rounds * budget.turn_seconds == pytest.approx(6)


@noises
def test_the_same_form_twice_is_called_faster_in_one_run_of_a_hundred_at_most(noise: Noise) -> None:
    race = Race({"baseline": 8.0, "one": 4.0, "again": 4.0}, noise)
    said = [race.run(seed).winner for seed in range(RUNS)]
    assert sum(winner is not None for winner in said) <= RUNS // 100


def test_the_same_form_twice_is_a_tie_on_a_quiet_machine() -> None:
    race = Race({"baseline": 8.0, "one": 4.0, "again": 4.0}, quiet)
    outcomes = [race.run(seed) for seed in range(50)]
    assert all(not outcome.standing.open for outcome in outcomes)
    assert {frozenset((o.standing.leader, *o.standing.ties)) for o in outcomes} == {
        frozenset(("one", "again"))
    }


@noises
def test_no_winner_is_a_wrong_one(noise: Noise) -> None:
    race = Race({"baseline": 9.0, "best": 4.0, "second": 6.0, "third": 6.6}, noise)
    said = [race.run(seed).winner for seed in range(RUNS)]
    assert set(said) <= {"best", None}


def test_a_difference_of_half_is_decided_by_a_quarter_of_the_turns_on_a_quiet_machine() -> None:
    race = Race({"baseline": 9.0, "best": 4.0, "second": 6.0, "third": 6.6}, quiet)
    outcomes = [race.run(seed) for seed in range(RUNS)]
    assert {outcome.winner for outcome in outcomes} == {"best"}
    calls = sum(len(turns) for outcome in outcomes for turns in outcome.rounds.values())
    assert calls <= RUNS * 4 * TURNS / 4


@noises
def test_an_interval_covers_what_is_measured_again(noise: Noise) -> None:
    race = Race({"baseline": 9.0, "best": 4.0, "second": 6.0}, noise)
    ratios = [race.run(seed).ratio("best") for seed in range(RUNS)]
    again = [ratio for ratio, _, _ in ratios[RUNS // 2 :]]
    covered = sum(
        low <= other <= high for (_, low, high), other in zip(ratios, again, strict=False)
    )
    assert covered >= 95


def test_losers_leave_and_the_baseline_stays() -> None:
    race = Race({"baseline": 40.0, "a": 4.0, "b": 4.04, "slow": 20.0}, quiet)
    outcome = race.run(0)
    turns = {name: len(taken) for name, taken in outcome.rounds.items()}
    assert turns["slow"] == FIRST_LOOK
    assert turns["baseline"] == turns["a"] == turns["b"] > FIRST_LOOK


def test_what_cannot_win_leaves_after_the_first_look_however_fast_it_is() -> None:
    race = Race({"baseline": 9.0, "a": 4.0, "b": 4.04, "spoilt": 1.0}, quiet, barred=("spoilt",))
    outcome = race.run(0)
    assert len(outcome.rounds["spoilt"]) == FIRST_LOOK
    assert outcome.standing.leader in ("a", "b")


def test_all_that_were_measured_are_compared_with_each_other() -> None:
    race = Race({"baseline": 9.0, "a": 4.0, "b": 6.0, "spoilt": 1.0}, quiet, barred=("spoilt",))
    outcome = race.run(0)
    compared = outcome.contest.compared(outcome.rounds)
    for metric in (ObjectiveMetric.LATENCY_P50, ObjectiveMetric.THROUGHPUT):
        pairs = [
            {one, c.than} for one, found in compared.items() for c in found if c.metric == metric
        ]
        assert len(pairs) == len({frozenset(pair) for pair in pairs}) == 6
    # Of 24 calls each there are no percentiles.
    told = {c.metric for found in compared.values() for c in found}
    assert told == {ObjectiveMetric.LATENCY_P50, ObjectiveMetric.THROUGHPUT}


def test_the_budget_ends_what_is_not_decided() -> None:
    race = Race({"baseline": 8.0, "one": 4.0, "again": 4.0}, NOISES["two_valued"])
    outcome = race.run(0)
    assert outcome.taken == race.budget.rounds
    assert outcome.standing.open
    assert outcome.winner is None
    assert outcome.contest.words(outcome.rounds).startswith("undecided after 96 rounds")


def test_the_budget_is_of_time_too_and_shared_by_all() -> None:
    # Three forms have 18 s: enough for the look after 32 rounds, not for that after 48.
    forms = {"baseline": 4.0, "one": 4.0, "again": 4.0}
    outcome = Race(forms, NOISES["two_valued"], round_seconds=0.5).run(0)
    assert outcome.taken == 32
    assert outcome.standing.open


def test_slow_calls_are_made_ten_times_before_it_is_undecided() -> None:
    forms = {"baseline": 4.0, "one": 4.0, "again": 4.0}
    slow, short = (
        Race(forms, NOISES["two_valued"], round_seconds=500, calls=calls).run(0) for calls in (1, 4)
    )
    # Looks come after 6, 9 and 14 rounds.
    assert (slow.taken, short.taken) == (14, FIRST_LOOK)


def test_a_percentile_is_not_told_from_fewer_calls_than_it_needs() -> None:
    race = Race({"baseline": 9.0, "a": 4.0}, quiet, ObjectiveMetric.LATENCY_P90)
    outcome = race.run(0)
    assert outcome.winner == "a"
    # Looks come after 14 and 21 rounds of four calls.
    assert len(pooled(outcome.rounds["a"])) == 84


def test_a_percentile_that_the_budget_is_too_small_for_is_undecided() -> None:
    race = Race({"baseline": 9.0, "a": 4.0}, quiet, ObjectiveMetric.LATENCY_P99)
    outcome = race.run(0)
    assert outcome.standing.open == ("baseline",)
    told = {c.metric for found in outcome.contest.compared(outcome.rounds).values() for c in found}
    assert ObjectiveMetric.LATENCY_P99 not in told


def test_a_winner_is_told_better_for_a_quarter_of_the_turns_at_most() -> None:
    forms = {"baseline": 9.0, "a": 4.0, "b": 8.0}
    steady = Race(forms, lambda generator, turns: 0 * generator.random(turns), spread=0.0).run(1)
    assert steady.taken == FIRST_LOOK
    rough = Race(forms, quiet).run(1)
    assert rough.taken == 9
    assert len(rough.rounds["b"]) == FIRST_LOOK


def test_with_other_groups_to_come_intervals_become_narrow() -> None:
    forms = {"baseline": 9.0, "a": 4.0}
    alone, one_of_several = (Race(forms, quiet, narrow=several).run(0) for several in (False, True))
    assert alone.taken < one_of_several.taken
    _, low, high = one_of_several.ratio("a")
    assert high / low <= 1.05


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from(sorted(NOISES)))
def test_nobody_takes_a_turn_after_leaving(seed: int, noise: str) -> None:
    outcome = Race({"baseline": 9.0, "a": 4.0, "b": 4.4, "c": 7.0}, NOISES[noise]).run(seed)
    taken = {name: len(turns) for name, turns in outcome.rounds.items()}
    assert max(taken.values()) == taken["baseline"]
    assert set(taken.values()) <= set(looks(outcome.taken)) | set(looks(2 * TURNS))
