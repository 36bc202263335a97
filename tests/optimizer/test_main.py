"""The Job's entry point, run as the Job runs it: as a process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mopt_api.jobs.plan import PLAN_VARIABLE, Stage
from mopt_api.jobs.termination import ErrorSummary, PrepareSummary, decode
from mopt_api.reasons import PERMANENT_EXIT_CODES, REASONS, Reason
from mopt_optimizer.machine.versions import product_version
from mopt_optimizer.main import exit_code

Start = Callable[..., "subprocess.Popen[str]"]
AtWork = Callable[..., "tuple[subprocess.Popen[str], int]"]
Fail = Callable[..., tuple[ErrorSummary, int, str]]

PLAN: dict[str, Any] = {
    "stage": "Prepare",
    "model": {"uri": "file:///nowhere/model.pt2", "sha256": "0" * 64, "format": "ExportedProgram"},
    "inputs": [{"name": "image", "shape": ["batch", 3, "height", "width"]}],
    "dimensions": {
        "batch": {"min": 1, "opt": 1, "max": 4},
        "height": {"min": 16, "opt": 32, "max": 64},
        "width": {"min": 16, "opt": 32, "max": 64},
    },
    "variants": [{"name": "ort", "runtime": "ONNXRuntime", "precision": "FP32"}],
    "outputUri": "file:///nowhere/out",
}


@pytest.fixture
def message(tmp_path: Path) -> Path:
    return tmp_path / "termination-log"


@pytest.fixture
def start(tmp_path: Path, message: Path) -> Start:
    (tmp_path / "work").mkdir()

    def start(
        stage: str, *, plan: object = PLAN, folder: str = f"{tmp_path}/work", **environ: str
    ) -> subprocess.Popen[str]:
        values = {k: v for k, v in os.environ.items() if "AWS" not in k and k != PLAN_VARIABLE}
        values["MOPT_TERMINATION_LOG"] = str(message)
        if plan is not None:
            values[PLAN_VARIABLE] = plan if isinstance(plan, str) else json.dumps(plan)
        return subprocess.Popen(
            [sys.executable, "-m", "mopt_optimizer.main", stage, "--workdir", folder],
            env=values | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def fail(start: Start, message: Path) -> Fail:
    """Return what runs the entry point to its error: summary, exit status, standard error."""

    def fail(stage: str, **options: object) -> tuple[ErrorSummary, int, str]:
        process = start(stage, **options)
        _, errors = process.communicate(timeout=120)
        summary = decode(message.read_text())
        assert isinstance(summary, ErrorSummary)
        return summary, process.returncode, errors

    return fail


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (None, "MOPT_PLAN is not set"),
        ("nonsense", "the plan is not valid: MOPT_PLAN: Invalid JSON"),
        ({}, "the plan is not valid"),
        (PLAN | {"inputs": 7}, "the plan is not valid: Prepare.inputs"),
        (PLAN | {"unknown": 7}, "the plan is not valid: Prepare.unknown"),
        (PLAN | {"stage": "Measure"}, "the plan is not valid"),
    ],
)
def test_bad_plan_is_an_invalid_spec(fail: Fail, plan: object, text: str) -> None:
    summary, status, errors = fail("prepare", plan=plan)
    assert (summary.error.reason, status) == (Reason.INVALID_SPEC, 64)
    assert text in summary.error.message
    assert "Traceback" not in errors


def test_plan_of_another_stage_is_an_invalid_spec(fail: Fail) -> None:
    summary, status, _ = fail("measure")
    assert status == 64
    assert summary.error.message == "the plan is for prepare, not for measure"


def test_missing_model_is_told_in_one_line(fail: Fail) -> None:
    summary, status, errors = fail("prepare")
    assert (summary.error.reason, status) == (Reason.OBJECT_NOT_FOUND, 70)
    assert errors.strip() == f"ObjectNotFound: {summary.error.message}"


def test_unreachable_store_may_be_tried_again(fail: Fail) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        environ = {
            "MOPT_MODEL_AWS_ACCESS_KEY_ID": "key",
            "MOPT_MODEL_AWS_SECRET_ACCESS_KEY": "hunter2",
            "MOPT_MODEL_AWS_ENDPOINT_URL": endpoint,
        }
        plan = PLAN | {"model": PLAN["model"] | {"uri": "s3://bucket/model.pt2"}}
        summary, status, errors = fail("prepare", plan=plan, **environ)
    assert (summary.error.reason, status) == (Reason.STORE_UNREACHABLE, 80)
    assert endpoint in summary.error.message
    assert "hunter2" not in errors + summary.error.message


def test_missing_keys_are_named(fail: Fail) -> None:
    plan = PLAN | {"model": PLAN["model"] | {"uri": "s3://bucket/model.pt2"}}
    summary, status, _ = fail("prepare", plan=plan)
    assert (summary.error.reason, status) == (Reason.STORE_ACCESS_DENIED, 71)
    assert "AWS_ACCESS_KEY_ID" in summary.error.message


def test_fault_of_ours_is_internal_with_a_traceback_in_the_log(fail: Fail) -> None:
    # A scratch folder that is not there is no error of the user's.
    summary, status, errors = fail("prepare", folder="/nonexistent")
    assert (summary.error.reason, status) == (Reason.INTERNAL_ERROR, 82)
    assert summary.error.message.startswith("FileNotFoundError: ")
    assert "Traceback" in errors


def test_message_goes_to_the_log_where_it_cannot_be_written(start: Start, tmp_path: Path) -> None:
    process = start("prepare", MOPT_TERMINATION_LOG=str(tmp_path / "no" / "such"))
    _, errors = process.communicate(timeout=60)
    summary = decode(errors.strip().splitlines()[-1])
    assert isinstance(summary, ErrorSummary)
    assert summary.error.reason is Reason.OBJECT_NOT_FOUND


@pytest.fixture
def at_work(start: Start, upscaler_pt2: Path, tmp_path: Path) -> AtWork:
    """Return what starts a preparation, and the number of the process that opens its model."""
    from mopt_optimizer.digests import file_digest

    plan = PLAN | {
        "model": {
            "uri": f"file://{upscaler_pt2}",
            "sha256": file_digest(upscaler_pt2).removeprefix("sha256:"),
            "format": "ExportedProgram",
        },
        "outputUri": f"file://{tmp_path}/out",
    }

    def begin(**environ: str) -> tuple[subprocess.Popen[str], int]:
        process = start("prepare", plan=plan, **environ)
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["step"] == "load":
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (child,) = children
        return process, int(child)

    return begin


@pytest.mark.optimizer
def test_prepared_model_ends_with_its_summary(
    start: Start, message: Path, upscaler_pt2: Path, tmp_path: Path
) -> None:
    from mopt_optimizer.digests import file_digest

    digest = file_digest(upscaler_pt2)
    plan = PLAN | {
        "model": {
            "uri": f"file://{upscaler_pt2}",
            "sha256": digest.removeprefix("sha256:"),
            "format": "ExportedProgram",
        },
        "outputUri": f"file://{tmp_path}/out",
    }
    process = start("prepare", plan=plan)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    summary = decode(message.read_text())
    assert isinstance(summary, PrepareSummary)
    assert (summary.stage, summary.source.opset) == (Stage.PREPARE, 18)
    assert (tmp_path / "out" / "blobs" / summary.result.replace(":", "/")).is_file()
    lines = [json.loads(line) for line in output.splitlines()]
    steps = [line["step"] for line in lines]
    assert steps[:2] == ["prepare", "fetch"]
    assert lines[0]["version"] == product_version()
    assert {"load", "export", "verify", "passes", "upload"} <= set(steps)
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.optimizer
def test_sigterm_ends_it_and_its_child(at_work: AtWork, tmp_path: Path) -> None:
    process, child = at_work()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert not Path(f"/proc/{child}").exists()
    assert not list((tmp_path / "work").iterdir())


def test_stage_ends_itself_before_its_deadline(fail: Fail) -> None:
    """The store takes the connection and says nothing: it would be waited for much longer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        environ = {
            "MOPT_MODEL_AWS_ACCESS_KEY_ID": "key",
            "MOPT_MODEL_AWS_SECRET_ACCESS_KEY": "hunter2",
            "MOPT_MODEL_AWS_ENDPOINT_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "MOPT_DEADLINE_SECONDS": "3",
        }
        plan = PLAN | {"model": PLAN["model"] | {"uri": "s3://bucket/model.pt2"}}
        summary, status, errors = fail("prepare", plan=plan, **environ)
    assert (summary.error.reason, status) == (Reason.DEADLINE_EXCEEDED, 75)
    assert "prepare had not ended shortly before its deadline of 3 s" in summary.error.message
    assert "Traceback" not in errors
    assert REASONS[summary.error.reason].permanent


@pytest.mark.parametrize("text", ["", "soon", "0", "-1", "inf", "nan"])
def test_deadline_that_is_no_number_is_told(fail: Fail, text: str) -> None:
    summary, status, _ = fail("prepare", MOPT_DEADLINE_SECONDS=text)
    assert (summary.error.reason, status) == (Reason.INVALID_SPEC, 64)
    assert "MOPT_DEADLINE_SECONDS is no number of seconds" in summary.error.message


@pytest.mark.optimizer
def test_deadline_ends_children_and_names_the_step(
    at_work: AtWork, message: Path, tmp_path: Path
) -> None:
    process, child = at_work(MOPT_DEADLINE_SECONDS="3600")
    process.send_signal(signal.SIGALRM)  # As the timer does in an hour.
    process.communicate(timeout=120)
    summary = decode(message.read_text())
    assert isinstance(summary, ErrorSummary)
    assert (summary.error.reason, process.returncode) == (Reason.DEADLINE_EXCEEDED, 75)
    assert "deadline of 3600 s; it was at step" in summary.error.message
    assert not Path(f"/proc/{child}").exists()
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.optimizer
def test_child_that_the_kernel_killed_is_out_of_memory_and_not_tried_again(
    at_work: AtWork, message: Path
) -> None:
    process, child = at_work()
    os.kill(child, signal.SIGKILL)  # As the kernel does where only the largest process goes.
    process.communicate(timeout=120)
    summary = decode(message.read_text())
    assert isinstance(summary, ErrorSummary)
    assert (summary.error.reason, process.returncode) == (Reason.OUT_OF_MEMORY, 74)
    assert re.search(r"the container's memory limit of [0-9.]+ GiB", summary.error.message)
    assert process.returncode in PERMANENT_EXIT_CODES


HIDING = """
import ctypes, os
from mopt_optimizer.sandbox import hide_environment

def readable():
    parent = os.getpid()
    reader = os.fork()
    if reader == 0:
        try:
            open(f"/proc/{parent}/environ", "rb").read()
        except PermissionError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(reader, 0)[1] == 0

if os.geteuid() == 0:  # root may read everything: be a user, as the Job is
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # what a fresh exec would set
before = readable()
hide_environment()
print(before, readable())
"""


def test_environment_is_hidden_from_other_processes_of_the_user() -> None:
    """A model that takes over the child must not read the parent's credentials from /proc."""
    done = subprocess.run(
        [sys.executable, "-c", HIDING], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_help_needs_no_plan_and_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from mopt_optimizer import main\n"
        "try:\n    main.main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'minio'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "prepare" in done.stdout


def test_exit_codes_are_those_of_the_reasons() -> None:
    for reason, info in REASONS.items():
        assert exit_code(reason) == (137 if info.exit_code is None else info.exit_code)
