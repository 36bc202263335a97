"""mopt side by side with its peers, on real models: at each gate what each makes of them.

    .venv/bin/python bench/optimizer/run.py [--subjects classifier,...] [--gates forms,40,...]
        [--again] [--list] [--page docs/optimizer/peers.md]

For each subject every tool starts from the same FP32 ONNX file (or PyTorch program) and the same
calibration data, and writes files in a process of its own; all are opened by the same runtimes,
compared with FP32 on other data, and timed in paired rounds (the gate `forms`). Then, for each
gate, mopt runs as a user runs it, and what it selects races against the peers' fastest forms that
hold the gate, and against PyTorch as it is.

A subject and a gate are a piece: measured in a process of its own, one line of JSON in the record.
What the record has is not measured again, so a run goes on where the last one ended.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import page
from catalogue import chosen
from pieces import FORMS, GATES, Piece, open_pieces, read, wanted, without
from subjects import SUBJECTS

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv-bench"
RECORD = ROOT / "docs" / "records" / "peers.jsonl"
MEASURE = Path(__file__).with_name("measure.py")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the arguments, checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subjects", default=",".join(SUBJECTS), help="with commas between")
    parser.add_argument("--gates", default=",".join(GATES), help=f"of {', '.join(GATES)}")
    parser.add_argument("--tools", default="", help="in forms, only these")
    parser.add_argument("--rounds", type=int, default=9, help="of turns, each form (default 9)")
    parser.add_argument("--quick", action="store_true", help="few strategies, samples, rounds")
    parser.add_argument("--again", action="store_true", help="also the pieces that are done")
    parser.add_argument("--list", action="store_true", help="say which pieces are open, and end")
    parser.add_argument("--record", type=Path, default=RECORD, help="a line for each piece")
    parser.add_argument("--page", type=Path, help="write the record's tables to it")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="with the peers")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "bench-models")
    parsed = parser.parse_args(arguments)
    for name, known in (("subjects", list(SUBJECTS)), ("gates", list(GATES))):
        given = [each for each in getattr(parsed, name).split(",") if each]
        if unknown := [each for each in given if each not in known]:
            parser.error(f"--{name}: no {unknown[0]!r}; there are {', '.join(known)}")
        setattr(parsed, name, given)
    parsed.tools = [tool for tool in parsed.tools.split(",") if tool]
    if parsed.rounds < 1:
        parser.error("--rounds must be 1 at least")
    if parsed.quick and parsed.record == RECORD:
        parser.error("--quick measures little: give it a record of its own by --record")
    parsed.rounds = min(parsed.rounds, 3) if parsed.quick else parsed.rounds
    try:
        chosen(parsed.tools, quick=parsed.quick)
    except ValueError as error:
        parser.error(str(error))
    return parsed


def command(piece: Piece, parsed: argparse.Namespace, work: Path, measure: Path) -> list[str]:
    """Return the command that measures a piece. Pure."""
    return [
        *(sys.executable, str(measure), piece.subject, piece.gate),
        *("--record", str(parsed.record), "--work", str(work), "--cache", str(parsed.cache)),
        *("--environment", str(parsed.environment), "--rounds", str(parsed.rounds)),
        *(["--quick"] if parsed.quick else []),
        *(["--tools", *parsed.tools] if parsed.tools else []),
    ]


def _failed(measuring: Sequence[str]) -> bool:
    return subprocess.run(measuring, check=False).returncode != 0


def main(arguments: Sequence[str], measure: Path = MEASURE) -> int:
    """Measure the open pieces, and write the page; 1 where a piece failed.

    Args:
        measure: The program that measures a piece.
    """
    parsed = parse(arguments)
    answered = [name for name, subject in SUBJECTS.items() if subject.answered]
    pieces = wanted(parsed.subjects, parsed.gates, answered)
    if parsed.list:
        print("\n".join(piece.name for piece in open_pieces(pieces, read(parsed.record))))
        return 0
    if parsed.again:
        without(parsed.record, pieces)
    waiting = open_pieces(pieces, read(parsed.record))
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mopt-bench-") as work:
        for number, piece in enumerate(waiting, start=1):
            print(f"{number} of {len(waiting)}: {piece.name}", file=sys.stderr, flush=True)
            # Without its subject's forms a gate has no rivals.
            forms = f"{piece.subject}/{FORMS}"
            ready = piece.gate == FORMS or forms not in failed
            if not ready or _failed(command(piece, parsed, Path(work), measure)):
                failed.append(piece.name)
    lines = read(parsed.record)
    if parsed.page and lines:
        page.write(page.page(lines, "make bench-optimizer"), parsed.page)
    if failed:
        print(f"failed, and open still: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
