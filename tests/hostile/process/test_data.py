"""A measure Job whose decoder lies: a hostile image may have taken it over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mopt_api.reasons import Reason

from .ground import DISK_BYTES, Ground
from .known import through
from .stages import DATA, Work

pytestmark = pytest.mark.hostile

NPY = "\x93NUMPY\x01\x00v\x00"


def array(name: str, shape: tuple[int, ...], kind: str = "<f4") -> list[Any]:
    """Return what makes an array of zeros, without data on the disk."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    size = int(kind[-1])
    for side in shape:
        size *= side
    return ["sparse", name, len(NPY) + len(header) + size, NPY + header]


@dataclass(frozen=True)
class Lie:
    """What the process answers to a request, and makes in its folder.

    Attributes:
        reasons: Why the Job may fail.
        why: Why it is not held yet.
    """

    name: str
    op: str
    answer: dict[str, Any]
    make: list[list[Any]] = field(default_factory=list)
    reasons: tuple[Reason, ...] = (Reason.INVALID_DATA, Reason.INVALID_MODEL)
    why: str = ""


_ONE = [array("0.npy", (2, 16))]
LIES = [
    Lie("no-answer", "read", {}),
    Lie("nothing", "read", {"names": [], "files": []}),
    Lie("another-input", "read", {"names": ["other"], "files": ["0.npy"]}, _ONE),
    Lie("more-names", "read", {"names": ["features", "x"], "files": ["0.npy"]}, _ONE),
    Lie("another-shape", "read", {"names": ["features"], "files": ["0.npy"]},
        [array("0.npy", (3, 7, 5))]),
    Lie("another-type", "read", {"names": ["features"], "files": ["0.npy"]},
        [array("0.npy", (2, 16), "<i8")]),
    Lie("too-large", "read", {"names": ["features"], "files": ["0.npy"]},
        [array("0.npy", (DISK_BYTES, 16))]),
    Lie("absolute", "read", {"names": ["features"], "files": ["{outside}/secrets/token"]}),
    Lie("two-slashes", "read", {"names": ["features"], "files": ["/{outside}/secrets/token"]}),
    Lie("nul", "read", {"names": ["features"], "files": ["0.npy\0"]}),
    Lie("no-array", "read", {"names": ["features"], "files": ["0.npy"]},
        [["file", "0.npy", "no array"]]),
]  # fmt: skip


@pytest.fixture(scope="module")
def prepared(grounds: Callable[[str], Ground]) -> tuple[Work, str]:
    """A store with what an honest prepare Job made, and its manifest's digest."""
    work = Work(grounds("prepared"))
    return work, work.prepared()


@pytest.mark.parametrize(
    "lie",
    [pytest.param(lie, id=lie.name, marks=[through(lie.why)] if lie.why else []) for lie in LIES],
)
def test_a_lie_is_found(ground: Ground, prepared: tuple[Work, str], lie: Lie) -> None:
    work = Work(ground)
    work.take_store(prepared[0])
    told = {
        name: [text.replace("{outside}", str(ground.outside)) for text in texts]
        for name, texts in lie.answer.items()
    }
    options = {"ops": [lie.op], "make": lie.make, "answer": told}
    ended = work.measure(ground.plan(DATA, behaviour="answer", options=options), prepared[1])
    work.check_ended(ended)
    assert ended.reason in lie.reasons, ended.summary


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("gone", "ended with exit status 0"),
        ("killed", "was ended by SIGKILL"),
        ("closed", "closed its output without ending"),
    ],
)
def test_an_end_has_a_name(
    ground: Ground, prepared: tuple[Work, str], behaviour: str, words: str
) -> None:
    work = Work(ground)
    work.take_store(prepared[0])
    ended = work.measure(ground.plan(DATA, behaviour=behaviour), prepared[1])
    work.check_ended(ended)
    assert ended.reason is Reason.INVALID_DATA
    assert words in ended.done.err
