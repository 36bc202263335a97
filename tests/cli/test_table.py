"""What `mopt table` prints of a result."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from mopt_cli.table import render

GATE = "worst PSNR 31.00 is below 40"


def shown(**target: Any) -> str:
    plain = {
        "name": "default",
        "hardware": {"cpu": "Test CPU", "threads": 2},
        "point": "opt",
        "report": {"digest": "sha256:0", "uri": "s3://out/blobs/sha256/0"},
    }
    printed = io.StringIO()
    console = Console(file=printed, width=200)
    console.print(render({"status": {"targets": [plain | target]}}))
    return printed.getvalue()


def variant(name: str, worst: float, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "runtime": "ONNXRuntime",
        "precision": "FP32",
        "state": "Passed",
        "quality": [{"metric": "PSNR", "worst": worst, "mean": worst}],
    } | fields


def line(text: str, name: str) -> list[str]:
    return next(row for row in text.splitlines() if row.strip().startswith(name)).split()


def test_ground_truth_is_named_and_a_rejected_baseline_explained() -> None:
    rejected = {"state": "Rejected", "reason": "QualityGate", "message": GATE}
    text = shown(
        reference="GroundTruth",
        baseline=variant("baseline", 31, **rejected),
        variants=[variant("ort", 30.9, **rejected)],
    )
    assert "target default: Test CPU, 2 threads, point opt, quality against ground truth" in text
    assert line(text, "baseline")[1] == "Rejected"
    assert f"baseline: QualityGate: {GATE}" in text


def test_a_baseline_that_passes_shows_no_state() -> None:
    text = shown(reference="Baseline", baseline=variant("baseline", 31))
    assert "ground truth" not in text
    assert "Passed" not in text
