"""A target that is to have a GPU and finds none ends at once, and says what to look at."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat, TargetKind
from mopt_api.jobs.plan import PLAN_VARIABLE, MeasurePlan, PlannedModel
from mopt_api.jobs.termination import ErrorSummary, decode
from mopt_api.objective import Objective
from mopt_api.reasons import REASONS, Reason
from mopt_optimizer.errors import GpuNotFound
from mopt_optimizer.machine.nvidia_gpus import visible_gpus
from mopt_optimizer.main import TERMINATION_VARIABLE, main
from mopt_optimizer.stages.measure.stage import measure

pytestmark = [
    pytest.mark.optimizer,
    pytest.mark.skipif(bool(visible_gpus()), reason="a GPU is here"),
]


def plan(output: Path) -> MeasurePlan:
    return MeasurePlan(
        target="l4",
        kind=TargetKind.GPU,
        model=PlannedModel(uri="file:///none", sha256="0" * 64, format=ModelFormat.ONNX),
        prepared=f"sha256:{'0' * 64}",
        inputs=[],
        dimensions={},
        variants=[],
        quality=[],
        objective=Objective(),
        benchmark=Benchmark(),
        output_uri=f"file://{output}",
    )


def test_nothing_is_fetched_before(tmp_path: Path) -> None:
    steps: list[str] = []
    with pytest.raises(GpuNotFound, match="target l4 is to have an NVIDIA GPU and has none"):
        measure(plan(tmp_path), {}, tmp_path, lambda step, *_, **__: steps.append(step))
    assert steps == []


def test_the_job_ends_as_acceleratornotfound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "termination"
    monkeypatch.setenv(TERMINATION_VARIABLE, str(told))
    monkeypatch.setenv(PLAN_VARIABLE, json.dumps(plan(tmp_path).to_api()))
    monkeypatch.setattr("mopt_optimizer.main.hide_environment", lambda: None)
    assert PLAN_VARIABLE in os.environ
    code = main(["measure", "--workdir", str(tmp_path)])
    assert code == REASONS[Reason.ACCELERATOR_NOT_FOUND].exit_code
    summary = decode(told.read_text())
    assert isinstance(summary, ErrorSummary)
    assert summary.error.reason is Reason.ACCELERATOR_NOT_FOUND
    assert "device plugin" in summary.error.message
