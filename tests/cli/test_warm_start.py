"""`mopt run` on a network that was trained again: what other weights outran is not made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Mopt
from overexposed import SIZE, classifier, pictures

from mopt_api.enums import ObjectiveMetric
from mopt_api.figures import VariantState
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.plan import Credentials
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.verdict import Compared, Stopped, Verdict
from mopt_optimizer.stages.history import remember
from mopt_optimizer.stages.verdict import read_result, result_bytes
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

pytestmark = pytest.mark.optimizer

FASTEST = "openvino-fp32"
GATE = {"metric": "SQNR", "minimum": 20}


def as_if(result: MeasureResult) -> MeasureResult:
    """Return a measurement as if FP32 in OpenVINO had been four times as fast as all else: how fast
    they are here is no matter of a test."""

    def timed(row: VariantResult) -> VariantResult:
        ratio = 4.0 if row.name == FASTEST else 1.0
        over = Compared(
            than="baseline",
            metric=ObjectiveMetric.LATENCY_P50,
            ratio=ratio,
            interval=[ratio * 0.99, ratio * 1.01],
        )
        points = [p.model_copy(update={"compared": [over], "unstable": False}) for p in row.points]
        return row.model_copy(update={"points": points})

    assert result.baseline is not None
    calm = [p.model_copy(update={"unstable": False}) for p in result.baseline.points]
    return result.model_copy(
        update={
            "baseline": result.baseline.model_copy(update={"points": calm}),
            "variants": [timed(row) for row in result.variants],
            "selected": FASTEST,
            "verdict": Verdict(winner=FASTEST, stopped=Stopped.DECIDED),
        }
    )


class Weeks:
    """Runs of a classifier with the weights of some week, into one store."""

    def __init__(self, mopt: Mopt, folder: Path, file: Path) -> None:
        self._mopt = mopt
        self._folder = folder
        self._file = file
        self.blobs = Blobs(*open_store(f"file://{folder}/out", Credentials.OUTPUT, {}))
        pictures(folder / "calibration", 12, seed=1, exposure=1.0)
        pictures(folder / "evaluation", 4, seed=2, exposure=1.0)

    def run(self, week: int, **environ: str) -> Run:
        model = self._folder / f"{week}.onnx"
        if not model.exists():
            classifier(model, seed=week)
        done = self._mopt(
            *("run", self._file, "--model", model, "--output", "out", "-o", "json"),
            *("--calibration", "calibration", "--evaluation", "evaluation"),
            **environ,
        )
        assert done.returncode == 0, done.stderr
        return Run(self.blobs, json.loads(done.stdout)["report"]["digest"], done.stderr)

    def files(self) -> dict[Path, int]:
        """Return what lies in the store, and when it was written."""
        return {path: path.stat().st_mtime_ns for path in (self._folder / "out").rglob("*")}


class Run:
    """What a run came to."""

    def __init__(self, blobs: Blobs, digest: str, log: str) -> None:
        self.digest = digest
        self.log = log
        self.result = read_result(blobs, digest)
        self.manifest = PrepareResult.model_validate_json(blobs.read(self.result.prepared))
        self.rows = {row.name for row in self.result.variants}
        self.made = {artifact.name for artifact in self.manifest.artifacts}


@pytest.fixture
def weeks(mopt: Mopt, tmp_path: Path, write: Callable[..., Path]) -> Weeks:
    file = write(
        model=None,
        inputs=[{"name": "image", "shape": ["batch", 3, SIZE, SIZE]}],
        dimensions={"batch": {"min": 1, "opt": 1, "max": 4}},
        quality=[GATE],
    )
    return Weeks(mopt, tmp_path, file)


def test_new_weights_start_from_the_last_ones(weeks: Weeks) -> None:
    first = weeks.run(1)
    assert {FASTEST, "onnxruntime-fp32", "openvino-int8", "openvino-int8-nncf"} <= first.rows
    assert len(first.made) > 2
    assert first.manifest.outrun == {}
    told = as_if(first.result)
    digest = weeks.blobs.put_bytes(result_bytes(told))
    remember(weeks.blobs, first.manifest, digest, told)

    second = weeks.run(2)
    assert second.manifest.graph == first.manifest.graph
    assert second.result.source.sha256 != first.result.source.sha256
    lost = {
        row.name
        for row in told.variants
        if row.name != FASTEST and (row.state is VariantState.PASSED or row.reason == "TooSlow")
    }
    assert len(lost) > 2
    assert second.rows == first.rows - lost
    assert second.made < first.made
    assert second.result.selected in {FASTEST, "baseline"}
    not_tried = {e.variant: e.reason for e in second.result.search if not e.taken}
    for name in lost:
        assert digest in not_tried[name]
        assert f"{name} is not made for CPU: " in second.log

    # The same again is served whole, though the store knows more now.
    before = weeks.files()
    again = weeks.run(2)
    assert again.digest == second.digest
    assert " 0 steps built" in again.log
    assert weeks.files() == before
    # So are the first weights, which were measured in full.
    assert weeks.run(1).digest == first.digest

    # Who asks anew starts from nothing.
    anew = weeks.run(2, MOPT_REQUESTED_AT="2026-11-30T00:00:00Z")
    assert (anew.rows, anew.manifest.outrun) == (first.rows, {})
