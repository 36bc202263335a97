"""How long threads waited for a CPU, from the kernel's counts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_optimizer.machine.run_queues import RunQueues, Turns, parent_of, parse_schedstat

PARENT = 7
SECOND = 1_000_000_000


class Proc:
    """A /proc with processes, each with threads that ran and waited for so many seconds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("self/schedstat", "81000 5 3\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def process(self, pid: int, *threads: tuple[float, float], parent: int = PARENT) -> None:
        self.write(f"{pid}/stat", f"{pid} (a (b) 9 c) S {parent} 1 1 0\n")
        for number, (ran, waited) in enumerate(threads):
            text = f"{int(ran * SECOND)} {int(waited * SECOND)} 12\n"
            self.write(f"{pid}/task/{pid + number}/schedstat", text)

    def end(self, pid: int) -> None:
        shutil.rmtree(self.root / str(pid))


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def test_all_threads_of_all_children_count_and_nobody_elses(proc: Proc) -> None:
    proc.process(PARENT, (50, 50), parent=1)
    proc.process(10, (1, 0.5), (2, 0.25))
    proc.process(20, (4, 0))
    proc.process(30, (100, 100), parent=20)
    assert RunQueues(proc.root).read(PARENT) == Turns(7.0, 0.75, 36)


def test_without_children_nothing_was_waited_for(proc: Proc) -> None:
    assert RunQueues(proc.root).read(PARENT) == Turns(0.0, 0.0, 0)


def test_what_ended_stays_in_the_totals(proc: Proc) -> None:
    queues = RunQueues(proc.root)
    proc.process(10, (1, 0.5))
    queues.read(PARENT)
    proc.process(10, (3, 0.75), (1, 1))
    assert queues.read(PARENT) == Turns(4.0, 1.75, 24)
    proc.end(10)
    assert queues.read(PARENT) == Turns(4.0, 1.75, 24)
    # Another process with the number of the one that has ended.
    proc.process(10, (0.5, 0.25))
    assert queues.read(PARENT) == Turns(4.5, 2.0, 36)


@pytest.mark.parametrize("text", [None, "", "0 0 0\n", "1 2\n", "a b c\n"])
def test_a_kernel_that_does_not_count_tells_nothing(proc: Proc, text: str | None) -> None:
    proc.process(10, (1, 1))
    if text is None:
        (proc.root / "self/schedstat").unlink()
    else:
        proc.write("self/schedstat", text)
    assert RunQueues(proc.root).read(PARENT) is None


def test_a_process_that_has_just_ended_is_passed_over(proc: Proc) -> None:
    proc.process(10, (1, 0.5))
    (proc.root / "20").mkdir()
    (proc.root / "30").mkdir()
    proc.write("30/stat", "")
    (proc.root / "10/task/11").mkdir()
    assert RunQueues(proc.root).read(PARENT) == Turns(1.0, 0.5, 12)


def test_figures_and_parents_are_told_from_their_files() -> None:
    assert parse_schedstat("40130 1021809 2\n") == (40130, 1021809, 2)
    assert parse_schedstat("0 0 0\n") is None
    assert parent_of("12 (mopt) 3 (x) S 4 12 12 0 -1") == 4
    assert parent_of("12 (mopt") is None


COUNTS = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), max_size=3)


@given(st.lists(st.dictionaries(st.sampled_from([10, 20]), COUNTS), max_size=5))
def test_totals_never_go_back(
    tmp_path_factory: pytest.TempPathFactory, looks: list[dict[int, list[tuple[int, int]]]]
) -> None:
    proc = Proc(tmp_path_factory.mktemp("proc"))
    queues = RunQueues(proc.root)
    before = Turns(0, 0, 0)
    for processes in looks:
        for pid in (10, 20):
            shutil.rmtree(proc.root / str(pid), ignore_errors=True)
        for pid, threads in processes.items():
            proc.process(pid, *threads)
        now = queues.read(PARENT)
        assert now is not None
        assert now.ran >= before.ran
        assert now.waited >= before.waited
        assert now.number >= before.number
        before = now


def test_this_kernel_counts_what_a_child_computes() -> None:
    queues = RunQueues(Path("/proc"))
    if queues.read(os.getpid()) is None:
        pytest.skip("this kernel has no schedstat")
    code = "x = sum(i * i for i in range(1_000_000)); print(x, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        turns = queues.read(os.getpid())
        child.communicate("\n")
    assert turns is not None
    assert turns.ran > 0
    assert turns.number > 0
