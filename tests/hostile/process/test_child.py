"""What a hostile child does to its parent: each ends in words that say what it was, in time."""

from __future__ import annotations

import os
import signal
import time
import unicodedata
from typing import Any

import attacker_parent
import pytest

from .child_cases import (
    MIB,
    MOST_BYTES,
    NONSENSE,
    PROGRAMS,
    TOO_LONG,
    Case,
    attacked,
    check,
    params,
)
from .ground import DISK_BYTES, Ground, ended, started
from .known import through

pytestmark = pytest.mark.hostile

BY_SYSTEM_CALL = r"was ended by SIG(SYS|SEGV)"
CASES = [
    Case("answers-never", "silent", TOO_LONG),
    Case("closes-everything", "closed", "closed its output without ending and was ended"),
    Case("ends-without-an-answer", "gone", "ended with exit status 0"),
    Case("ends-as-if-killed", "killed", "was ended by SIGKILL"),
    Case("calls-as-a-program-of-32-bits", "call-by-other-numbers", BY_SYSTEM_CALL),
    Case("calls-by-the-numbers-of-x32", "call-by-x32-numbers", BY_SYSTEM_CALL),
    Case("deep-line", "raw", NONSENSE, {"text": "[" * 200_000 + "\n"}),
    Case("no-json", "raw", NONSENSE, {"text": "\udcff\udcfe\n"}),
    Case("endless-lines-of-nothing", "raw", NONSENSE, {"text": "\n" * 65536, "endless": True}),
    Case(
        "error-of-an-unknown-reason",
        "error",
        NONSENSE,
        {"kind": "ModelError", "reason": "Nonsense", "message": "m"},
    ),
    Case(
        "orphan-holds-the-output",
        "hostage",
        TOO_LONG,
        {"output": True},
        PROGRAMS | {"tail": True},
    ),
    Case(
        "starts-many-processes",
        "processes",
        "started more than 256 processes and was ended",
        {"count": 300},
        PROGRAMS,
    ),
    Case(
        "starts-many-threads",
        "threads",
        "started more than",
        {"count": 3000},
        {"timeout": 4.0},
    ),
    Case("opens-all-files", "descriptors", ""),
    Case(
        "fills-the-disk",
        "disk",
        r"wrote more than \d+ bytes and was ended",
        {"how": "plain", "bytes": 3 * DISK_BYTES},
    ),
    Case(
        "fills-the-disk-by-a-removed-file",
        "disk",
        "wrote more than",
        {"how": "unlinked", "bytes": 3 * DISK_BYTES},
        {"timeout": 4.0},
    ),
    Case(
        "fills-the-disk-below-any-path",
        "disk",
        "wrote more than",
        {"how": "deep", "bytes": 3 * DISK_BYTES},
        {"timeout": 4.0},
    ),
    Case(
        "fills-the-disk-in-the-last-of-many-folders",
        "disk",
        "wrote more than|made more than",
        {"how": "broad", "bytes": 3 * DISK_BYTES},
        {"timeout": 6.0},
    ),
    Case(
        "fills-the-disk-in-a-folder-that-cannot-be-listed",
        "disk",
        "wrote more than|made a folder that cannot be listed",
        {"how": "unreadable", "bytes": 3 * DISK_BYTES},
        {"timeout": 4.0},
    ),
    Case(
        "fills-the-disk-by-a-mapped-file",
        "disk",
        "wrote more than",
        {"how": "mapped", "bytes": 3 * DISK_BYTES},
        {"timeout": 4.0},
    ),
    Case(
        "answers-before-it-is-asked",
        "deaf",
        TOO_LONG,
        {"answers": 8},
        {"requests": 8, "request_bytes": 100_000},
    ),
    Case(
        "orphan-holds-standard-error",
        "hostage",
        "ended with exit status 1",
        {"output": False},
        PROGRAMS | {"tail": True},
    ),
    Case(
        "tells-of-no-progress",
        "dripping-log",
        "took more than",
        {"every": 0.3},
        {"patience": 3.0, "timeout": None},
    ),
]


@pytest.mark.parametrize("case", params(CASES))
def test_parent_ends_it_and_says_why(ground: Ground, case: Case) -> None:
    check(ground, case)


def _controls(text: str) -> set[str]:
    """Return what a terminal or a reader would obey in a text."""
    found = {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    return found - {"\n"}


HOSTILE_TEXT = "\x1b[2J\x1b]0;title\x07\r\u202e\u2028\x9b31m\x00\tend"


def test_standard_error_is_text(ground: Ground) -> None:
    options = {"text": HOSTILE_TEXT.encode().decode("latin-1") + "\n"}
    done = attacked(ground, Case("", "standard-error", "", options))
    assert done.told.answers == 1
    assert "end" in done.err
    assert _controls(done.err) == set()


def test_progress_is_text(ground: Ground) -> None:
    options = {"step": "a\x1b", "message": HOSTILE_TEXT, "fields": {"k\x1b": HOSTILE_TEXT}}
    done = attacked(ground, Case("", "log", "", options))
    told = done.told.last_log
    assert "end" in told["message"]
    assert _controls("".join([told["step"], told["message"], told["fields"]])) == set()


def test_errors_are_text(ground: Ground) -> None:
    options = {"kind": "ModelError", "reason": "InvalidModel", "message": HOSTILE_TEXT}
    told = attacked(ground, Case("", "error", "", options)).told
    assert told.kind == "ModelError"
    assert _controls(told.message) == set()


def test_an_error_of_a_megabyte_is_cut(ground: Ground) -> None:
    options = {"kind": "ModelError", "reason": "InvalidModel", "message": "m" * MIB}
    told = attacked(ground, Case("", "error", "", options)).told
    assert (told.kind, len(told.message)) == ("ModelError", 1024)


def test_endless_standard_error_is_cut(ground: Ground) -> None:
    done = attacked(ground, Case("", "standard-error", "", {"text": "x", "bytes": 64 * MIB}))
    assert done.told.answers == 1
    assert len(done.err) < 18 * MIB
    assert done.told.peak_bytes < MOST_BYTES


def test_a_line_of_progress_is_bounded(ground: Ground) -> None:
    options = {"step": "s", "message": "m", "fields": {"k": 1}, "times": 4 * MIB}
    told = attacked(ground, Case("", "log", "", options)).told
    assert told.longest_line < 100_000


def test_a_file_has_no_size_beyond_the_disk(ground: Ground) -> None:
    done = attacked(ground, Case("", "large-file", "", {"bytes": 2**43}))
    assert done.told.kind == "" or "wrote more than" in done.told.message
    assert "made" not in done.err.split()


def _pid_of(ground: Ground) -> int:
    for _ in range(200):
        if (ground.work / "pid").exists():
            return int((ground.work / "pid").read_text())
        time.sleep(0.05)
    raise AssertionError("no process told its number")


def test_an_orphan_ends_with_the_child(ground: Ground) -> None:
    done = attacked(ground, Case("", "survivor", "", parent=PROGRAMS))
    assert done.told.answers == 1
    assert ended(_pid_of(ground))


@pytest.mark.parametrize(
    ("behaviour", "parent"),
    [
        pytest.param("lasting", {}, id="child"),
        pytest.param(
            "survivor",
            PROGRAMS,
            id="orphan",
            marks=through(
                "the kernel's death signal is not inherited: a keeper between parent and child "
                "that ends the group, or a namespace of processes"
            ),
        ),
    ],
)
def test_nobody_outlives_a_parent_that_is_killed(
    ground: Ground, behaviour: str, parent: dict[str, Any]
) -> None:
    plan = ground.plan(attacker_parent.WORKER, behaviour=behaviour, options={"waits": True})
    arguments = ground.parent(timeout=60.0, **parent)
    process = started(*arguments, environ=ground.environ(plan), cwd=ground.root)
    try:
        pid = _pid_of(ground)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert ended(pid)
