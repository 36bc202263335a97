"""Ends of the process by cause, over the processes of one container."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from mopt_operator.cluster.election import LeaseLost
from mopt_operator.errors import Unreachable
from mopt_operator.loop.restarts import FAULT, KILLED, STOPPED, Restarts, cause_of
from mopt_operator.loop.watchdog import WatchDeaf


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restarts.json"


def begun(path: Path | None) -> Restarts:
    restarts = Restarts(path)
    restarts.begin()
    return restarts


def counted(restarts: Restarts) -> dict[str, float]:
    """Return the causes that have been seen, as Prometheus would."""
    registry = CollectorRegistry()
    registry.register(restarts)
    samples = [sample for family in registry.collect() for sample in family.samples]
    assert {sample.name for sample in samples} <= {"mopt_restarts_total"}
    return {s.labels["cause"]: s.value for s in samples if s.value}


def test_each_process_goes_on_counting(path: Path) -> None:
    for error in (WatchDeaf("jobs"), LeaseLost("gone"), WatchDeaf("pods")):
        begun(path).ended(cause_of(error))
    last = begun(path)
    assert counted(last) == {"WatchDeaf": 2, "LeaseLost": 1}
    last.ended(STOPPED)
    last.ended(FAULT)  # The first cause counts.
    assert counted(begun(path)) == {"WatchDeaf": 2, "LeaseLost": 1, STOPPED: 1}


def test_who_could_not_say_why_was_killed(path: Path) -> None:
    begun(path)
    assert counted(begun(path)) == {KILLED: 1}
    assert counted(begun(path)) == {KILLED: 2}


@pytest.mark.parametrize(
    ("error", "cause"),
    [(Unreachable("a"), "Unreachable"), (ValueError("a"), FAULT), (KeyboardInterrupt(), FAULT)],
)
def test_cause_is_the_error_s_name_or_a_bug(error: BaseException, cause: str) -> None:
    assert cause_of(error) == cause


def test_usual_causes_are_there_before_they_happen(path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(begun(path))
    text = "".join(f"{s.name}{s.labels}" for f in registry.collect() for s in f.samples)
    for cause in (STOPPED, KILLED, FAULT, "LeaseLost", "Restored", "WatchDeaf", "WatchEnded"):
        assert cause in text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ends": 1, "running": true}', "\xff"])
def test_damaged_file_keeps_nobody_from_starting(path: Path, text: str) -> None:
    path.write_text(text)
    begun(path).ended(STOPPED)
    assert counted(begun(path)) == {STOPPED: 1}


def test_without_a_file_or_a_place_for_it_nothing_is_counted(tmp_path: Path) -> None:
    assert counted(begun(None)) == {}
    missing = begun(tmp_path / "missing" / "restarts.json")
    missing.ended(STOPPED)
    assert counted(missing) == {STOPPED: 1}


def test_process_that_ends_at_once_notes_why_first(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from mopt_operator.cluster.election import LeaseLost;"
        "from mopt_operator.loop.restarts import Restarts;"
        "restarts = Restarts(Path(sys.argv[1])); restarts.begin();"
        "restarts.end_process(LeaseLost('not renewed'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (1, "mopt-operator: not renewed\n")
    assert counted(begun(path)) == {"LeaseLost": 1}
