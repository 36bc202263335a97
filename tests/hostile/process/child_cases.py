"""A behaviour of a hostile child, and how its parent is to end it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import attacker_parent
import pytest

from .ground import SECRET, Done, Ground
from .known import through

MIB = 2**20
NONSENSE = "answered what is no answer and was ended"
TOO_LONG = "took too long and was ended"
PROGRAMS = {"programs": True}
# Of a parent, over what it takes for itself: 40 MiB.
MOST_BYTES = 256 * MIB


@dataclass(frozen=True)
class Case:
    """A behaviour, and the words in which it ends.

    Attributes:
        ends: Of ChildDied, as a pattern; empty where the answer comes in the end.
        options: Of the behaviour.
        parent: Of the parent; see attacker_parent.Options.
        why: Why it is not so yet.
        seconds: After so many the parent counts as hung.
    """

    name: str
    behaviour: str
    ends: str
    options: dict[str, Any] = field(default_factory=dict)
    parent: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    seconds: float = 25.0


def attacked(ground: Ground, case: Case) -> Done:
    """Return how the parent of a child ended that behaves so."""
    plan = ground.plan(attacker_parent.WORKER, behaviour=case.behaviour, options=case.options)
    timeout = 2.0 if case.ends == TOO_LONG else case.seconds - 5
    return ground.attack(plan, seconds=case.seconds, **{"timeout": timeout, **case.parent})


def params(cases: list[Case]) -> list[Any]:
    """Return parameters of a test, by their names."""
    return [
        pytest.param(case, id=case.name, marks=[through(case.why)] if case.why else [])
        for case in cases
    ]


def check(ground: Ground, case: Case) -> None:
    """Hold that the parent ends it, says why, and is unharmed."""
    done = attacked(ground, case)
    assert not done.hung, f"still there after {done.seconds:.0f} s"
    told = done.told
    if case.ends:
        assert told.kind == "ChildDied"
        assert re.search(case.ends, told.message), told.message
    else:
        assert (told.kind, told.answers) == ("", 1)
    assert told.peak_bytes < MOST_BYTES
    assert ground.left() == []
    assert ground.changed() == []
    assert SECRET not in done.out + done.err
