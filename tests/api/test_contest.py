"""Who is beaten, tied or open, by what is known of each pair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_api.contest import Interval, Standing, standing

Known = dict[tuple[str, str], Interval]


def around(ratio: float, width: float) -> Interval:
    return Interval(ratio, ratio / width, ratio * width)


def stand(ratios: dict[str, float], known: Known, margin: float = 0.02) -> Standing:
    def between(one: str, other: str) -> Interval | None:
        if (one, other) in known:
            return known[one, other]
        found = known.get((other, one))
        return found and found.inverse

    return standing(ratios, between, margin)


@pytest.mark.parametrize(
    ("interval", "beaten", "ties", "still_open"),
    [
        (Interval(2.0, 1.8, 2.2), {"b"}, (), ()),
        (Interval(1.1, 0.9, 1.3), set(), (), ("b",)),
        (Interval(1.0, 0.985, 1.015), set(), ("b",), ()),
        # Certainly better, and by less than anybody should care about.
        (Interval(1.01, 1.005, 1.015), set(), ("b",), ()),
        (Interval(1.02, 1.005, 1.035), {"b"}, (), ()),
        (None, set(), (), ("b",)),
    ],
    ids=["better", "unclear", "equal", "hardly better", "better by a little", "unknown"],
)
def test_two_contenders(
    interval: Interval | None, beaten: set[str], ties: tuple[str, ...], still_open: tuple[str, ...]
) -> None:
    found = stand({"a": 2.0, "b": 1.9}, {("a", "b"): interval} if interval else {})
    assert found == Standing("a", frozenset(beaten), ties, still_open)


def test_the_best_by_estimate_does_not_lead_if_another_beats_it_for_certain() -> None:
    found = stand({"a": 2.1, "b": 2.0}, {("b", "a"): Interval(1.1, 1.05, 1.15)})
    assert (found.leader, found.beaten) == ("b", frozenset("a"))


def test_whoever_one_of_the_others_beats_is_out_though_the_leader_was_never_beside_it() -> None:
    known = {("a", "c"): around(1.5, 1.1), ("a", "b"): around(0.99, 1.05)}
    found = stand({"a": 2.0, "b": 2.02, "c": 1.3}, known)
    assert (found.leader, found.beaten, found.open) == ("b", frozenset("c"), ("a",))


def test_in_a_circle_nobody_is_out() -> None:
    known = {pair: around(1.5, 1.1) for pair in (("a", "b"), ("b", "c"), ("c", "a"))}
    found = stand({"a": 1.0, "b": 1.1, "c": 1.0}, known)
    assert (found.leader, found.beaten) == ("b", frozenset())
    assert not found.is_decided


def test_exact_figures_tie_only_if_they_are_equal() -> None:
    known = {("a", "b"): around(1.001, 1.0), ("a", "c"): around(1.0, 1.0)}
    known[("c", "b")] = known[("a", "b")]
    found = stand({"a": 1.001, "b": 1.0, "c": 1.001}, known, margin=0.0)
    assert (found.leader, found.beaten, found.ties) == ("a", frozenset("b"), ("c",))


logs = st.floats(-2, 2)


@given(st.dictionaries(st.sampled_from("abcdef"), logs, min_size=1), st.floats(0, 0.5))
def test_everyone_is_the_leader_or_beaten_or_tied_or_open(
    truth: dict[str, float], width: float
) -> None:
    ratios = {name: 2**log for name, log in truth.items()}
    known = {
        (one, other): around(ratios[one] / ratios[other], 1 + width)
        for one in ratios
        for other in ratios
        if one < other
    }
    found = stand(ratios, known)
    groups = [found.beaten, set(found.ties), set(found.open), {found.leader}]
    assert sum(map(len, groups)) == len(ratios)
    assert set().union(*groups) == set(ratios)
    assert ratios[found.leader] == max(ratios.values())
    # What is exact leaves nothing open.
    assert width > 0 or found.is_decided


@given(logs, logs, st.floats(1, 2), st.floats(1, 2))
def test_through_a_third_is_as_sure_as_both(a: float, b: float, one: float, other: float) -> None:
    found = around(2**a, one).over(around(2**b, other))
    for left in (1 / one, 1, one):
        for right in (1 / other, 1, other):
            inside = 2**a * left / (2**b * right)
            assert found.low <= inside * (1 + 1e-9)
            assert inside <= found.high * (1 + 1e-9)
