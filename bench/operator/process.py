"""An operator as a process of the bench, and what it costs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOBS_STAY_SECONDS = 86_400
"""Of finished Jobs and their Pods, unless a run says otherwise."""
PATIENCE_SECONDS = 120.0

Json = dict[str, Any]


def until(look: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until a look finds something; return it.

    Raises:
        TimeoutError: It never did.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain")
        time.sleep(0.05)
    return found


@contextmanager
def running(command: list[str], log: Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of this bench; end it afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **more)
        log.with_suffix(".pid").write_text(str(process.pid))
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.with_suffix(".pid").unlink()


def end_in_order() -> None:
    """Have SIGTERM and SIGINT end this process as an error does, with all that it started.

    A shell's background job ignores SIGINT otherwise.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_of_all(folder: Path) -> dict[str, float]:
    """Return the CPU seconds so far of the processes of this bench, itself too, by name.

    Args:
        folder: That of the logs, in which the light cluster's is `cluster`.
    """
    records = (folder / "cluster" / "pids").glob("*.json")
    pids = {path.stem: int(json.loads(path.read_text())["pid"]) for path in records}
    pids |= {path.stem: int(path.read_text()) for path in folder.glob("*.pid")}
    return {name: cpu_seconds(pid) for name, pid in sorted((pids | {"bench": os.getpid()}).items())}


def cpu_per_resource(before: dict[str, float], folder: Path, count: int) -> dict[str, float]:
    """Return the milliseconds of CPU time that each process has used for each resource."""
    now = cpu_of_all(folder)
    return {name: round(1000 * (now[name] - was) / count, 1) for name, was in before.items()}


@dataclass(frozen=True)
class Operator:
    """One operator process, and the address of its pages."""

    process: subprocess.Popen[bytes]
    address: str

    def page(self, name: str) -> str | None:
        """Return a page of its HTTP server; None where it does not answer with 200."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/{name}", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            return None

    def metric(self, name: str) -> float:
        """Return the value of a series, 0 where it is not there."""
        for line in (self.page("metrics") or "").splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        return 0.0

    def cpu_seconds(self) -> float:
        """Return the CPU time that the process has used."""
        return cpu_seconds(self.process.pid)

    def memory_mib(self, field: str) -> float:
        """Return VmRSS (now) or VmHWM (peak) in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        raise LookupError(field)


@contextmanager
def operator_process(
    kubeconfig: Json, settings: Json, folder: Path, *, name: str = "operator"
) -> Iterator[Operator]:
    """Run an operator; do not wait until it is ready.

    Args:
        settings: But for the address of its pages.
        folder: For its configuration and log.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    (folder / f"{name}.kubeconfig").write_text(json.dumps(kubeconfig))
    (folder / f"{name}.json").write_text(json.dumps(settings | {"healthAddress": address}))
    environment = os.environ | {
        "KUBECONFIG": str(folder / f"{name}.kubeconfig"),
        "MOPT_OPERATOR_CONFIG": str(folder / f"{name}.json"),
    }
    command = [sys.executable, "-m", "mopt_operator.main"]
    with running(command, folder / f"{name}.log", env=environment) as process:
        yield Operator(process, address)
