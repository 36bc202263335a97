"""The operator as a process beside the light cluster."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from free_ports import free_address
from light_cluster import PATIENCE, Json


class OperatorProcess:
    """The operator's process.

    Attributes:
        address: HOST:PORT of its pages.
        command: What starts it.
    """

    def __init__(self, kubeconfig: Path, folder: Path, config: Json) -> None:
        self.address = free_address()
        tls = config.get("healthTls")
        self._context = tls and ssl.create_default_context(cafile=f"{tls['folder']}/ca.crt")
        self._url = f"{'https' if tls else 'http'}://{self.address}"
        file = folder / "config.json"
        own = {"healthAddress": self.address, "restartsFile": str(folder / "restarts.json")}
        file.write_text(json.dumps(config | own))
        self._log = folder / "operator.log"
        self._environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "MOPT_OPERATOR_CONFIG": str(file),
            # kopf leaves its streams to the end of the process: told, but no error.
            "PYTHONWARNINGS": "error,default::ResourceWarning",
        }
        self.command = [sys.executable, "-m", "mopt_operator.main"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.page("readyz")
            except OSError:
                assert self._process.poll() is None, self.log()
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"not ready: {self.log()}")

    def page(self, name: str, token: str = "") -> str:
        """Return a page of its HTTP port.

        Raises:
            OSError: It does not answer, or not with 200.
        """
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"{self._url}/{name}", headers=shown)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:  # noqa: S310
            text: str = answer.read().decode()
            return text

    def metric(self, series: str) -> float:
        """Return the value of a series; 0 where there is none."""
        for line in self.page("metrics").splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return 0.0

    def stop(self) -> int:
        """End it as Kubernetes does; return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=30)

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=60)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def run(self) -> int:
        """Run until it ends by itself; return its exit code."""
        with self._log.open("ab") as log:
            ended = subprocess.run(
                self.command,
                env=self._environment,
                stdout=log,
                stderr=log,
                timeout=PATIENCE,
                check=False,
            )
        return ended.returncode

    def log(self) -> str:
        return self._log.read_text()

    def log_lines(self, count: int) -> list[str]:
        """Return the lines of the log, which are to be so many."""
        lines = self.log().splitlines()
        assert len(lines) == count, self.log()
        return lines
