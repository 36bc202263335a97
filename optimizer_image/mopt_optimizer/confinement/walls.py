"""What encloses a child: decided by its parent, put up by its first code. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from mopt_api.sandbox import SandboxMode


@dataclass(frozen=True)
class Walls:
    """What a child may reach. Everything else is closed to it: files, sockets, other processes.

    Attributes:
        folder: Its own, the only place that it may write to.
        read: Files and folders that it may read beside the system's and Python's libraries.
        programs: Whether it may start programs: PyTorch's compiler calls g++.
        forks: Whether it may be several processes, all of its own code: copies of it.
        gpu: Whether it may use the device files of GPUs.
        mode: What to do where a wall cannot be put up.
        file_bytes: Largest file that it may write; None is without end.
    """

    folder: str
    read: tuple[str, ...] = ()
    programs: bool = False
    gpu: bool = False
    mode: SandboxMode = SandboxMode.REQUIRED
    file_bytes: int | None = None
    forks: bool = False

    def to_json(self) -> str:
        """Return it as the child's first code reads it."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Walls:
        """Return what to_json wrote."""
        values: dict[str, Any] = json.loads(text)
        mode = SandboxMode(values.pop("mode"))
        return cls(**{**values, "read": tuple(values["read"]), "mode": mode})
