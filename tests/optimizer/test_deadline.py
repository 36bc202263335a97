"""A stage that takes too long ends itself, whatever it is doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from mopt_optimizer.deadline import TimeIsUp, ending_before

STUBBORN = {
    "what unwinds hangs": """
try:
    time.sleep(60)
finally:
    time.sleep(60)
""",
    "everything is swallowed": """
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
""",
    "a thread goes on": """
threading.Thread(target=time.sleep, args=(60,)).start()
time.sleep(60)
""",
}
PROGRAM = """
import os, sys, threading, time
from mopt_optimizer.deadline import TimeIsUp, ending_before

def last_words():
    os.write(1, b"last words")
    os._exit(75)

def work():
{body}

try:
    with ending_before(1.0, last_words):
        work()
except TimeIsUp:
    sys.exit(75)
"""


SLOW_END = """
class Slow:
    def __del__(self):
        time.sleep(0.5)

sys.modules["slow"] = Slow()  # Torn down when the interpreter handles signals no more.
time.sleep(60)
"""


def run_program(body: str) -> subprocess.CompletedProcess[str]:
    indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
    command = [sys.executable, "-c", PROGRAM.format(body=indented)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("body", STUBBORN.values(), ids=STUBBORN)
def test_what_does_not_unwind_is_ended(body: str) -> None:
    done = run_program(body)
    assert (done.returncode, done.stdout) == (75, "last words"), done.stderr


def test_interpreter_that_ends_slowly_keeps_its_exit_code() -> None:
    assert run_program(SLOW_END).returncode == 75


def test_work_is_unwound_and_errors_of_its_own_are_not_taken_for_it() -> None:
    steps = []

    def work() -> None:
        try:
            time.sleep(60)
        except Exception:  # noqa: BLE001 - what a stage does with a library's errors
            steps.append("swallowed")
        finally:
            steps.append("unwound")

    with pytest.raises(TimeIsUp), ending_before(1.0, pytest.fail):
        work()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert steps == ["unwound"]


@pytest.mark.parametrize("seconds", [None, 3600.0])
def test_nothing_stays_behind_where_it_ends_in_time(seconds: float | None) -> None:
    before = signal.getsignal(signal.SIGALRM)
    with ending_before(seconds, pytest.fail):
        pass
    with pytest.raises(ValueError, match="its own"), ending_before(seconds, pytest.fail):
        raise ValueError("its own")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before
