"""Hostile model files are made from real ones: each differs from a valid file in one thing.

Each must end in a typed error of a named reason, within seconds and gigabytes: a file that is
hostile in what it would run, in UnsafeModel; one that is damaged or too much work, in InvalidModel.
"""

from __future__ import annotations

import io
import json
import resource
import signal
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mopt_optimizer.errors import ModelError

SECONDS = 20
EXTRA_BYTES = 3 * 2**30

Json = dict[str, Any]
Records = dict[str, bytes]


@dataclass(frozen=True)
class Archive:
    """A zip file's records by name below its top folder; a copy is written with changes."""

    top: str
    records: Records

    def write(self, path: Path, changes: dict[str, bytes | None] | None = None) -> Path:
        """Write it; None leaves a record out."""
        with zipfile.ZipFile(path, "w") as target:
            for name, content in {**self.records, **(changes or {})}.items():
                if content is not None:
                    target.writestr(f"{self.top}/{name}", content)
        return path


def archive_of(content: bytes) -> Archive:
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        names = source.namelist()
        top = names[0].partition("/")[0]
        return Archive(top, {n.partition("/")[2]: source.read(n) for n in names})


@pytest.fixture(scope="session")
def program() -> Archive:
    """A .pt2 with two inputs of a dynamic size, two weights and a buffer."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 3)
            self.register_buffer("scale", torch.ones(3))

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.linear(x)) * self.get_buffer("scale") + y

    rows = torch.export.Dim("rows", min=2, max=64)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        exported = torch.export.export(
            Network().eval(),
            (torch.rand(4, 4), torch.rand(4, 3)),
            dynamic_shapes={"x": {0: rows}, "y": {0: rows}},
        )
        torch.export.save(exported, buffer)
    return archive_of(buffer.getvalue())


@pytest.fixture(scope="session")
def script() -> Archive:
    """A TorchScript file of one module with a submodule."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = torch.relu(self.inner(x))
            return y

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so
        traced = torch.jit.trace(Network().eval(), torch.rand(1, 3, 4, 4))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, buffer)
    return archive_of(buffer.getvalue())


def edited(program: Archive, edit: Callable[[Json], None]) -> dict[str, bytes | None]:
    """Return the change of a program whose JSON was edited."""
    document = json.loads(program.records["models/model.json"])
    edit(document)
    return {"models/model.json": json.dumps(document).encode()}


@contextmanager
def bounded() -> Iterator[None]:
    """Fail what takes too long, and refuse it memory beyond what it should need."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took more than {SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + EXTRA_BYTES
    handler = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, handler)


def outcome(open_file: Callable[[], object]) -> ModelError | None:
    """Return the typed error that opening a file ends in, None where it opens; raise any other."""
    with bounded():
        try:
            open_file()
        except ModelError as error:
            message = str(error)
            assert message
            assert len(message) < 2000, "a message that holds the file"
            return error
    return None
