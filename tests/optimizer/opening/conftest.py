"""Attacks are made from a real .pt2: one thing in it is changed, the rest stays valid."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MODEL = "models/model.json"
Edit = Callable[[dict[str, Any]], None]
Tamper = Callable[..., Path]


@pytest.fixture
def tamper(upscaler_pt2: Path, tmp_path: Path) -> Tamper:
    """Return what writes a changed copy of the model.

    Its arguments: `records`, bytes by name below the top folder (None removes one);
    `edit`, called with the parsed program.
    """

    def tamper(*, records: dict[str, bytes | None] | None = None, edit: Edit | None = None) -> Path:
        path = tmp_path / "tampered.pt2"
        changes = dict(records or {})
        with zipfile.ZipFile(upscaler_pt2) as source, zipfile.ZipFile(path, "w") as target:
            top = source.namelist()[0].partition("/")[0]
            for entry in source.infolist():
                name = entry.filename.partition("/")[2]
                content: bytes | None = source.read(entry)
                if name == MODEL and edit is not None:
                    program = json.loads(source.read(entry))
                    edit(program)
                    content = json.dumps(program).encode()
                content = changes.pop(name, content)
                if content is not None:
                    target.writestr(f"{top}/{name}", content)
            for name, content in changes.items():
                target.writestr(f"{top}/{name}", content or b"")
        return path

    return tamper


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """A path that every attack would create if it ran."""
    return tmp_path / "ran"
