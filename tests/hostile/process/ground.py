"""Where a hostile program is let loose: what is closed to it, and what it is given."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import attacker_parent
from attacker import ATTEMPTS, ORIGINAL, Outcome, Plan, outcomes_in

from mopt_api.sandbox import SCRATCH_VARIABLE

SUPPORT = Path(__file__).resolve().parents[2] / "support"
SECRET = "a-key-that-nobody-may-see"
SECRETS = {
    "MOPT_OUTPUT_AWS_SECRET_ACCESS_KEY": SECRET,
    "MOPT_OUTPUT_AWS_ACCESS_KEY_ID": f"id-{SECRET}",
    "MOPT_MODEL_AWS_SESSION_TOKEN": f"session-{SECRET}",
    "AWS_SECRET_ACCESS_KEY": f"plain-{SECRET}",
    "HF_TOKEN": f"hub-{SECRET}",
}
_CLOSED = (
    *("secrets/token", "termination", "result.json", "sibling/model.onnx"),
    *("store/blobs/sha256/" + "0" * 64, "store/index/fp32"),
)
_LAUNCH = ("-m", "attacker_launch")
# Far above what any of them takes: a parent that is still there then waits for ever.
_SECONDS = 90.0
DISK_BYTES = 64 * 2**20
"""Half of the scratch volume that parents are told of: a child that takes more is beyond it."""
_SYS_ADMIN = 1 << 21


@dataclass(frozen=True)
class Done:
    """How a parent ended.

    Attributes:
        hung: It did not end by itself.
        outcomes: Of the attempts in its child.
    """

    returncode: int
    out: str
    err: str
    hung: bool
    seconds: float

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return outcomes_in(self.err)

    def outcomes_in(self, place: str) -> dict[str, Outcome]:
        """Return those of one place; of several processes there the worst."""
        return outcomes_in(self.err, place)

    @property
    def told(self) -> attacker_parent.Told:
        """What attacker_parent says."""
        assert not self.hung, self.err[-2000:]
        assert self.returncode == 0, self.err[-2000:]
        return attacker_parent.Told(**json.loads(self.out))


State = tuple[int, int, int, int, bytes]


class Ground:
    """A folder with everything.

    Attributes:
        outside: Closed to the child, but for what a test opens by name.
        given: A folder of a file that the child may read, model.bin.
        work: For the child's own folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outside = root / "outside"
        self.given = root / "given"
        self.readable = self.given / "model.bin"
        self.work = root / "work"
        self.code = root / "code"
        for folder in (self.outside / "empty", self.outside / "victims", self.given):
            folder.mkdir(parents=True)
        for name in (*_CLOSED, *(f"victims/{name}" for name in ATTEMPTS)):
            (self.outside / name).parent.mkdir(parents=True, exist_ok=True)
            (self.outside / name).write_text(ORIGINAL)
        self.readable.write_text(ORIGINAL)
        (self.given / ".credentials").write_text(ORIGINAL)
        self.work.mkdir()
        self.code.mkdir()
        self.remember()

    def remember(self) -> None:
        """Take everything as it is now for what it should be."""
        self._before = self._states()

    def _states(self) -> dict[str, State]:
        found = {}
        for path in (self.outside, *self.outside.rglob("*"), *self.given.rglob("*")):
            facts = path.lstat()
            held = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            state = (facts.st_mode, facts.st_uid, facts.st_nlink, facts.st_mtime_ns, held)
            found[str(path.relative_to(self.root))] = state
        return found

    def changed(self) -> list[str]:
        """Return what is not as it was, outside and in what was given to read."""
        now = self._states()
        names = self._before.keys() | now.keys()
        return sorted(name for name in names if self._before.get(name) != now.get(name))

    def environ(self, plan: Plan | None = None) -> dict[str, str]:
        """Return a parent's environment: it holds keys, and a program waits in its child."""
        values = os.environ | SECRETS | {"MOPT_EXTENSIONS": "attacker_extension"}
        if plan is not None:
            plan.write(self.code)
        paths = (str(self.code), str(SUPPORT))
        own = {"PYTHONPATH": os.pathsep.join(paths), SCRATCH_VARIABLE: str(2 * DISK_BYTES)}
        return {**values, **own}

    def plan(self, place: str, **fields: object) -> Plan:
        """Return a plan for a process of that module."""
        known = {"place": place, "outside": str(self.outside), "readable": str(self.readable)}
        return Plan(**{**known, **fields})  # type: ignore[arg-type]

    def attack(self, plan: Plan, seconds: float = _SECONDS, **options: object) -> Done:
        """Let the program loose in a child of attacker_parent, which may fill DISK_BYTES."""
        return self.run(*self.parent(**options), environ=self.environ(plan), seconds=seconds)

    def parent(self, **options: object) -> tuple[str, ...]:
        """Return the arguments of attacker_parent."""
        values = {"workdir": str(self.work), "read": [str(self.readable)], **options}
        told = json.dumps(asdict(attacker_parent.Options(**values)))  # type: ignore[arg-type]
        return "-m", "attacker_parent", told

    def left(self) -> list[int]:
        """Return the processes that were told of this folder: all are of this test's making."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                told = path.read_bytes()
            except OSError:  # It has just ended.
                continue
            if os.fsencode(self.root) in told and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        return found

    def end_what_is_left(self) -> None:
        """End each of them by its number; a stage that is ended so leaves children behind."""
        for _ in range(20):
            if not (numbers := self.left()):
                return
            for number in numbers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.1)

    def remove(self) -> None:
        """End what was left behind, and remove everything: deeper than Python's own goes."""
        self.end_what_is_left()
        subprocess.run(["rm", "-rf", "--", str(self.root)], check=True)

    def run(self, *arguments: str, environ: Mapping[str, str], seconds: float = _SECONDS) -> Done:
        """Run a parent, without root's capabilities, in a group of its own; end what is left."""
        process = started(*arguments, environ=environ, cwd=self.root)
        begun = time.monotonic()
        try:
            out, err = process.communicate(timeout=seconds)
            hung = False
        except subprocess.TimeoutExpired:
            hung = True
            os.kill(process.pid, signal.SIGKILL)
            self.end_what_is_left()
            out, err = process.communicate(timeout=120)
        return Done(process.returncode, out, err, hung, time.monotonic() - begun)


def started(*arguments: str, environ: Mapping[str, str], cwd: Path) -> subprocess.Popen[str]:
    """Start a parent."""
    return subprocess.Popen(
        [sys.executable, "-P", *(() if arguments[:2] == _LAUNCH else _LAUNCH), *arguments],
        env=dict(environ),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        start_new_session=True,
    )


def ended(pid: int, seconds: float = 5.0) -> bool:
    """Return whether a process is gone, or is soon."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


def has_privileges() -> bool:
    """Return whether this process has all that root may have."""
    status = Path("/proc/self/status").read_text()
    held = next(line for line in status.splitlines() if line.startswith("CapEff"))
    return int(held.split()[1], 16) & _SYS_ADMIN != 0
