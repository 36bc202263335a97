"""Runs each part in a process of its own with a time box, and keeps the record whole meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .rows import Reader, Row
from .schedule import LIMIT_SECONDS, PARTS, Part, Step, next_step
from .tables import page

_PROBE_SECONDS = 90.0
_REHEARSAL_SECONDS = 300.0
_POLL_SECONDS = 0.5
_TAIL_BYTES = 4000


class Run:
    """One run. Its record is in OUT after each row, so that whatever ends it leaves what was there.

    Args:
        out: Exists.
        started: Unix seconds, when the time began to count.
    """

    def __init__(self, out: Path, bundle: Path, workdir: Path, started: float) -> None:
        self._out = out
        self._bundle = bundle
        self._workdir = workdir
        self._started = started
        facts = json.loads((bundle / "bundle.json").read_text())
        bundled = {key: value for key, value in facts.items() if key != "sha256"}
        self._record: dict[str, Any] = {"bundle": bundled, "machine": None, "parts": [], "rows": []}

    def run(self) -> int:
        """Measure, or rehearse; return the exit status."""
        machine = self._probe()
        self._record["machine"] = machine
        self._record["rehearsal"] = machine["gpu"] is None
        self._write()
        if machine["gpu"] is None:
            return self._rehearse()
        print(f"{machine['gpu']['name']}, torch {machine['versions'].get('torch')}")
        self._measure()
        print((self._out / "gpu.md").read_text())
        return 0

    def _elapsed(self) -> float:
        return time.time() - self._started

    def _probe(self) -> Row:
        """Return machine_facts; in a process of its own, which a driver may hang."""
        try:
            done = subprocess.run(
                [sys.executable, "-m", "bench.gpu.probe"],
                capture_output=True,
                text=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SystemExit(
                f"torch did not say within {_PROBE_SECONDS:.0f} s whether there is a GPU"
            ) from error
        if done.returncode != 0:
            raise SystemExit(f"torch cannot be asked for a GPU: {done.stderr[-_TAIL_BYTES:]}")
        found: Row = json.loads(done.stdout.splitlines()[-1])
        return found

    def _measure(self) -> None:
        waiting = list(PARTS)
        while (step := next_step(waiting, self._elapsed())) is not None:
            waiting.remove(step.part)
            self._part(step)
        for part in waiting:
            left = LIMIT_SECONDS - self._elapsed()
            why = f"{max(0.0, left):.0f} s were left, it needs {part.least:.0f} s at least"
            self._ended(part, "not reached", why, 0.0)

    def _rehearse(self) -> int:
        print("No NVIDIA GPU that torch can use is here: this is a rehearsal, nothing is measured.")
        state, why, _ = self._process(PARTS, _REHEARSAL_SECONDS, "--rehearse")
        for row in self._record["rows"]:
            if row["kind"] == "planned":
                print(f"would measure {row['what']}")
                for line in row["details"]:
                    print(f"  {line}")
        self._write()
        print(
            f"rehearsed in {self._elapsed():.0f} s; {self._out / 'gpu.md'} says what would be there"
        )
        if state != "done":
            print(f"the rehearsal {state}: {why}", file=sys.stderr)
        return 0 if state == "done" else 1

    def _part(self, step: Step) -> None:
        name = step.part.name
        print(f"{self._elapsed():5.0f} s  {name}, {step.seconds:.0f} s at most", flush=True)
        state, why, seconds = self._process([step.part], step.seconds)
        self._ended(step.part, state, why, seconds)

    def _ended(self, part: Part, state: str, why: str, seconds: float) -> None:
        log = self._workdir / f"{part.name}.log"
        self._record["parts"].append(
            {
                "name": part.name,
                "state": state,
                "why": why,
                "seconds": round(seconds, 1),
                "log": "" if state == "done" or not log.exists() else _tail(log),
            }
        )
        self._write()

    def _process(
        self, parts: Sequence[Part], seconds: float, *options: str
    ) -> tuple[str, str, float]:
        """Run parts to their end or that of the time; return how and why it ended, and how long."""
        names = [part.name for part in parts]
        rows, log = self._workdir / f"{names[0]}.rows", self._workdir / f"{names[0]}.log"
        reader, began = Reader(rows), time.monotonic()
        command = [
            *(sys.executable, "-m", "bench.gpu.worker", *names, "--rows", str(rows)),
            *("--bundle", str(self._bundle), "--workdir", str(self._workdir)),
            *("--out", str(self._out), *options),
        ]
        with (
            log.open("wb") as stream,
            subprocess.Popen(
                command, stdout=stream, stderr=stream, start_new_session=True
            ) as process,
        ):
            try:
                while process.poll() is None and time.monotonic() - began < seconds:
                    time.sleep(_POLL_SECONDS)
                    self._take(names, reader)
                ended = process.poll()
            finally:
                # Its own children too: a part that is over leaves nothing on the GPU.
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self._take(names, reader)
        taken = time.monotonic() - began
        if ended is None:
            return "cut off", f"its time box of {seconds:.0f} s was over", taken
        if ended != 0:
            return "failed", _last_line(log), taken
        return "done", "", taken

    def _take(self, names: Sequence[str], reader: Reader) -> None:
        if rows := reader():
            self._record["rows"] += [row | {"part": names[0]} for row in rows]
            self._write()

    def _write(self) -> None:
        self._record["seconds"] = round(self._elapsed(), 1)
        _replace(self._out / "gpu.json", json.dumps(self._record))
        _replace(self._out / "gpu.md", page(self._record))


def _replace(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text)
    temporary.replace(path)


def _tail(log: Path) -> str:
    return log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")


def _last_line(log: Path) -> str:
    """Return why a process ended, as it said itself."""
    lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it said nothing"
