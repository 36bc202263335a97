"""As test_child: what takes long, or much of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import attacker_parent
import pytest

from mopt_optimizer.sandbox import Child

from .child_cases import MOST_BYTES, NONSENSE, TOO_LONG, Case, attacked, check, params
from .ground import Ground

pytestmark = pytest.mark.hostile

CASES = [
    Case("line-of-nothing", "raw", NONSENSE, {"text": "\n"}),
    Case("stops-itself", "stopped", TOO_LONG),
    Case("computes-for-ever", "busy", TOO_LONG),
    Case("two-answers-in-one", "raw", NONSENSE, {"text": '{"answer": {}}{"answer": {}}\n'}),
    Case("endless-line", "raw", NONSENSE, {"text": "x" * 65536, "endless": True}),
    Case("endless-progress", "endless-log", NONSENSE, seconds=80.0),
    Case(
        "makes-many-files",
        "files",
        "made more than 100000 files and was ended",
        {"count": 110_000},
        seconds=80.0,
    ),
]


@pytest.mark.parametrize("case", params(CASES))
def test_parent_ends_it_and_says_why(ground: Ground, case: Case) -> None:
    check(ground, case)


def test_an_answer_does_not_fill_the_parents_memory(ground: Ground) -> None:
    text = '{"answer": {"a": [' + "{}," * 5_500_000 + "{}]}}\n"
    told = attacked(ground, Case("", "raw", "", {"text": text}, seconds=80.0)).told
    assert told.peak_bytes < MOST_BYTES


def test_output_that_is_taken_back_blocks_nobody(ground: Ground) -> None:
    done = attacked(ground, Case("", "thief", "", parent={"timeout": 10.0}))
    assert not done.hung
    assert done.told.message == TOO_LONG


def test_a_child_may_read_as_many_files_as_data_may_have(ground: Ground) -> None:
    """data.calibration.samples is 4096 at most; prepare names each file."""
    files = [ground.given / f"a-sample-of-a-folder-{number:04}.png" for number in range(4096)]
    for file in files:
        file.touch()
    with Child(attacker_parent.WORKER, ground.work, read=files, environ=ground.environ()) as child:
        assert child.ask({"n": 1}, 60) == {"asked": {"n": 1}}


_GROUPS = Path("/sys/fs/cgroup")
_MOST_MEMORY = 400 * 2**20


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A control group of little memory, as a container's is."""
    old = (_GROUPS / "memory").is_dir()
    group = (_GROUPS / "memory" if old else _GROUPS) / f"attacker-{os.getpid()}"
    limit = group / ("memory.limit_in_bytes" if old else "memory.max")
    try:
        group.mkdir()
        limit.write_text(str(_MOST_MEMORY))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield group
    group.rmdir()


def test_memory_without_end_ends_the_child_alone(ground: Ground, memory_group: Path) -> None:
    """The kernel ends the largest of the group; the parent tells what that means."""
    plan = ground.plan(attacker_parent.WORKER, behaviour="memory")
    enter = ("-m", "attacker_launch", "--group", str(memory_group / "cgroup.procs"))
    arguments = (*enter, *ground.parent(timeout=60.0))
    done = ground.run(*arguments, environ=ground.environ(plan))
    assert done.told.message == "was ended by SIGKILL"
    assert ground.left() == []
