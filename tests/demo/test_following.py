"""How the demo tells that there is progress, and when it has ended."""

from __future__ import annotations

from typing import Any

import pytest

from demo.following import Patience, headline, in_words


def test_patience_begins_anew_with_each_change() -> None:
    patience = Patience(10)
    seen = [(0, "a"), (10, "a"), (10.5, "b"), (20, "b"), (20.5, "b"), (20.6, "c")]
    assert not any(patience.is_out(what, now) for now, what in seen)
    assert patience.is_out("c", 31)


def test_a_slow_machine_is_waited_for() -> None:
    patience = Patience(10)
    assert not any(patience.is_out(number // 9, number) for number in range(10_000))


def resource(generation: int = 1, **conditions: tuple[str, str]) -> dict[str, Any]:
    """Return a resource with conditions: status and reason by type."""
    return {
        "metadata": {"generation": 1},
        "status": {
            "observedGeneration": generation,
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "message": "said."}
                for kind, (status, reason) in conditions.items()
            ],
        },
    }


OPTIMIZED = ("True", "Optimized")


@pytest.mark.parametrize(
    ("seen", "line", "final"),
    [
        ({"metadata": {"generation": 1}}, "waiting for the operator", False),
        (resource(0, Ready=OPTIMIZED), "waiting for the operator", False),
        (resource(Ready=("Unknown", "Measuring")), "Measuring: said.", False),
        (resource(Ready=OPTIMIZED), "Optimized: said.", True),
        (
            resource(Ready=OPTIMIZED, Published=("False", "RegistryUnreachable")),
            "RegistryUnreachable: said.",
            False,
        ),
        (resource(Ready=OPTIMIZED, Published=("True", "Published")), "Optimized: said.", True),
        (
            resource(Ready=OPTIMIZED, Published=("False", "InvalidSpec")),
            "InvalidSpec: said.",
            True,
        ),
        (
            resource(Ready=("False", "InvalidSpec"), Stalled=("True", "InvalidSpec")),
            "InvalidSpec: said.",
            True,
        ),
    ],
)
def test_headline(seen: dict[str, Any], line: str, final: bool) -> None:
    assert headline(seen) == (line, final)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"step": "quantize", "message": "int8", "seconds": 3}\n', "quantize: int8"),
        ("a library's own line\n", "a library's own line"),
        ("", ""),
        ("x" * 500, "x" * 160),
    ],
)
def test_lines_of_a_job_are_told_in_words(line: str, words: str) -> None:
    assert in_words(line) == words
