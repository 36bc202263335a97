"""Fakes that libraries are not installed, by a hook in front of every import."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

NAMES = (
    "openvino",
    "nncf",
    "onnxoptimizer",
    "onnxslim",
    "minio",
    "tensorrt",
    "tensorrt_rtx",
)
"""What mopt_optimizer can do without."""

HOOK = f"""
import sys

class Absent:
    def __init__(self, finder):
        self._finder = finder

    def find_spec(self, name, *rest):
        hidden = name.partition(".")[0] in {NAMES!r}
        return None if hidden else self._finder.find_spec(name, *rest)

    def __getattr__(self, name):
        return getattr(self._finder, name)

sys.meta_path[:] = [Absent(finder) for finder in sys.meta_path]
"""


def finders() -> list[Any]:
    """Return what sys.meta_path holds, each finding none of NAMES: as if they were not installed.

    None of them raises: libraries ask whether others are there, as torch does.
    """
    return [_Absent(finder) for finder in sys.meta_path]


class _Absent:
    def __init__(self, finder: Any) -> None:
        self._finder = finder

    def find_spec(self, name: str, *rest: Any) -> Any:
        """Return None for those; ask the finder for others."""
        hidden = name.partition(".")[0] in NAMES
        return None if hidden else self._finder.find_spec(name, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def loaded() -> list[str]:
    """Return the modules of NAMES, and below, that are loaded already."""
    return [name for name in sys.modules if name.partition(".")[0] in NAMES]


def write_hook(folder: Path) -> Path:
    """Write what every Python below a process with this folder on PYTHONPATH starts with."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    return folder
