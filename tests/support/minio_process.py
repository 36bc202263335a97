"""A MinIO that a test starts, kills and starts again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30


def minio_binary() -> str:
    named = os.environ.get("MOPT_MINIO") or shutil.which("minio")
    if named:
        return named
    command = [sys.executable, str(ROOT / "hack" / "devcluster"), "binary", "minio"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class MinioProcess:
    """One server on a folder, not started.

    Args:
        folder: Of its objects; its log lies beside it.
        address: HOST:PORT.
        settings: Variables of its environment.
    """

    def __init__(
        self,
        folder: Path,
        address: str,
        *,
        access_key: str,
        secret_key: str,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._command = [minio_binary(), "server", str(folder), "--address", address, "--quiet"]
        self._environ = os.environ | {
            "MINIO_ROOT_USER": access_key,
            "MINIO_ROOT_PASSWORD": secret_key,
            "MINIO_BROWSER": "off",
            **settings,
        }
        self._ready = f"http://{address}/minio/health/ready"
        self._log = folder.parent / "minio.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(self._ready, timeout=2):  # noqa: S310
                    return
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()
