from __future__ import annotations

import errno
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mopt_api.jobs.plan import CREDENTIAL_KEYS, PLAN_VARIABLE, Credentials
from mopt_api.reasons import Reason
from mopt_optimizer.errors import DiskError, ModelError, OptimizerError, UnsafeModelError
from mopt_optimizer.sandbox import ChildDied, child_environ, report_of, run_child

Run = Callable[..., dict[str, object]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what runs a handler's body in a child."""

    def run(
        body: str,
        *,
        environ: dict[str, str] | None = None,
        timeout: float | None = 60,
        watch: Callable[[], None] | None = None,
    ) -> dict[str, object]:
        (tmp_path / "handler.py").write_text(
            "import os, sys, time\n"
            "from mopt_optimizer.sandbox import serve\n"
            "from mopt_optimizer.errors import UnsafeModelError\n"
            "def handle(request, workdir, log):\n"
            + textwrap.indent(textwrap.dedent(body), "    ")
            + "\nsys.exit(serve(handle))\n"
        )
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
        values = dict(os.environ) | (environ or {}) | {"PYTHONPATH": os.pathsep.join(paths)}
        return run_child(
            "handler", {"number": 20}, work, timeout=timeout, environ=values, watch=watch
        )

    return run


def test_answer_comes_back(run: Run) -> None:
    assert run("return {'double': 2 * request['number']}") == {"double": 40}


def test_typed_error_comes_back_as_its_class(run: Run) -> None:
    with pytest.raises(UnsafeModelError, match="would run code"):
        run("raise UnsafeModelError('would run code')")


def test_unexpected_error_is_internal_and_named(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OptimizerError, match=r"ZeroDivisionError: division by zero") as caught:
        run("1 / 0")
    assert caught.value.reason is Reason.INTERNAL_ERROR
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_crash_is_told_by_its_signal(run: Run, number: signal.Signals) -> None:
    with pytest.raises(ChildDied, match=f"was ended by {number.name}") as caught:
        run(f"os.kill(os.getpid(), {int(number)})")
    assert caught.value.returncode == -number


def test_exit_without_an_answer_is_a_death(run: Run) -> None:
    with pytest.raises(ChildDied, match="ended with exit status 7"):
        run("os._exit(7)")


def test_hanging_child_is_ended_with_all_it_started(run: Run, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(ChildDied, match="took too long") as caught:
        run(
            f"""
            import subprocess
            process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            with open({str(pid_file)!r}, "w") as file:
                file.write(str(process.pid))
            time.sleep(600)
            """,
            timeout=5,
        )
    assert caught.value.timed_out
    assert time.monotonic() - started < 20
    assert _ends(int(pid_file.read_text()))


def _ends(pid: int) -> bool:
    for _ in range(100):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            return True
        if stat.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_what_watches_may_end_the_child(run: Run) -> None:
    looks = []

    def watch() -> None:
        looks.append(1)
        if len(looks) > 2:
            raise MemoryError("nearly full")

    with pytest.raises(MemoryError, match="nearly full"):
        run("time.sleep(600)", watch=watch)
    assert run("return {}", watch=lambda: None) == {}
    with pytest.raises(ChildDied, match="took too long"):
        run("time.sleep(600)", timeout=0.2, watch=lambda: None)


def test_child_sees_no_credentials(run: Run) -> None:
    secrets = {role.variable(key): "hidden" for role in Credentials for key in CREDENTIAL_KEYS}
    secrets |= {"AWS_SECRET_ACCESS_KEY": "hidden", "AWS_PROFILE": "hidden", PLAN_VARIABLE: "hidden"}
    seen = run("return dict(os.environ)", environ=secrets | {"MOPT_KEPT": "yes", "HOME": "/home"})
    assert "hidden" not in seen.values()
    assert (seen["MOPT_KEPT"], seen["HOME"]) == ("yes", "/home")


def test_every_credential_variable_is_removed() -> None:
    names = {role.variable(key) for role in Credentials for key in CREDENTIAL_KEYS}
    assert len(names) == len(Credentials) * len(CREDENTIAL_KEYS)
    assert not names & set(child_environ(dict.fromkeys(names, "x")))
    assert child_environ({"PATH": "/bin"})["PATH"] == "/bin"


@pytest.mark.parametrize(("given", "told"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_onnx_runtime_reports_to_nobody_unless_told_to(given: dict[str, str], told: str) -> None:
    assert child_environ(given)["ORT_DISABLE_TELEMETRY"] == told


def test_prints_of_libraries_do_not_mix_with_progress(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    run("print('chatter'); os.system('echo more'); log('step', 'sentence'); return {}")
    output = capfd.readouterr()
    assert "chatter" not in output.out
    assert "more" not in output.out
    assert '"step": "step", "message": "sentence"' in output.out
    assert "chatter" in output.err


def test_old_answer_is_not_taken_for_a_new_one(run: Run) -> None:
    run("return {'first': True}")
    with pytest.raises(ChildDied):
        run("os._exit(0)")


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"error": {}}', "\\xff"])
def test_damaged_answer_is_a_death(run: Run, text: str) -> None:
    with pytest.raises(ChildDied):
        run(f"(workdir / 'response.json').write_text({text!r}); os._exit(0)")


def test_child_ends_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed outright cannot end its child: the kernel does."""
    if sys.platform != "linux":
        pytest.skip("the kernel's signal on the parent's death is Linux's")
    (tmp_path / "handler.py").write_text(
        "import os, sys, time\n"
        "from mopt_optimizer.sandbox import serve\n"
        "def handle(request, workdir, log):\n"
        "    (workdir / 'pid.part').write_text(str(os.getpid()))\n"
        "    (workdir / 'pid.part').rename(workdir / 'pid')\n"
        "    time.sleep(600)\n"
        "sys.exit(serve(handle))\n"
    )
    program = (
        "from pathlib import Path\n"
        "from mopt_optimizer.sandbox import run_child\n"
        f"run_child('handler', {{}}, Path({str(tmp_path)!r}))\n"
    )
    environ = dict(os.environ) | {"PYTHONPATH": str(tmp_path)}
    parent = os.posix_spawn(sys.executable, [sys.executable, "-c", program], environ)
    for _ in range(200):
        if (tmp_path / "pid").exists():
            break
        time.sleep(0.05)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert _ends(int((tmp_path / "pid").read_text()))


def test_report_is_one_bounded_line() -> None:
    report = report_of(ModelError("first\n  second " + "x" * 5000))
    assert report.message.startswith("first second x")
    assert len(report.message) == 1024


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_told_as_such_from_any_library(run: Run, number: int) -> None:
    with pytest.raises(DiskError, match="no space left on the scratch volume"):
        run(f"raise OSError({number}, 'No space left', 'model.onnx')")
