"""Progress for people, commands for machines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".state" / "demo"
_started = time.monotonic()
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class DemoError(RuntimeError):
    """Something that the person at the terminal must know; printed in one line."""


def say(message: str) -> None:
    """Print one line with the time since the start."""
    print(f"[{time.monotonic() - _started:6.1f} s] {message}", flush=True)


class Timings:
    """How long each step took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce a step and record its time."""
        say(f"{name} ...")
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start

    def table(self) -> str:
        """Return the steps' times, one a line."""
        width = max(map(len, self.seconds), default=0)
        lines = [f"  {name:<{width}}  {value:7.1f} s" for name, value in self.seconds.items()]
        lines.append(f"  {'in all':<{width}}  {time.monotonic() - _started:7.1f} s")
        return "\n".join(lines)


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> str:
    """Run a command and return its standard output; its errors go to the terminal.

    Raises:
        DemoError: It failed; the message names it and, where `quiet`, what it said.
    """
    words = [str(word) for word in command]
    result = subprocess.run(
        words,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        env=os.environ | dict(environment or {}),
        cwd=ROOT,
        check=False,
    )
    if result.returncode:
        said = f": {result.stderr.strip()[-2000:]}" if quiet else ""
        raise DemoError(f"`{' '.join(words[:6])}` ended with {result.returncode}{said}")
    return result.stdout


def devcluster(*arguments: str | Path) -> str:
    """Run hack/devcluster and return what it prints."""
    return run([sys.executable, ROOT / "hack" / "devcluster", *arguments]).strip()


def tool(name: str) -> Path:
    """Return the path of a tool, installed first where it is missing."""
    return Path(devcluster("binary", name).splitlines()[-1])


class Kubectl:
    """kubectl against one cluster."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.path = tool("kubectl")

    def __call__(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run kubectl; quiet unless it fails."""
        command = [self.path, "--kubeconfig", self.kubeconfig, *arguments]
        return run(command, stdin=stdin, quiet=True)

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object as a dict; empty where it does not exist."""
        text = self("get", *arguments, "-o", "json", "--ignore-not-found")
        found: dict[str, Any] = json.loads(text) if text.strip() else {}
        return found

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects server-side."""
        listing = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=mopt-demo",
            "-f",
            "-",
            stdin=json.dumps(listing),
        )

    @contextmanager
    def forward(self, namespace: str, service: str, port: int) -> Iterator[str]:
        """Yield HOST:PORT here of a Service's port in the cluster.

        Raises:
            DemoError: It cannot be reached.
        """
        command = [str(self.path), "--kubeconfig", str(self.kubeconfig), "port-forward"]
        command += ["-n", namespace, f"service/{service}", f":{port}", "--address", "127.0.0.1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
            try:
                line = forward.stdout.readline() if forward.stdout else ""
                match = _FORWARDING.search(line)
                if match is None:
                    raise DemoError(f"kubectl port-forward to {service} did not start")
                yield f"127.0.0.1:{match[1]}"
            finally:
                forward.terminate()
