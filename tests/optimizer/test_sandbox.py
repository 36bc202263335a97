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
from mopt_optimizer.errors import (
    DeadlineExceeded,
    DiskError,
    ModelError,
    OptimizerError,
    ProofRefused,
    RegistryError,
    SigningKeyError,
    StoreError,
    UnsafeModelError,
)
from mopt_optimizer.progress import Log
from mopt_optimizer.sandbox import Child, ChildDied, child_environ, report_of, run_child
from mopt_optimizer.sandbox.reports import child_error, typed_error

Run = Callable[..., dict[str, object]]


def errors_below(first: type[OptimizerError]) -> list[type[OptimizerError]]:
    """Return an error and all classes below it."""
    found = [first]
    for kind in found:
        found += kind.__subclasses__()
    return found


OF_STORES = errors_below(StoreError)[1:]
# It is the stage that has a deadline, and that publishes.
OF_PUBLISHING = [*errors_below(RegistryError)[1:], SigningKeyError, ProofRefused]
NOT_OF_CHILDREN = [*OF_STORES, *OF_PUBLISHING, DeadlineExceeded]
OF_CHILDREN = [kind for kind in errors_below(OptimizerError) if kind not in NOT_OF_CHILDREN]


# The descriptor of the parent's pipe, which serve() keeps for itself.
CHANNEL = "next(n for n in range(3, 64) if os.path.exists(f'/proc/self/fd/{n}'))"


def nothing(step: str, message: str, **fields: object) -> None:
    pass


def write_handler(folder: Path, body: str) -> dict[str, str]:
    """Write a worker module, `handler`; return the environment in which it is found."""
    folder.mkdir(exist_ok=True)
    (folder / "handler.py").write_text(
        "import os, sys, time\n"
        "from mopt_optimizer.sandbox import serve\n"
        "from mopt_optimizer.errors import *\n"
        "def handle(request, workdir, log):\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\nif __name__ == '__main__':\n    sys.exit(serve(handle))\n"
    )
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths)}


def child_of(tmp_path: Path, body: str) -> Child:
    work = tmp_path / "work"
    work.mkdir()
    return Child("handler", work, environ=write_handler(tmp_path / "code", body))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what runs a handler's body in a child."""

    def run(
        body: str,
        *,
        environ: dict[str, str] | None = None,
        timeout: float | None = 60,
        watch: Callable[[], None] | None = None,
        log: Log = nothing,
        programs: bool = False,
    ) -> dict[str, object]:
        values = write_handler(tmp_path / "code", body) | (environ or {})
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        return run_child(
            "handler",
            {"number": 20},
            work,
            programs=programs,
            timeout=timeout,
            environ=values,
            watch=watch,
            log=log,
        )

    return run


def test_answer_comes_back(run: Run) -> None:
    assert run("return {'double': 2 * request['number']}") == {"double": 40}


def test_typed_error_comes_back_as_its_class(run: Run) -> None:
    with pytest.raises(UnsafeModelError, match="would run code"):
        run("raise UnsafeModelError('would run code')")


@pytest.mark.parametrize("kind", NOT_OF_CHILDREN, ids=lambda kind: kind.__name__)
def test_no_child_has_an_error_of_a_store_or_of_its_stage(kind: type[OptimizerError]) -> None:
    found = typed_error(child_error(kind("words")))
    assert type(found) is ModelError
    assert str(found) == f"the process that opened the model answered {kind.reason}: words"


@pytest.mark.parametrize("kind", OF_CHILDREN, ids=lambda kind: kind.__name__)
def test_an_error_keeps_its_class(kind: type[OptimizerError]) -> None:
    assert type(typed_error(child_error(kind("words")))) is kind


def test_an_error_of_another_version_keeps_its_reason() -> None:
    error = child_error(UnsafeModelError("words")).model_copy(update={"kind": "Unheard"})
    assert type(typed_error(error)) is UnsafeModelError


def test_a_class_with_another_reason_is_not_believed() -> None:
    error = child_error(UnsafeModelError("words")).model_copy(update={"kind": "DiskError"})
    assert type(typed_error(error)) is UnsafeModelError


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
    pid_file = tmp_path / "work" / "pid"
    started = time.monotonic()
    with pytest.raises(ChildDied, match="took too long") as caught:
        run(
            """
            import subprocess
            process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            with open("pid", "w") as file:
                file.write(str(process.pid))
            time.sleep(600)
            """,
            timeout=5,
            programs=True,
        )
    assert caught.value.timed_out
    assert time.monotonic() - started < 60
    assert _ends(int(pid_file.read_text()))


def test_what_may_fork_starts_no_programs(tmp_path: Path) -> None:
    body = """
    copy = os.fork()
    if copy == 0:
        os._exit(7)
    status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    try:
        os.execv(sys.executable, [sys.executable, "-c", ""])
    except PermissionError:
        return {"copy": status, "program": "refused"}
    """
    work = tmp_path / "work"
    work.mkdir()
    environ = write_handler(tmp_path / "code", body)
    with Child("handler", work, forks=True, environ=environ) as child:
        assert child.ask({}, 60) == {"copy": 7, "program": "refused"}


def test_what_may_not_fork_is_refused(tmp_path: Path) -> None:
    body = """
    try:
        os.fork()
    except PermissionError:
        return {"copy": "refused"}
    """
    with child_of(tmp_path, body) as child:
        assert child.ask({}, 60) == {"copy": "refused"}


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


def test_child_sees_no_credentials(run: Run, tmp_path: Path) -> None:
    secrets = {role.variable(key): "hidden" for role in Credentials for key in CREDENTIAL_KEYS}
    secrets |= {"AWS_SECRET_ACCESS_KEY": "hidden", "AWS_PROFILE": "hidden", PLAN_VARIABLE: "hidden"}
    seen = run("return dict(os.environ)", environ=secrets | {"OMP_KEPT": "yes", "HOME": "/home"})
    assert "hidden" not in seen.values()
    assert (seen["OMP_KEPT"], seen["HOME"]) == ("yes", str(tmp_path / "work"))


def test_every_credential_variable_is_removed(tmp_path: Path) -> None:
    names = {role.variable(key) for role in Credentials for key in CREDENTIAL_KEYS}
    assert len(names) == len(Credentials) * len(CREDENTIAL_KEYS)
    assert not names & set(child_environ(dict.fromkeys(names, "x"), tmp_path))
    assert child_environ({"PATH": "/bin"}, tmp_path)["PATH"] == "/bin"


@pytest.mark.parametrize(("given", "told"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_onnx_runtime_reports_to_nobody_unless_told_to(
    given: dict[str, str], told: str, tmp_path: Path
) -> None:
    assert child_environ(given, tmp_path)["ORT_DISABLE_TELEMETRY"] == told


def test_prints_of_libraries_do_not_mix_with_progress(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[tuple[str, str, dict[str, object]]] = []

    def log(step: str, message: str, **fields: object) -> None:
        lines.append((step, message, fields))

    run(
        "print('chatter'); os.system('echo more'); log('a', 'words', n=1); return {}",
        log=log,
        programs=True,
    )
    output = capfd.readouterr()
    assert output.out == ""
    assert ("chatter" in output.err, "more" in output.err) == (True, True)
    assert lines == [("a", "words", {"n": 1})]


# What a process that a model took over may write to its parent.
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"null",
        b'{"answer": 1}',
        b'{"error": {}}',
        b'{"log": {"step": 1}}',
        b"\\xff",
        b"[" * 5000,
    ],
)
def test_what_is_no_answer_ends_the_child(run: Run, line: bytes) -> None:
    with pytest.raises(ChildDied, match="answered what is no answer and was ended"):
        run(f"os.write({CHANNEL}, {line!r} + b'\\n'); time.sleep(600)")


def test_an_endless_line_is_no_answer(run: Run) -> None:
    with pytest.raises(ChildDied, match="answered what is no answer"):
        run(f"while True: os.write({CHANNEL}, b'x' * 2**20)")


def test_progress_cannot_pose_as_another_step(run: Run) -> None:
    seen: list[dict[str, object]] = []

    def log(step: str, message: str, **fields: object) -> None:
        seen.append({"step": step, "message": message, **fields})

    line = b'{"log": {"step": "a", "message": "b", "fields": {"step": "c", "message": "d"}}}\n'
    run(f"os.write({CHANNEL}, {line!r}); return {{}}", log=log)
    assert seen == [{"step": "a", "message": "b"}]


def test_a_child_answers_again_and_again(tmp_path: Path) -> None:
    with child_of(tmp_path, "return {'sum': request['a'] + request['b']}") as child:
        assert [child.ask({"a": n, "b": 1})["sum"] for n in range(3)] == [1, 2, 3]
        with pytest.raises(OptimizerError, match="KeyError"):
            child.ask({"a": 1})
        assert child.ask({"a": 20, "b": 1}) == {"sum": 21}


def test_modules_are_not_looked_for_where_the_child_writes(tmp_path: Path) -> None:
    """A model that runs code could leave there what the next process would import."""
    with child_of(tmp_path, "import sympy; return {'file': sympy.__file__}") as child:
        (tmp_path / "work" / "sympy.py").write_text("raise SystemExit('planted')")
        assert "site-packages" in str(child.ask({})["file"])


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
