"""Fakes that libraries are not installed, by a hook in front of every import."""

from __future__ import annotations

import sys
from pathlib import Path

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
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NAMES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


class Absent:
    """A finder that finds none of NAMES."""

    def find_spec(self, name: str, *_: object) -> None:
        """Raise for those; leave others to the next finder."""
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def loaded() -> list[str]:
    """Return the modules of NAMES, and below, that are loaded already."""
    return [name for name in sys.modules if name.partition(".")[0] in NAMES]


def write_hook(folder: Path) -> Path:
    """Write what every Python below a process with this folder on PYTHONPATH starts with."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    return folder
