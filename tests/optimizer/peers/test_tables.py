"""What the comparison with peers makes of its measurements, without any runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
from catalogue import MOPT, RECIPES, Recipe, by_name, chosen
from producing import Produced
from racing import Form, Quality, Spread
from tables import Row, Sizes, cells, fastest_faithful, make_rows, markdown

MINE = Recipe("Static INT8", MOPT, "static")
PEER = Recipe("Static INT8", "ONNX Runtime", "ort_static")


def form(recipe: Recipe, relative: list[float], worst_psnr: float) -> Form:
    turns = [100 * value for value in relative]
    quality = Quality(worst_psnr, worst_psnr + 2, 0.9)
    return Form(recipe.name, lambda: None, quality, turns, relative)


def rows(peer: Produced) -> list[Row]:
    produced = {MINE.name: Produced(Path("a"), 2.0, "1"), PEER.name: peer}
    forms = {MINE.name: form(MINE, [0.5, 0.4, 0.5], 40.0)}
    sizes = {MINE.name: Sizes(100, 10)}
    if peer.path:
        forms[PEER.name] = form(PEER, [1.0, 0.4, 0.25], 38.0)
        sizes[PEER.name] = Sizes(150, 12)
    return make_rows([MINE, PEER], produced, forms, sizes)


def test_ratios_are_taken_round_by_round_before_the_median() -> None:
    mine, peer = rows(Produced(Path("b"), 1.0, "2"))
    assert mine.against is None
    assert mine.speedup == Spread(2.0, 2.0, 2.25)
    assert peer.against is not None
    # 1/0.5, 0.4/0.4, 0.25/0.5
    assert peer.against.latency == Spread(0.75, 1.0, 1.5)
    assert (peer.against.seconds, peer.against.size) == (0.5, 1.5)
    assert peer.against.worst_psnr_db == -2.0


def test_a_tool_that_refuses_keeps_its_row_and_its_words() -> None:
    _, peer = rows(Produced(None, error="ValueError: no | thanks"))
    assert peer.error == "ValueError: no | thanks"
    assert cells([peer])[1][2] == "none: ValueError: no | thanks"
    # The bar would end the cell.
    assert markdown([peer]).splitlines()[-1].count("|") == len(cells([peer])[0]) + 1


def test_the_fastest_form_must_keep_the_decibels() -> None:
    found = rows(Produced(Path("b"), 1.0, "2"))
    assert list(fastest_faithful(found, 40.0)) == [MOPT]
    # The peer's median speed-up is 2.5.
    assert list(fastest_faithful(found, 38.0)) == ["ONNX Runtime", MOPT]


def test_names_are_unique_and_each_strategy_has_a_row_of_mopts() -> None:
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)
    assert all(by_name(recipe.name) == recipe for recipe in RECIPES)
    strategies = {recipe.strategy for recipe in RECIPES}
    assert strategies == {recipe.strategy for recipe in RECIPES if recipe.tool == MOPT}


def test_an_unknown_tool_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no tool 'nobody'; there are mopt, ONNX Runtime"):
        chosen(["nobody"])
