"""The exact program: as good as trying every choice; and what is proposed by it, tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_optimizer.onnx_quantization.cheapest import Exclusions, cheapest_exclusions
from mopt_optimizer.onnx_quantization.proposals import cheaper_exclusions

LAYERS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=10)


def every(layers: Sequence[tuple[int, int]]) -> list[Exclusions]:
    """Return all choices among layers of a cost and a noise."""
    found = []
    for out in product([False, True], repeat=len(layers)):
        excluded = frozenset(index for index, is_out in enumerate(out) if is_out)
        cost = sum(layers[index][0] for index in excluded)
        noise = sum(one[1] for index, one in enumerate(layers) if index not in excluded)
        found.append(Exclusions(excluded, cost, noise))
    return found


@pytest.mark.parametrize(
    ("costs", "noises", "most_noise", "excluded"),
    [
        ([5, 5, 5], [1, 2, 3], 6, {*()}),
        ([5, 5, 5], [1, 2, 3], 3, {2}),
        ([5, 5, 5], [1, 2, 3], 0, {0, 1, 2}),
        # By noise per cost the first goes out, and then the second as well.
        ([6, 10, 1], [6, 9, 0], 6, {1}),
        ([0, 7], [4, 4], 4, {0}),
        ([7, 0], [0, 3], 2, {1}),
        ([1] * 7 + [0] * 10, [1.5] * 7 + [1] * 10, 10.5, {*range(7, 17)}),
    ],
    ids=[
        "all fit in",
        "the noisiest",
        "nothing fits in",
        "one for two",
        "free",
        "no noise",
        "many free",
    ],
)
def test_the_cheapest_go_out(
    costs: list[float], noises: list[float], most_noise: float, excluded: set[int]
) -> None:
    found = cheapest_exclusions(costs, noises, most_noise)
    assert found is not None
    assert found.excluded == excluded


@given(LAYERS, st.data())
def test_none_of_all_choices_is_cheaper(layers: list[tuple[int, int]], data: st.DataObject) -> None:
    costs, noises = (list(of) for of in zip(*layers, strict=True))
    most_noise = data.draw(st.integers(0, sum(noises)))
    below = data.draw(st.one_of(st.just(math.inf), st.integers(0, sum(costs) + 1)))
    best = min(one.cost for one in every(layers) if one.noise <= most_noise)
    found = cheapest_exclusions(costs, noises, most_noise, below=below)
    if best >= below:
        assert found is None
        return
    assert found in every(layers)
    assert found.noise <= most_noise
    assert found.cost == best


@given(LAYERS, st.floats(0.001, 0.5), st.data())
def test_a_gain_is_all_that_is_missed(
    layers: list[tuple[int, int]], gain: float, data: st.DataObject
) -> None:
    costs, noises = (list(of) for of in zip(*layers, strict=True))
    most_noise = data.draw(st.integers(0, sum(noises)))
    best = min(one.cost for one in every(layers) if one.noise <= most_noise)
    found = cheapest_exclusions(costs, noises, most_noise, gain=gain)
    assert found is not None
    assert found.noise <= most_noise
    assert found.cost * (1 - gain) <= best <= found.cost


@given(st.integers(0, 10**6))
def test_hundreds_of_layers_are_as_good_as_divided_ones(seed: int) -> None:
    """The least that a knapsack can cost is less than one layer below what it does cost."""
    costs = [1 + (seed * 7 + index * 7919) % 1000 for index in range(300)]
    noises = [1 + (seed * 3 + index * 104729) % 1000 for index in range(300)]
    most_noise = sum(noises) / 10
    found = cheapest_exclusions(costs, noises, most_noise, gain=0.005)
    assert found is not None
    assert sum(n for index, n in enumerate(noises) if index not in found.excluded) <= most_noise
    left, bound = sum(noises) - most_noise, 0.0
    for index in sorted(range(300), key=lambda index: costs[index] / noises[index]):
        part = min(1.0, left / noises[index])
        left, bound = left - part * noises[index], bound + part * costs[index]
    assert bound <= found.cost * (1 + 1e-6)
    assert found.cost < bound + 1000


def margins(
    noises: Sequence[float], factor: float, tried: list[frozenset[int]]
) -> Callable[[frozenset[int]], float]:
    """Return what judges exclusions by the sum of the noise, times a factor."""

    def margin_of(excluded: frozenset[int]) -> float:
        tried.append(excluded)
        noise = sum(n for index, n in enumerate(noises) if index not in excluded) * factor
        return -10 * math.log10(noise) if noise else math.inf

    return margin_of


@given(LAYERS, st.floats(0.2, 5.0), st.data())
def test_what_is_proposed_holds_and_costs_no_more(
    layers: list[tuple[int, int]], factor: float, data: st.DataObject
) -> None:
    """Layers' noise adds up but for a factor that nobody knows; so few models tell the best."""
    costs, noises = (list(of) for of in zip(*layers, strict=True))
    allowed = data.draw(st.integers(1, max(sum(noises), 1)))
    aim = -10 * math.log10(allowed * factor) - 1e-9
    holding = [one for one in every(layers) if one.noise <= allowed]
    chosen = data.draw(st.sampled_from(holding))
    tried: list[frozenset[int]] = []
    found = cheaper_exclusions(chosen.excluded, costs, noises, aim, margins(noises, factor, tried))
    (reached,) = (one for one in holding if one.excluded == found)
    assert reached.cost <= chosen.cost
    assert len(tried) <= 7
    if chosen.noise:  # Then the factor is known from the start.
        assert reached.cost * 0.99 <= min(one.cost for one in holding)


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_noise_that_differs_from_the_sum_is_found_out(factor: float) -> None:
    """Everything is out at first, so that nothing is known of how noise adds up."""
    costs, noises = [10, 20, 30, 40, 50], [0.5, 0.4, 0.3, 0.2, 0.1]
    found = cheaper_exclusions(frozenset(range(5)), costs, noises, 0.0, margins(noises, factor, []))
    layers = [(cost, round(noise * 10)) for cost, noise in zip(costs, noises, strict=True)]
    holding = [one for one in every(layers) if one.noise * factor <= 10 + 1e-9]
    assert found == min(holding, key=lambda one: one.cost).excluded


def test_faults_and_an_ended_budget_keep_what_was_chosen() -> None:
    chosen, tried = frozenset({0, 1}), list[frozenset[int]]()

    def faulty(excluded: frozenset[int]) -> float:
        tried.append(excluded)
        return 0.0 if excluded == chosen else -math.inf

    assert cheaper_exclusions(chosen, [1, 1, 1], [1, 1, 1], 0.0, faulty) == chosen
    assert tried
    count = len(tried)
    assert cheaper_exclusions(chosen, [1, 1, 1], [1, 1, 1], 0.0, faulty, lambda: True) == chosen
    assert len(tried) == count
