"""A small valid spec that tests alter."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def spec() -> dict[str, Any]:
    """Return a valid spec in wire form."""
    return {
        "model": {"uri": "s3://models/m.pt2", "sha256": "0" * 64, "format": "ExportedProgram"},
        "inputs": [{"name": "image", "shape": ["batch", 3, "height", "width"]}],
        "dimensions": {
            "batch": {"min": 1, "opt": 1, "max": 8},
            "height": {"min": 32, "opt": 64, "max": 128, "multipleOf": 32},
            "width": {"min": 32, "opt": 64, "max": 128},
        },
        "data": {"evaluation": {"uri": "s3://data/evaluation/"}},
        "quality": [{"metric": "PSNR", "minimum": 40}],
        "benchmark": {"points": [{"name": "tile", "dimensions": {"batch": 1}}]},
        "objective": {"point": "tile"},
    }
