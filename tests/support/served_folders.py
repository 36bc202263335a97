"""Folders of a small real network as `mopt export --as files` writes them, and servers of them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from free_ports import free_port
from served_forms import result

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.enums import Precision, Runtime
from mopt_optimizer.digests import file_digest
from mopt_optimizer.serving import (
    Layout,
    read_signature,
    served_form,
    signature_request,
    tree_of,
)

DIMENSIONS = {
    "batch": {"min": 1, "opt": 1, "max": 4},
    "height": {"min": 16, "opt": 24, "max": 64},
    "width": {"min": 16, "opt": 32, "max": 64},
}
INPUTS = [{"name": "image", "shape": ["batch", 3, "height", "width"]}]
_FORMATS = {
    ".onnx": ArtifactFormat.ONNX,
    ".pt2": ArtifactFormat.EXPORTED_PROGRAM,
    ".ts": ArtifactFormat.TORCH_SCRIPT,
}
_READY_SECONDS = 120


def write_folder(
    folder: Path,
    model: Path,
    runtime: Runtime,
    precision: Precision = Precision.FP32,
    *,
    layout: Layout = Layout.FILES,
    threads: int = 1,
    dimensions: Mapping[str, Mapping[str, int]] = DIMENSIONS,
) -> Path:
    """Write a form of tests/support/model_files as a folder that is served."""
    artifact = Artifact(
        digest=file_digest(model),
        size_bytes=model.stat().st_size,
        format=_FORMATS[model.suffix],
    )
    inputs = [dict(spec) for spec in INPUTS]
    measured = result(
        runtime,
        precision,
        artifact=artifact,
        inputs=inputs,
        dimensions=dict(dimensions),
        hardware={"threads": threads},
    )
    signature = read_signature(signature_request(measured, artifact, model))
    form = served_form(measured, None, signature, name="upscaler")
    for path, content in tree_of(layout, form).items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else model.read_bytes())
    return folder


@dataclass(frozen=True)
class Served:
    """A running server."""

    process: subprocess.Popen[bytes]
    log: Path
    http_port: int
    grpc_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"


@contextmanager
def serving(folder: Path, *options: str, command: tuple[str, ...] = ()) -> Iterator[Served]:
    """Run the server of a folder in a process of its own until it is ready, and end it."""
    http, grpc = free_port(), free_port()
    program = command or (sys.executable, "-P", "-m", "mopt_optimizer.server")
    arguments = [*program, str(folder), f"--http-port={http}", f"--grpc-port={grpc}", *options]
    with (
        tempfile.NamedTemporaryFile() as log,
        subprocess.Popen(arguments, stderr=log, stdout=log, stdin=subprocess.DEVNULL) as process,
    ):
        served = Served(process, Path(log.name), http, grpc)
        try:
            _wait(served)
            yield served
        finally:
            process.terminate()
            process.wait(60)


def _wait(served: Served) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if served.process.poll() is not None:
            raise AssertionError(f"the server ended: {served.log.read_text()}")
        try:
            urllib.request.urlopen(f"{served.url}/v2/health/ready", timeout=5).close()  # noqa: S310
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server is not ready")
