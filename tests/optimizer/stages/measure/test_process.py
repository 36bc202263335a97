"""A variant's process that crashes, hangs or is killed becomes a named failure."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mopt_api.enums import ExecutionProvider, Precision, Runtime
from mopt_api.figures import VariantReason
from mopt_optimizer.errors import (
    MAX_VARIANT_MESSAGE,
    DiskError,
    ModelError,
    OptimizerError,
    OutOfMemory,
    RuntimeFailure,
    VariantFailure,
)
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.registry import builds
from mopt_optimizer.stages.measure.process import Timeouts, VariantProcess, exit_failure

ANSWER = """
import json, os, sys, time
def answer(value=None):
    sys.stdin.readline()
    print(json.dumps({"answer": value or {}}), flush=True)
"""
QUICK = Timeouts(open=10, call=10)


def started(
    tmp_path: Path,
    program: str,
    *,
    timeouts: Timeouts = QUICK,
    environ: dict[str, str] | None = None,
    memory_share: Callable[[], float | None] = lambda: None,
) -> VariantProcess:
    opening = Opening(
        runtime=Runtime.ONNX_RUNTIME,
        precision=Precision.FP32,
        path=tmp_path / "m.onnx",
        threads=3,
    )
    return VariantProcess(
        "v",
        opening,
        workdir=tmp_path,
        environ=dict(os.environ) if environ is None else environ,
        timeouts=timeouts,
        memory_share=memory_share,
        argv=(sys.executable, "-c", ANSWER + program),
    )


def failure_of(tmp_path: Path, program: str, timeouts: Timeouts = QUICK) -> VariantFailure:
    with pytest.raises(VariantFailure) as caught:
        started(tmp_path, program, timeouts=timeouts)
    return caught.value


def test_a_segmentation_fault_is_a_crash(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, "import ctypes; ctypes.string_at(0)")
    assert failure.reason is VariantReason.CRASHED
    assert "SIGSEGV" in str(failure)


def test_an_abort_reports_the_last_words(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, "print('bad alloc', file=sys.stderr, flush=True); os.abort()")
    assert failure.reason is VariantReason.CRASHED
    assert str(failure) == "ended by SIGABRT: bad alloc"


def test_a_kill_from_outside_is_taken_for_the_kernels(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, "os.kill(os.getpid(), 9)")
    assert failure.reason is VariantReason.OUT_OF_MEMORY


def test_an_exception_is_a_crash_with_its_message(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, "raise KeyError('weights')")
    assert failure.reason is VariantReason.CRASHED
    assert str(failure) == "exited with status 1: KeyError: 'weights'"


def test_a_hang_is_ended_in_time(tmp_path: Path) -> None:
    started_at = time.monotonic()
    failure = failure_of(tmp_path, "time.sleep(60)", Timeouts(open=0.3, call=1))
    assert failure.reason is VariantReason.TIMED_OUT
    assert "0.3 s" in str(failure)
    assert time.monotonic() - started_at < 30  # Of 60 that it would take.


def test_a_variant_that_fills_the_container_is_ended_first(tmp_path: Path) -> None:
    shares = iter([0.5, 0.7, 0.93])
    with pytest.raises(VariantFailure, match="93%") as caught:
        started(tmp_path, "time.sleep(60)", memory_share=lambda: next(shares))
    assert caught.value.reason is VariantReason.OUT_OF_MEMORY


def test_a_watched_variant_below_the_limit_answers(tmp_path: Path) -> None:
    program = "answer(); time.sleep(0.2); answer({'peakBytes': 5}); time.sleep(60)"
    with started(tmp_path, program, memory_share=lambda: 0.9) as process:
        assert process.peak_memory_bytes() == 5


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeFailure, VariantReason.BUILD_FAILED),
        (ModelError, VariantReason.BUILD_FAILED),
        (OutOfMemory, VariantReason.OUT_OF_MEMORY),
        (OptimizerError, VariantReason.CRASHED),
    ],
)
def test_a_refusal_keeps_its_reason(
    tmp_path: Path, error: type[OptimizerError], reason: VariantReason
) -> None:
    report = {"reason": error.reason.value, "message": "no such operator: Foo"}
    reply = json.dumps({"error": {"kind": error.__name__, "report": report}})
    failure = failure_of(tmp_path, f"print({reply!r}, flush=True); time.sleep(60)")
    assert (failure.reason, str(failure)) == (reason, "no such operator: Foo")


def test_a_full_disk_is_no_fault_of_the_variant(tmp_path: Path) -> None:
    report = {"reason": "OutOfDisk", "message": "no space for x.npy"}
    reply = json.dumps({"error": {"kind": "DiskError", "report": report}})
    with pytest.raises(DiskError, match=r"x\.npy"):
        started(tmp_path, f"print({reply!r}, flush=True); time.sleep(60)")


def test_a_crash_in_a_later_call_is_reported_there(tmp_path: Path) -> None:
    with started(tmp_path, "answer(); sys.stdin.readline(); os.abort()") as process:
        with pytest.raises(VariantFailure, match="SIGABRT"):
            process.bind("p", {})
        with pytest.raises(VariantFailure, match="SIGABRT"):
            process.bind("p", {})


def test_answers_come_back(tmp_path: Path) -> None:
    times = [60_000_000, 50_000_000]
    program = (
        f"answer(); time.sleep(0.3); answer({{'timesNs': {times}}}); answer({{'peakBytes': 5}})"
    )
    with started(tmp_path, program) as process:
        assert process.take_turn("p", seconds=0.1, calls=2) == times
        assert process.peak_memory_bytes() == 5


def test_a_long_answer_arrives_whole(tmp_path: Path) -> None:
    times = "[3000] * 100_000"
    program = f"answer(); time.sleep(0.6); answer({{'timesNs': {times}}}); time.sleep(60)"
    with started(tmp_path, program) as process:
        assert process.take_turn("p", seconds=0.1, calls=2) == [3000] * 100_000


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([150_000_000], "are 1, at least 2 were asked for"),
        ([1, 2, 3], "are 6 ns together, 0.1 s were asked for"),
        ([10**18, 10**18], "ns passed"),
        ([0, 150_000_000], "no answer"),
        ([-5, 150_000_000], "no answer"),
    ],
)
def test_times_that_cannot_be_are_a_crash(tmp_path: Path, times: list[int], words: str) -> None:
    program = f"answer(); time.sleep(0.3); answer({{'timesNs': {times}}}); time.sleep(60)"
    with (
        started(tmp_path, program) as process,
        pytest.raises(VariantFailure, match=words),
    ):
        process.take_turn("p", seconds=0.1, calls=2)


def test_the_process_gets_no_credentials_and_the_given_threads(tmp_path: Path) -> None:
    environ = dict(os.environ) | {
        "AWS_SECRET_ACCESS_KEY": "s",
        "MOPT_OUTPUT_AWS_SECRET_ACCESS_KEY": "s",
        "MOPT_MODEL_CA_CRT": "s",
        "MOPT_PLAN": "{}",
        "KMP_KEPT": "1",
        "UNKNOWN": "1",
    }
    program = "json.dump(dict(os.environ), open('environ.json', 'w')); answer(); time.sleep(60)"
    with started(tmp_path, program, environ=environ):
        (file,) = tmp_path.glob("v-*/environ.json")
        found = json.loads(file.read_text())
    assert (found["KMP_KEPT"], found["OMP_NUM_THREADS"]) == ("1", "3")
    assert not found.keys() & (environ.keys() - os.environ.keys() - {"KMP_KEPT"})


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these variables")
def test_freed_memory_stays_with_the_process(tmp_path: Path) -> None:
    program = (
        "import resource\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def call():\n"
        "    before = faults()\n"
        "    [b'x' * 2**23 for _ in range(2)]\n"
        "    return faults() - before\n"
        "call()\n"
        "answer()\n"
        "answer({'peakBytes': call()})\n"
        "time.sleep(60)"
    )
    with started(tmp_path, program) as process:
        faults = process.peak_memory_bytes()
    # In pages of 4 KiB it would be 4096, in huge ones 8.
    assert faults is not None
    assert faults < 4


def test_nothing_is_left_running(tmp_path: Path) -> None:
    program = (
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '60'], stdin=subprocess.DEVNULL)\n"
        "answer(); answer({'peakBytes': os.getpid()}); answer({'peakBytes': child.pid})\n"
        "time.sleep(60)"
    )
    with started(tmp_path, program) as process:
        pids = [process.peak_memory_bytes() or 0 for _ in range(2)]
    deadline = time.monotonic() + 30
    while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_messages_are_bounded() -> None:
    failure = exit_failure(1, "x" * 10_000)
    assert len(str(failure)) == MAX_VARIANT_MESSAGE


def test_an_end_without_words_still_says_how() -> None:
    assert str(exit_failure(-signal.SIGILL, "\n\n")) == "ended by SIGILL"


def test_what_is_opened_on_a_gpu_is_told_so_and_tells_its_engine(tmp_path: Path) -> None:
    program = """
request = json.loads(sys.stdin.readline())
told = {name: request["opening"][name] for name in ("gpu", "provider", "shapes")}
json.dump(told, open("model.engine", "w"))
open("model.engine.json", "w").close()
print(json.dumps({"answer": {"engine": "model.engine"}}), flush=True)
sys.stdin.readline()
"""
    opening = Opening(
        runtime=Runtime.ONNX_RUNTIME,
        precision=Precision.FP16,
        path=tmp_path / "m.onnx",
        threads=1,
        gpu=True,
        provider=ExecutionProvider.TENSORRT,
        shapes={"x": ((1, 2), (1, 2), (4, 2))},
    )
    assert builds(opening)
    argv = (sys.executable, "-c", ANSWER + program)
    with VariantProcess(
        "v", opening, workdir=tmp_path, environ=dict(os.environ), timeouts=QUICK, argv=argv
    ) as process:
        assert process.engine is not None
        assert json.loads(process.engine.read_text()) == {
            "gpu": True,
            "provider": "TensorRT",
            "shapes": {"x": [[1, 2], [1, 2], [4, 2]]},
        }


def test_only_tensorrt_builds_and_gets_the_time_for_it(tmp_path: Path) -> None:
    def opening(runtime: Runtime, provider: ExecutionProvider | None = None) -> Opening:
        return Opening(
            runtime=runtime,
            precision=Precision.FP32,
            path=tmp_path / "m",
            threads=1,
            provider=provider,
        )

    assert builds(opening(Runtime.TENSORRT))
    assert not builds(opening(Runtime.ONNX_RUNTIME, ExecutionProvider.CUDA))
    assert not builds(opening(Runtime.PYTORCH))
    hangs = Timeouts(open=0.2, build=30, call=0.2)
    slow = "time.sleep(1); answer(); sys.stdin.readline()"
    argv = (sys.executable, "-c", ANSWER + slow)
    with VariantProcess(
        "v",
        opening(Runtime.TENSORRT),
        workdir=tmp_path,
        environ=dict(os.environ),
        timeouts=hangs,
        argv=argv,
    ):
        pass
    assert failure_of(tmp_path, slow, hangs).reason is VariantReason.TIMED_OUT


@pytest.mark.parametrize("line", ["no json", "[]", '{"answer": 3}', '{"error": {}}'])
def test_nonsense_is_no_answer(tmp_path: Path, line: str) -> None:
    failure = failure_of(tmp_path, f"print({line!r}, flush=True); time.sleep(60)")
    assert (failure.reason, str(failure)) == (VariantReason.CRASHED, "answered what is no answer")
