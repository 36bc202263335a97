"""Which pieces of the comparison are open, and that a run goes on where one ended."""

from __future__ import annotations

from pathlib import Path

import pytest
import run
from pieces import FORMS, GATES, TASK, Line, Piece, append, open_pieces, read, wanted, without
from subjects import SUBJECTS

STYLE, NET = "style_transfer", "classifier"


def test_a_subject_without_known_answers_has_no_gate_on_them() -> None:
    found = wanted([STYLE, NET], list(GATES), [NET])
    assert [piece.gate for piece in found if piece.subject == STYLE] == list(GATES[:-1])
    assert [piece.gate for piece in found if piece.subject == NET] == list(GATES)


def test_single_gates_can_be_asked_for_in_any_order() -> None:
    assert wanted([NET], ["50", "30"], []) == [Piece(NET, "30"), Piece(NET, "50")]


@pytest.mark.parametrize(
    ("done", "found"),
    [
        ([], ["forms", "30", "40"]),
        (["forms"], ["30", "40"]),
        (["forms", "30"], ["40"]),
        (["30", "40"], []),
        (["40"], ["forms", "30"]),
        (["forms", "30", "40"], []),
    ],
)
def test_what_is_done_is_skipped_and_forms_come_first(done: list[str], found: list[str]) -> None:
    pieces = [Piece(NET, "30"), Piece(NET, "40")]
    record: dict[str, Line] = {f"{NET}/{gate}": {} for gate in done}
    assert [piece.gate for piece in open_pieces(pieces, record)] == found


def test_of_a_piece_that_was_measured_again_the_last_line_counts(tmp_path: Path) -> None:
    record = tmp_path / "records" / "peers.jsonl"
    assert read(record) == {}
    for number in (1, 2):
        append(record, Piece(NET, "40"), {"number": number})
    append(record, Piece(NET, FORMS), {"number": 3})
    assert {name: line["number"] for name, line in read(record).items()} == {
        "classifier/40": 2,
        "classifier/forms": 3,
    }
    without(record, [Piece(NET, "40"), Piece(NET, "50")])
    assert list(read(record)) == ["classifier/forms"]


@pytest.mark.parametrize("text", ['{"piece": "a/40"', '{"subject": "a"}', "[]"])
def test_a_broken_line_is_named(tmp_path: Path, text: str) -> None:
    record = tmp_path / "peers.jsonl"
    append(record, Piece(NET, FORMS), {})
    record.write_text(f"{record.read_text()}{text}\n")
    with pytest.raises(ValueError, match=r"peers.jsonl:2 is no piece's result .* delete the line"):
        read(record)


def test_no_figure_is_written_that_is_none(tmp_path: Path) -> None:
    record = tmp_path / "peers.jsonl"
    with pytest.raises(ValueError, match="not JSON compliant"):
        append(record, Piece(NET, FORMS), {"ratio": float("nan")})
    assert read(record) == {}


MEASURED = """
import sys
from pathlib import Path

sys.path.insert(0, {folder!r})
from pieces import Piece, append

subject, gate, record = sys.argv[1], sys.argv[2], sys.argv[4]
with Path(record).with_name("started").open("a") as file:
    file.write(f"{{subject}}/{{gate}}\\n")
if subject == "detector" and gate == "forms":
    sys.exit(1)
append(Path(record), Piece(subject, gate), {{}})
"""


def started(folder: Path) -> list[str]:
    return (folder / "started").read_text().split()


def test_a_run_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    measure = tmp_path / "measure.py"
    measure.write_text(MEASURED.format(folder=str(Path(run.__file__).parent)))
    record = ("--record", str(tmp_path / "peers.jsonl"))
    few = ("--subjects", NET, "--gates", "40", *record)
    assert run.main(few, measure) == 0
    assert started(tmp_path) == ["classifier/forms", "classifier/40"]
    more = ("--subjects", f"{NET},detector", "--gates", "forms,40,task", *record)
    # A gate has no rivals where making the forms failed, so it is not tried.
    assert run.main(more, measure) == 1
    assert started(tmp_path)[2:] == ["classifier/task", "detector/forms"]
    assert run.main((*few, "--again"), measure) == 0
    assert started(tmp_path)[4:] == ["classifier/40"]


def test_the_open_pieces_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "peers.jsonl"
    append(record, Piece(NET, FORMS), {})
    run.main(("--list", "--subjects", NET, "--gates", "30,task", "--record", str(record)))
    assert capsys.readouterr().out.split() == [f"{NET}/30", f"{NET}/{TASK}"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--subjects", "nobody"), "--subjects: no 'nobody'; there are super_resolution,"),
        (("--gates", "41"), "--gates: no '41'; there are forms, 30,"),
        (("--tools", "nobody"), "no tool 'nobody'; there are mopt,"),
        (("--rounds", "0"), "--rounds must be 1 at least"),
        (("--quick",), "--quick measures little"),
    ],
)
def test_wrong_arguments_are_told(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run.parse(arguments)
    assert told in capsys.readouterr().err


def test_the_whole_set_is_the_default() -> None:
    parsed = run.parse(())
    assert (parsed.subjects, parsed.gates) == (list(SUBJECTS), list(GATES))
    assert len(SUBJECTS) == 8
