"""What forms are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mopt_api.spec import QualityGate
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.onnx_files.verify import Case

from .checking import Beside


@dataclass(frozen=True)
class Material:
    """What forms are made from.

    Attributes:
        fp32: The prepared ONNX model.
        source: The source model's file.
        samples: Calibration data; may be empty.
        cases: What the source computes; see verified_inputs.
        beside: What each form is compared with before it counts as made.
    """

    fp32: Path
    source: Path
    samples: Sequence[Inputs]
    gates: Sequence[QualityGate]
    cases: Sequence[Case]
    beside: Beside = field(default_factory=Beside)
