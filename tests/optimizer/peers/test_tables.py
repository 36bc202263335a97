"""What the comparison with peers makes of its measurements, without any runtime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from catalogue import MOPT, RECIPES, Recipe, by_name, chosen
from producing import Produced
from racing import Form, Spread
from tables import Row, Sizes, cells, forms_table, make_rows

MINE = Recipe("Static INT8", MOPT, "static")
PEER = Recipe("Static INT8", "ONNX Runtime", "ort_static")
WORST, MEAN = "Worst PSNR dB", "Mean PSNR dB"


def form(recipe: Recipe, relative: list[float], worst_psnr: float) -> Form:
    turns = [100 * value for value in relative]
    quality = {WORST: worst_psnr, MEAN: worst_psnr + 2}
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
    assert peer.against.quality == -2.0


def test_a_row_comes_back_from_json() -> None:
    found = rows(Produced(Path("b"), 1.0, "2"))
    told = json.loads(json.dumps([row.as_json() for row in found]))
    assert [Row.from_json(fields) for fields in told] == found
    assert found[1].recipe == PEER.name


def test_a_tool_that_refuses_keeps_its_row_and_its_words() -> None:
    _, peer = rows(Produced(None, error="ValueError: no | thanks"))
    assert peer.error == "ValueError: no | thanks"
    heading, line = cells([peer], [WORST, MEAN])
    assert line[2] == "none: ValueError: no | thanks"
    assert len(line) == len(heading)
    # The bar would end the cell.
    assert forms_table([peer], [WORST]).splitlines()[-1].count("|") == len(heading)


def test_figures_that_are_shown_have_their_headings() -> None:
    heading, mine, peer = cells(rows(Produced(Path("b"), 1.0, "2")), [WORST, MEAN])
    assert dict(zip(heading, peer, strict=True)) == {
        "Strategy": "Static INT8",
        "Tool": "ONNX Runtime",
        "Make s": "1.00",
        "MiB": "0.00",
        "ms": "40.00",
        "Speed-up over FP32": "2.50x (1.75-3.25)",
        WORST: "38.00",
        MEAN: "40.00",
        "Nodes": "12",
        "Make over mopt's": "0.50x",
        "Size over mopt's": "1.50x",
        "Latency over mopt's": "1.00x",
        f"{WORST} minus mopt's": "-2.0",
    }
    assert mine[-4:] == ("", "", "", "")


def test_names_are_unique_and_each_strategy_has_a_row_of_mopts() -> None:
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)
    assert all(by_name(recipe.name) == recipe for recipe in RECIPES)
    strategies = {recipe.strategy for recipe in RECIPES}
    assert strategies == {recipe.strategy for recipe in RECIPES if recipe.tool == MOPT}


def test_an_unknown_tool_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no tool 'nobody'; there are mopt, ONNX Runtime"):
        chosen(["nobody"])
