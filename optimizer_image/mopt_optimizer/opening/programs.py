"""Writing a program to a file that may not have the room for it."""

from __future__ import annotations

import io
from pathlib import Path

from torch.export import ExportedProgram, save

from mopt_optimizer.store.writing import disk_errors


def write_program(program: ExportedProgram, path: Path) -> None:
    """Write what torch.export.save writes.

    It is written to memory first: where a write fails, torch's zip writer ends the process
    (std::terminate from its destructor, torch 2.15).

    Raises:
        DiskError: No space; the file may be incomplete.
    """
    buffer = io.BytesIO()
    save(program, buffer)
    with disk_errors(str(path)):
        path.write_bytes(buffer.getbuffer())
