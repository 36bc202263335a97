"""The examples that `mopt run` takes: where they are, and how they are built."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from mopt_api.spec import ModelOptimizationSpec

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("frame_interpolation", "style_transfer", "text_embedding")


@dataclass(frozen=True)
class Example:
    """An example that was built.

    Attributes:
        digest: What its build printed.
        files: The folder that it was built into.
    """

    name: str
    digest: str
    files: Path

    @property
    def resource(self) -> Path:
        """The ModelOptimization."""
        return EXAMPLES / self.name / "resource.yaml"

    @property
    def spec(self) -> ModelOptimizationSpec:
        """What the resource asks for."""
        document = yaml.safe_load(self.resource.read_text())
        return ModelOptimizationSpec.model_validate(document["spec"])

    @property
    def model(self) -> Path:
        """The model file."""
        return self.files / Path(self.spec.model.uri).name


def build_example(name: str, folder: Path) -> Example:
    """Build an example as its README says."""
    program = EXAMPLES / name / "build.py"
    built = subprocess.run(
        [sys.executable, str(program), str(folder)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-2000:]
    return Example(name, built.stdout.split()[-1], folder)
