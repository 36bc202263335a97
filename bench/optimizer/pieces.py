"""The pieces of the comparison, and which of them are done. Pure, but for reading and appending.

A piece is a subject and a gate, or a subject and `forms`: what every tool makes of it, which the
gates then choose their rivals from. Each piece's result is one line of JSON in the record, so that
a run goes on where an earlier one ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gates import RUNGS

FORMS = "forms"
TASK = "task"
"""The gate that the resource of a network with known answers has: its accuracy."""
GATES = (FORMS, *RUNGS, TASK)

Line = dict[str, Any]


@dataclass(frozen=True)
class Piece:
    """What is measured in one process.

    Attributes:
        gate: One of GATES.
    """

    subject: str
    gate: str

    @property
    def name(self) -> str:
        """Return its name in the record."""
        return f"{self.subject}/{self.gate}"


def wanted(subjects: Sequence[str], gates: Sequence[str], with_truth: Iterable[str]) -> list[Piece]:
    """Return the pieces of some subjects and gates, subject by subject.

    Args:
        with_truth: The subjects that have a gate TASK.
    """
    having = set(with_truth)
    return [
        Piece(subject, gate)
        for subject in subjects
        for gate in GATES
        if gate in gates and (gate != TASK or subject in having)
    ]


def open_pieces(pieces: Sequence[Piece], done: Mapping[str, Line]) -> list[Piece]:
    """Return the pieces that have no result yet, in an order in which they can be measured.

    The forms of a subject come before its gates, asked for or not.
    """
    found: dict[Piece, None] = {}
    for piece in pieces:
        if piece.name in done:
            continue
        forms = Piece(piece.subject, FORMS)
        if forms.name not in done:
            found[forms] = None
        found[piece] = None
    return list(found)


def read(path: Path) -> dict[str, Line]:
    """Return the record's lines by their pieces; of a piece measured again the last.

    Raises:
        ValueError: A line that is none; says which, and what to do.
    """
    lines: dict[str, Line] = {}
    if not path.is_file():
        return lines
    for number, text in enumerate(path.read_text().splitlines(), start=1):
        try:
            line: Line = json.loads(text)
            lines[line["piece"]] = line
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}:{number} is no piece's result ({error}): delete the line, and it is "
                "measured again"
            ) from error
    return lines


def append(path: Path, piece: Piece, result: Mapping[str, Any]) -> None:
    """Add a piece's result to the record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {"piece": piece.name, "subject": piece.subject, "gate": piece.gate, **result}
    # NaN is no JSON; a figure that is none must end the piece, not the record.
    text = json.dumps(line, allow_nan=False)
    with path.open("a") as file:
        file.write(f"{text}\n")


def without(path: Path, pieces: Iterable[Piece]) -> None:
    """Take pieces out of the record, so that they are open again."""
    if not path.is_file():
        return
    names = {piece.name for piece in pieces}
    kept = [line for name, line in read(path).items() if name not in names]
    text = "".join(f"{json.dumps(line)}\n" for line in kept)
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text)
    beside.replace(path)
