"""A registry that a test starts, the distribution project's, and crane to look at it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from free_ports import free_address
from token_server import ISSUER, SERVICE

from devcluster.certificates import Identity, Pki

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30
USER, PASSWORD = "test", "test-password"
# bcrypt of PASSWORD.
_HTPASSWD = f"{USER}:$2b$04$XYn9qYoz3McJ.XjraRQXOeLZ47PCeqtnjdUYErOsQiBYGS3FeX4Mm\n"
_ACCESS = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/1\.1" (?P<status>\d{3})')


def binary(name: str) -> str:
    """Return the path of registry or crane: from MOPT_NAME, PATH or hack/devcluster."""
    named = os.environ.get(f"MOPT_{name.upper()}") or shutil.which(name)
    if named:
        return named
    command = [sys.executable, str(ROOT / "hack" / "devcluster"), "binary", name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True)
class Request:
    """A line of the registry's access log."""

    method: str
    path: str
    status: int

    @property
    def writes(self) -> bool:
        """Whether it would have changed something."""
        return self.method not in ("GET", "HEAD")


@dataclass
class Registry:
    """A registry on a folder.

    Attributes:
        folder: Of its files; `storage` in it holds what is pushed.
        address: HOST:PORT.
        tls: It serves TLS; `ca` then is the authority's certificate.
        login: It asks for USER and PASSWORD.
        realm: Of a token service whose tokens it asks for; see token_server.
    """

    folder: Path
    address: str
    tls: bool = False
    login: bool = False
    realm: str | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    @property
    def log(self) -> Path:
        return self.folder / "registry.log"

    def repository(self, path: str = "models/test") -> str:
        return f"{self.address}/{path}"

    def start(self, *, read_only: bool = False) -> None:
        """Start it and wait until it answers."""
        self.storage.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.yml"
        config.write_text(yaml.safe_dump(self._config(read_only=read_only)))
        # Nothing of the environment configures it.
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("REGISTRY_", "OTEL_"))}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [binary("registry"), "serve", str(config)],
                env=environ | {"OTEL_TRACES_EXPORTER": "none"},
                stdout=log,
                stderr=log,
            )
        self._wait()

    def _config(self, *, read_only: bool) -> dict[str, Any]:
        http: dict[str, Any] = {"addr": self.address, "secret": "shared"}
        if self.tls:
            pki = self.pki()
            http["tls"] = {
                "certificate": str(pki.certificate("server")),
                "key": str(pki.key("server")),
            }
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.storage)},
                "delete": {"enabled": True},
                "maintenance": {"readonly": {"enabled": read_only}},
            },
            "http": http,
        }
        if self.realm is not None:
            config["auth"] = {
                "token": {
                    "realm": self.realm,
                    "service": SERVICE,
                    "issuer": ISSUER,
                    "rootcertbundle": str(self.ca),
                    "signingalgorithms": ["ES256"],
                }
            }
        elif self.login:
            (self.folder / "htpasswd").write_text(_HTPASSWD)
            realm = {"realm": "test", "path": str(self.folder / "htpasswd")}
            config["auth"] = {"htpasswd": realm}
        return config

    def pki(self) -> Pki:
        """Return its authority, and the certificate `server` that it signed."""
        pki = Pki(self.folder)
        if not self.ca.exists():
            pki.create_authority("ca")
            pki.issue("server", Identity("registry", names=("127.0.0.1", "localhost")))
        return pki

    def _wait(self) -> None:
        url = f"{'https' if self.tls else 'http'}://{self.address}/v2/"
        context = ssl.create_default_context(cafile=str(self.ca)) if self.tls else None
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2, context=context):  # noqa: S310
                    return
            except urllib.error.HTTPError:
                return
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(self.log.read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()
        self._process = None

    def restart(self, *, read_only: bool = False) -> None:
        self.stop()
        self.start(read_only=read_only)

    def requests(self) -> list[Request]:
        """Return what it was asked so far."""
        return [
            Request(found["method"], found["path"], int(found["status"]))
            for found in _ACCESS.finditer(self.log.read_text())
        ]

    def uploads(self) -> list[Request]:
        """Return the requests so far that change something."""
        return [request for request in self.requests() if request.writes]

    def write_auth(self, path: Path, *, password: str = PASSWORD) -> Path:
        """Write credentials as a Secret of type dockerconfigjson has them, and ca.crt beside."""
        path.parent.mkdir(parents=True, exist_ok=True)
        auth = login_of(password)
        path.write_text(json.dumps({"auths": {self.address: {"auth": auth}}}))
        if self.tls:
            path.with_name("ca.crt").write_bytes(self.ca.read_bytes())
        return path

    def crane(self, *arguments: str) -> bytes:
        """Return what crane prints; of a registry without login."""
        return subprocess.run(
            [binary("crane"), *arguments, "--insecure"], check=True, capture_output=True
        ).stdout

    def manifest(self, reference: str) -> dict[str, Any]:
        """Return a manifest or index, as crane gets it."""
        found: dict[str, Any] = json.loads(self.crane("manifest", reference))
        return found


def login_of(password: str = PASSWORD) -> str:
    """Return USER and a password as HTTP has them."""
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


@contextmanager
def running_registry(
    folder: Path, *, tls: bool = False, login: bool = False, read_only: bool = False
) -> Iterator[Registry]:
    """Give a registry that runs; its files lie in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    registry = Registry(folder, free_address(), tls=tls, login=login)
    registry.start(read_only=read_only)
    try:
        yield registry
    finally:
        if registry._process is not None:
            registry.stop()


@contextmanager
def running_referrers() -> Iterator[str]:
    """Give HOST:PORT of a registry in memory that has the API of referrers."""
    with subprocess.Popen([binary("referrers")], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
