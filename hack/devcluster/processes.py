"""Starts and ends the processes of one cluster; a pid alone is never trusted."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import StartError
from .identity import MARKER, Record, Stat, from_json, has_marker, is_same, parse_stat, to_json

# What daemons inherit; the rest of the caller's environment stays out.
_INHERITED = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY", "no_proxy")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
# Debian keeps iptables, ip and containerd's helpers in sbin, which a user's PATH may lack.
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"

# Daemons outlive this program: their handles are kept so that nothing waits or warns.
_children: list[subprocess.Popen[bytes]] = []


def boot_id() -> str:
    """Return the identity of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read_stat(pid: int) -> Stat | None:
    """Return the facts of a pid, None when there is no such process."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_alive(record: Record) -> bool:
    """Say whether the recorded process still runs."""
    stat = read_stat(record.pid)
    return stat is not None and is_same(record, stat, boot_id())


@dataclass(frozen=True)
class Processes:
    """The processes of the cluster in one folder.

    Attributes:
        home: The cluster's folder, marker of its processes; logs and pid files lie in it.
    """

    home: Path

    @property
    def logs(self) -> Path:
        """Return the folder with one log for each component."""
        return self.home / "log"

    @property
    def records_dir(self) -> Path:
        """Return the folder of the pid files."""
        return self.home / "pids"

    def start(
        self, name: str, command: Sequence[str | Path], extra: dict[str, str] | None = None
    ) -> Record:
        """Start a daemon in a session of its own and record its identity."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self.records_dir.mkdir(parents=True, exist_ok=True)
        environment = {k: os.environ[k] for k in (*_INHERITED, *_PROXIES) if k in os.environ}
        environment["PATH"] = environment.get("PATH", "/usr/bin:/bin") + ":" + _SBIN
        environment |= {MARKER: str(self.home)} | (extra or {})
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=environment,
            )
        _children.append(process)
        stat = read_stat(process.pid)
        record = Record(name, process.pid, stat.start_ticks if stat else 0, boot_id())
        target = self.records_dir / f"{name}.json"
        fresh = target.with_suffix(".new")
        fresh.write_text(to_json(record))
        fresh.replace(target)
        return record

    def record(self, name: str) -> Record | None:
        """Return what the pid file of a component says."""
        try:
            return from_json((self.records_dir / f"{name}.json").read_text())
        except FileNotFoundError:
            return None

    def running(self, name: str) -> bool:
        """Say whether a component's own process is alive."""
        record = self.record(name)
        return record is not None and is_alive(record)

    def everyone(self) -> list[Record]:
        """Return every live process of this cluster, recorded or only marked."""
        mine: dict[int, Record] = {}
        boot = boot_id()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            pid = int(entry.name)
            try:
                environ = (entry / "environ").read_bytes()
                program = os.fsdecode((entry / "cmdline").read_bytes().split(b"\0")[0])
            except OSError:
                continue
            stat = read_stat(pid)
            if stat and stat.state not in ("Z", "X") and has_marker(environ, str(self.home)):
                mine[pid] = Record(Path(program).name, pid, stat.start_ticks, boot)
        for file in sorted(self.records_dir.glob("*.json")):
            record = self.record(file.stem)
            if record is not None and is_alive(record):
                mine[record.pid] = record
        return list(mine.values())

    def stop(self, name: str, patience: float) -> None:
        """End one component: SIGTERM, then SIGKILL after the patience in seconds."""
        record = self.record(name)
        if record is not None:
            end([record], patience)
        (self.records_dir / f"{name}.json").unlink(missing_ok=True)

    def tail(self, name: str, lines: int = 3) -> str:
        """Return the end of a component's log on one line."""
        try:
            text = (self.logs / f"{name}.log").read_text(errors="replace")
        except FileNotFoundError:
            return "no log"
        return " | ".join(text.strip().splitlines()[-lines:])[-600:] or "empty log"

    def wait_for(
        self, what: str, ready: Callable[[], bool], needs: Iterable[str], timeout: float
    ) -> None:
        """Wait until a check holds.

        Args:
            needs: Components that must stay alive meanwhile.
            timeout: Seconds.

        Raises:
            StartError: A component ended, or the time is over.
        """
        names = list(needs)
        deadline = time.monotonic() + timeout
        while not ready():
            for name in names:
                if not self.running(name):
                    raise StartError(
                        f"{name} ended while waiting for {what}; its log "
                        f"{self.logs / (name + '.log')} ends: {self.tail(name)}"
                    )
            if time.monotonic() > deadline:
                raise StartError(
                    f"{what} took more than {timeout:.0f} s; look at the logs in {self.logs} "
                    "(a machine under load may need another try)"
                )
            time.sleep(0.05)


def end(records: Sequence[Record], patience: float) -> None:
    """End processes together: SIGTERM, then SIGKILL after the patience in seconds."""
    handles: list[int] = []
    try:
        for record in records:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(record.pid)
                # The handle is pinned before the check: it cannot come to mean another process.
                if is_alive(record):
                    handles.append(handle)
                    signal.pidfd_send_signal(handle, signal.SIGTERM)
                else:
                    os.close(handle)
        if not _gone(handles, patience):
            for handle in handles:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            _gone(handles, 10.0)
    finally:
        for handle in handles:
            os.close(handle)


def _gone(handles: Sequence[int], timeout: float) -> bool:
    """Wait until all pidfds report an exit."""
    deadline = time.monotonic() + timeout
    waiting = set(handles)
    poller = select.poll()
    for handle in waiting:
        poller.register(handle, select.POLLIN)
    while waiting:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        for handle, _event in poller.poll(left * 1000):
            waiting.discard(handle)
            poller.unregister(handle)
    return True
