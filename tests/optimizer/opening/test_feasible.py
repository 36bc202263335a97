"""Relations and ranges of sizes, found by trying functions that stand for models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mopt_optimizer.opening.feasible import Feasible, Range, feasible
from mopt_optimizer.opening.sums import Sum, parse_sum

Rule = Callable[..., Any]


def found(batches: list[str], others: list[str], rule: Rule) -> Feasible:
    result = feasible(batches, others, lambda sizes: bool(rule(**sizes)))
    assert result is not None
    assert rule(**result.start)
    return result


@pytest.mark.parametrize(
    ("others", "rule", "sums"),
    [
        (["past", "new"], lambda **_: True, {}),
        (["new", "mask"], lambda new, mask: mask == new, {"mask": Sum(("new",))}),
        (["past", "mask"], lambda past, mask: mask == past + 1, {"mask": Sum(("past",), 1)}),
        (
            ["new", "mask", "key", "value"],
            lambda new, mask, key, value: key == value and mask == new + key,
            {"mask": Sum(("new", "key")), "value": Sum(("key",))},
        ),
    ],
)
def test_relations_are_found(others: list[str], rule: Rule, sums: dict[str, Sum]) -> None:
    assert found([], others, rule).sums == sums


def test_unnamed_batches_are_one() -> None:
    result = found(["a", "b"], ["n"], lambda a, b, **_: a == b)
    assert result.sums == {"b": Sum(("a",))}
    assert result.ranges["a"] == Range(1, None, 1)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (lambda **_: True, Range(1, None, 1)),
        (lambda n: n % 16 == 0, Range(16, None, 16)),
        (lambda n: n >= 7, Range(7, None, 1)),
        (lambda n: n <= 77, Range(1, 77, 1)),
        (lambda n: n == 224, Range(224, 224, 1)),
        (lambda n: n % 4 == 0 and 8 <= n <= 100, Range(8, 100, 4)),
    ],
)
def test_ranges_are_found(rule: Rule, expected: Range) -> None:
    assert found([], ["n"], rule).ranges == {"n": expected}


def test_smallest_sizes_fit_together() -> None:
    result = found([], ["a", "b"], lambda a, b: a * b >= 64)
    assert result.start["a"] * result.start["b"] >= 64
    low = {name: one.minimum for name, one in result.ranges.items()}
    assert low["a"] * low["b"] >= 64


def test_one_size_in_both_directions() -> None:
    result = found(["n"], ["h", "w"], lambda h, w, **_: h == w == 224)
    assert result.sums == {"w": Sum(("h",))}
    assert result.ranges["h"] == Range(224, 224, 1)


def test_batch_of_one_is_found() -> None:
    assert found(["n"], ["length"], lambda n, **_: n == 1).ranges["n"] == Range(1, 1, 1)


def test_nothing_fits() -> None:
    assert feasible(["n"], ["a", "b", "c"], lambda _: False) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("past_sequence_length + 1", Sum(("past_sequence_length",), 1)),
        ("s14 + s27", Sum(("s14", "s27"))),
        ("2*s1 + s2 + 3", Sum(("s1", "s1", "s2"), 3)),
        ("past+length", Sum(("past", "length"))),
        ("4*_h", None),
        ("batch", None),
        ("s1 - s2", None),
        ("s1*s2 + 1", None),
        ("s1//2 + 1", None),
        ("?", None),
    ],
)
def test_sums_are_read(text: str, expected: Sum | None) -> None:
    assert parse_sum(text) == expected
