"""What a recipe gets: a subject's files, and a folder to write to. Runs in both environments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from samples import Sample, read_samples


class RefusedByTool(Exception):
    """A tool ended without an error and without having done anything; says so."""


def library(name: str) -> Any:
    """Return a module without types: the peers are not installed where types are checked."""
    return import_module(name)


@dataclass(frozen=True)
class Work:
    """One recipe's task.

    Attributes:
        subject: Folder of the subject.
        folder: To write to; its own.
    """

    subject: Path
    folder: Path

    @property
    def source(self) -> Path:
        """The FP32 ONNX file."""
        return self.subject / "source.onnx"

    @property
    def target(self) -> Path:
        """Where an ONNX file is written to."""
        return self.folder / "model.onnx"

    @property
    def program(self) -> Path:
        """The PyTorch program.

        Raises:
            RefusedByTool: The subject comes as ONNX only.
        """
        path = self.subject / "model.pt2"
        if not path.is_file():
            raise RefusedByTool("no PyTorch program: this model comes as ONNX only")
        return path

    @cached_property
    def samples(self) -> list[Sample]:
        """The calibration samples."""
        return read_samples(self.subject / "calibration.npz")

    @cached_property
    def evaluation(self) -> list[Sample]:
        """The evaluation samples; no tool gets them."""
        return read_samples(self.subject / "evaluation.npz")

    @cached_property
    def truth(self) -> list[Sample]:
        """The right answers of each evaluation sample; empty where they are not known."""
        path = self.subject / "truth.npz"
        return read_samples(path) if path.is_file() else []

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Inputs and dimensions as the resource declares them, and the middle gate."""
        facts: dict[str, Any] = json.loads((self.subject / "subject.json").read_text())
        return facts
