"""A pid file never makes us signal a process that is not ours."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.identity import (
    MARKER,
    Record,
    Stat,
    from_json,
    has_marker,
    is_same,
    parse_stat,
    to_json,
)
from devcluster.processes import Processes, boot_id, end, is_alive, read_stat

RECORD = Record("etcd", 42, 1000, "boot-a")


def test_stat_with_spaces_and_parentheses_in_the_command() -> None:
    fields = " ".join(str(n) for n in range(5, 22))
    assert parse_stat(f"42 (a) (b c) S 7 {fields} 1000 99") == Stat("S", 7, 1000)


@pytest.mark.parametrize(
    ("stat", "boot", "same"),
    [
        (Stat("S", 1, 1000), "boot-a", True),
        (Stat("S", 1, 1001), "boot-a", False),
        (Stat("S", 1, 1000), "boot-b", False),
        (Stat("Z", 1, 1000), "boot-a", False),
    ],
    ids=["same", "pid used again", "after a reboot", "zombie"],
)
def test_identity(stat: Stat, boot: str, same: bool) -> None:
    assert is_same(RECORD, stat, boot) is same


def test_pid_file_round_trip() -> None:
    assert from_json(to_json(RECORD)) == RECORD


@pytest.mark.parametrize("text", ["", "{", "[]", "12", '{"pid": 1}', '{"pid": "x"}'])
def test_torn_pid_file_means_nothing(text: str) -> None:
    assert from_json(text) is None


def test_marker_is_compared_whole() -> None:
    environ = f"A=1\0{MARKER}=/tmp/one\0B=2\0".encode()
    assert has_marker(environ, "/tmp/one")  # noqa: S108 - no file is touched
    assert not has_marker(environ, "/tmp/on")  # noqa: S108 - no file is touched


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_process_with_the_pid_of_a_stale_file_survives(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    processes = Processes(tmp_path)
    processes.records_dir.mkdir()
    stale = Record("etcd", sleeper.pid, 1, boot_id())
    (processes.records_dir / "etcd.json").write_text(to_json(stale))
    assert not processes.running("etcd")
    processes.stop("etcd", patience=0.0)
    assert sleeper.poll() is None
    assert not (processes.records_dir / "etcd.json").exists()


def test_started_process_is_found_and_ended(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    record = processes.start("sleep", ["sleep", "60"])
    assert processes.running("sleep")
    # Found by its marker alone, too: `up` may be killed before it wrote the pid file.
    (processes.records_dir / "sleep.json").unlink()
    deadline = time.monotonic() + 30
    while not (mine := processes.everyone()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [found.pid for found in mine] == [record.pid]
    end(mine, patience=5.0)
    assert not is_alive(record)


def test_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    record = processes.start("stubborn", ["sh", "-c", script])
    deadline = time.monotonic() + 30
    while processes.tail("stubborn") != "ready" and time.monotonic() < deadline:
        time.sleep(0.01)
    processes.stop("stubborn", patience=0.2)
    assert not is_alive(record)


def test_absent_pid_has_no_stat() -> None:
    assert read_stat(2**22 + 1) is None
