"""Who is fastest at a gate, and the page that says so."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import page
import pytest
from catalogue import MOPT
from gates import gate
from pieces import FORMS, Line
from racing import Spread
from standing import geomean, left_out, over_peers, rivals, standing, standings, times_as_fast
from tables import Row

from mopt_api.enums import QualityMetric

BOUND = gate(QualityMetric.PSNR, "40")
KEY = "Worst PSNR dB"


def row(tool: str, speed: float, decibels: float | None, error: str | None = None) -> Row:
    return Row(
        "Static INT8",
        tool,
        "",
        "ONNXRuntime",
        "1",
        seconds=1.0,
        size_bytes=100,
        latency_ms=None if error else 1 / speed,
        speedup=None if error else Spread(speed, speed, speed),
        quality=None if decibels is None else {KEY: decibels},
        error=error,
    )


ROWS = [
    row(MOPT, 9.0, 50.0),
    row("A", 2.0, 41.0),
    row("B", 4.0, 39.0),
    row("B", 3.0, 40.0),
    row("C", 5.0, 12.0),
    row("C", 6.0, 38.0),
    row("D", 0.0, None, "ValueError: no Resize"),
]


def test_rivals_are_the_peers_fastest_that_hold_the_gate() -> None:
    assert [(one.tool, one.speedup and one.speedup.median) for one in rivals(ROWS, BOUND)] == [
        ("B", 3.0),
        ("A", 2.0),
    ]


def test_who_has_nothing_says_why() -> None:
    assert left_out(ROWS, BOUND) == {"C": "its best is 38.00", "D": "ValueError: no Resize"}
    # No figure of the right answers: none was compared with them.
    assert left_out(ROWS, BOUND, truth=True)["A"] == "not timed"


def test_the_ratio_is_of_rounds_that_both_were_in() -> None:
    found = times_as_fast([0.5, 0.25, 1.0], [1.0, 0.5, 2.0])
    assert found is not None
    assert (found.ratio, found.low, found.high) == pytest.approx((2, 2, 2))
    noisy = times_as_fast([0.5, 0.4, 0.5, 0.6], [1.0, 0.8, 0.9, 1.3])
    assert noisy is not None
    assert noisy.low < 2 < noisy.high
    assert times_as_fast([1.0, 1.0], [1.0, 1.0]) is None


def test_the_mean_of_ratios_is_geometric() -> None:
    assert geomean([2.0, 0.5]) == 1
    assert geomean([8.0, 1.0, 1.0]) == pytest.approx(2)
    assert geomean([]) is None


def contender(role: str, label: str, ratio: float | None, **more: Any) -> dict[str, Any]:
    interval = None if ratio is None else {"ratio": ratio, "low": ratio / 1.1, "high": ratio * 1.1}
    return {
        "name": label,
        "role": role,
        "label": label,
        "holds": True,
        "selected_is": interval,
        "error": None,
        **more,
    }


MACHINE = {
    "cpu": "Some CPU",
    "features": ["avx2"],
    "threads": 2,
    "load_at_start": 0.1,
    "measured_at": "2026-11-30T12:00:00+00:00",
    "python": "3.11.7",
    "versions": {"torch": "2.15.0"},
}


def line(subject: str, name: str, *contenders: dict[str, Any], **more: Any) -> Line:
    return {
        "piece": f"{subject}/{name}",
        "subject": subject,
        "gate": name,
        "machine": MACHINE,
        "partial": False,
        "rounds": 9,
        "title": subject.title(),
        "figures": [KEY],
        "evaluation_samples": 8,
        "bound": BOUND.to_api(),
        "bound_in_words": "Worst PSNR 40 dB",
        "run": {"seconds": 100.0},
        "contenders": list(contenders),
        "left_out": {},
        **more,
    }


SELECTED = contender("selected", "openvino-nncf", None)
EAGER = contender("eager", "PyTorch eager", 3.0)


def test_the_best_peer_holds_the_gate_and_ran() -> None:
    found = standing(
        line(
            "net",
            "40",
            SELECTED,
            EAGER,
            contender("peer", "slow", 1.5),
            contender("peer", "fast", 1.2),
            contender("peer", "misses it", 0.5, holds=False),
            contender("peer", "broke", None, error="RuntimeError"),
        )
    )
    assert (found.selected, found.peer) == ("openvino-nncf", "fast")
    assert found.over_peer is not None
    assert found.over_peer.ratio == 1.2
    assert found.over_eager is not None
    assert found.over_eager.ratio == 3.0


def test_a_gate_that_no_peer_holds_has_no_ratio() -> None:
    found = standing(line("net", "40", SELECTED))
    assert (found.peer, found.over_peer, found.over_eager) == (None, None, None)
    assert over_peers([found], "40") == []


def forms_line(subject: str) -> Line:
    source = {
        "size_bytes": 2**20,
        "nodes": 7,
        "latency_ms": 1.5,
        "slowest_turn_over_median": 1.1,
        "quality": {KEY: 200.0, "Mean Top1Agreement with truth": 0.97},
    }
    return line(subject, FORMS, source=source, rows=[one.as_json() for one in ROWS])


def lines() -> dict[str, Line]:
    found = [
        forms_line("one"),
        line("one", "40", SELECTED, EAGER, contender("peer", "NNCF", 0.5), left_out={"D": "no"}),
        line("two", "40", SELECTED, contender("peer", "Olive", 2.0)),
        line("two", "50", SELECTED),
    ]
    return {each["piece"]: each for each in found}


def test_the_page_has_every_gate_and_tells_who_is_ahead() -> None:
    text = page.page(lines(), "make bench-optimizer")
    assert "| 40 | 2 | 1.00x of 2 | 1 | 3.00x of 1 |" in text
    assert "| 50 | 1 | no figure | 0 | no figure |" in text
    assert "| two | 50 | Worst PSNR 40 dB | openvino-nncf | none holds it |  |  | 100 |" in text
    assert "one at 40: NNCF, 2.00x [1.82, 2.20]" in text
    assert "| D | no |" in text
    assert "none: ValueError: no Resize" in text
    assert "its own answers Mean Top1Agreement 97.00% of the right ones" in text
    assert "Some CPU (avx2), 2 threads" in text
    assert "Not a full run" not in text


def test_a_partial_run_says_so() -> None:
    record = {"one/forms": {**forms_line("one"), "partial": True}}
    assert "Not a full run" in page.page(record, "part of it")


def test_nobody_is_ahead_where_it_is_not_certain() -> None:
    record = lines()
    record["one/40"]["contenders"][2]["selected_is"]["high"] = 1.01
    assert "No peer is certainly ahead" in page.page(record, "make bench-optimizer")


def test_only_the_measured_part_of_the_page_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "peers.md"
    path.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.write("new", path)
    assert path.read_text() == f"before\n{page.BEGIN}\n\nnew\n\n{page.END}\nafter\n"
    path.write_text("nothing of that")
    with pytest.raises(ValueError, match="lacks the lines"):
        page.write("new", path)


def test_means_are_of_all_subjects_at_a_gate() -> None:
    ratios = over_peers(standings(lines().values()), "40")
    assert ratios == [0.5, 2.0]
    assert geomean(ratios) == pytest.approx(math.sqrt(0.5 * 2.0))
