"""run.sh without a GPU, and what surrounds the GPU: real parts, real processes, a real model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from absent import write_hook
from bench.gpu import schedule
from bench.gpu.forms import Form, Mode, Type
from bench.gpu.models import Bundle
from bench.gpu.rows import Reader, Writer
from present import present

from mopt_api.enums import TargetKind
from mopt_optimizer.machine.nvidia_gpus import visible_gpus

pytestmark = [
    pytest.mark.optimizer,
    # torch's exporter about itself.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
ROOT = Path(__file__).resolve().parents[2]


def run(out: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(ROOT / "bench" / "gpu" / "run.sh"), str(out)],
        env=os.environ | {"PYTHON": sys.executable} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(bool(visible_gpus()), reason="a GPU is here")
def test_without_a_gpu_it_says_what_it_would_measure(small_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(out, MOPT_GPU_BUNDLE=str(small_bundle))
    assert done.returncode == 0, done.stderr
    assert "this is a rehearsal, nothing is measured" in done.stdout
    assert "would measure encoder, 1 layers of 32, 16 tokens" in done.stdout
    assert "  Linear in FP8, compiled" in done.stdout
    assert "would measure tests/gpu: test_engines" in done.stdout
    assert sorted(path.name for path in out.iterdir()) == ["gpu.json", "gpu.md"]
    record = json.loads((out / "gpu.json").read_text())
    assert record["machine"]["gpu"] is None
    planned = [row for row in record["rows"] if row["kind"] == "planned"]
    assert len(planned) == len(schedule.PARTS)
    assert "**Nothing here was measured.**" in (out / "gpu.md").read_text()


def test_without_a_bundle_it_says_what_makes_one(tmp_path: Path) -> None:
    done = run(tmp_path / "out", MOPT_GPU_BUNDLE=str(tmp_path / "none"))
    assert done.returncode == 2
    assert "run `make gpu-bundle` first" in done.stderr


def test_forms_are_measured_beside_fp32_and_judged(small_bundle: Path, tmp_path: Path) -> None:
    """The CPU stands where the GPU would: eager forms, no clock of its own, no memory, no NVML."""
    from bench.gpu.figures import measure_figures, open_subject
    from bench.gpu.timing import Host

    rows = tmp_path / "rows"
    subject = open_subject("transformer", Bundle.read(small_bundle), tmp_path, Host())
    measure_figures(
        schedule.Work.FIGURES,
        subject,
        "8.0",
        Writer(rows),
        only=lambda form: form.mode is Mode.EAGER,
    )
    found = Reader(rows)()
    measured = {(row["type"], row["batch"]): row for row in found if row["state"] == "measured"}
    assert set(measured) == {
        (kind, batch) for kind in ("FP32", "FP32 with TF32", "FP16", "BF16") for batch in (1, 128)
    }
    for (kind, batch), row in measured.items():
        (quality,) = row["quality"]
        assert quality["exact"] == (kind in ("FP32", "FP32 with TF32")), kind
        assert quality["passed"], kind
        assert row["latencyMs"]["calls"] >= len(row["samplesMs"]) > 0
        assert row["samplesPerSecond"] == pytest.approx(1e3 * batch / row["latencyMs"]["p50"])
        assert row["peakBytes"] is row["joulesPer1000"] is row["deviceMs"] is None
        assert set(row["baselineSamplesMs"]) == {"FP32, eager", "FP32 with TF32, eager"}
    (skipped,) = (row for row in found if row["state"] == "skipped")
    assert skipped["reason"] == "needs compute capability 8.9; here is 8.0"


def test_linear_in_eight_bits_is_that_of_the_product(small_bundle: Path, tmp_path: Path) -> None:
    import torch
    from bench.gpu.building import Workshop

    bundle = Bundle.read(small_bundle)
    path = bundle.program_file("transformer", tmp_path)
    workshop = Workshop(path, tmp_path, torch.device("cpu"))
    assert (workshop.layers.linear, workshop.layers.convolutions) == (6, 0)
    sample = torch.from_numpy(bundle.samples("transformer", tmp_path)[0]["tokens"])
    (exact,) = workshop.form(Form(Type.FP32), sample)(sample)
    (narrow,) = workshop.form(Form(Type.INT8), sample)(sample)
    error = float((exact - narrow).norm() / exact.norm())
    assert 0 < error < 0.05


def test_a_form_that_fails_is_a_row_with_its_reason(small_bundle: Path, tmp_path: Path) -> None:
    from bench.gpu import figures
    from bench.gpu.timing import Host

    subject = figures.open_subject("transformer", Bundle.read(small_bundle), tmp_path, Host())
    made = subject.workshop.form

    def broken(form: Form, example: Any) -> Any:
        if form.type is Type.FP16:
            raise RuntimeError("CUDA error: no kernel image is available\nmore")
        return made(form, example)

    subject.workshop.form = broken  # type: ignore[method-assign]
    rows = tmp_path / "rows"
    only = {Form(Type.FP16), Form(Type.BF16)}
    measure = figures.measure_figures
    measure(schedule.Work.FIGURES, subject, "9.0", Writer(rows), only=only.__contains__)
    states = [(row["type"], row["state"]) for row in Reader(rows)() if row["mode"] == "eager"]
    assert states == [("FP16", "failed"), ("BF16", "measured"), ("BF16", "measured")]


def test_the_stage_measures_and_leaves_its_report(small_bundle: Path, tmp_path: Path) -> None:
    """On the CPU what a GPU target's Jobs do, with what a borrowed machine lacks hidden."""
    hook = write_hook(tmp_path / "hook")
    script = (
        "import sys; from pathlib import Path; from mopt_api.enums import TargetKind; "
        "from bench.gpu.models import Bundle; from bench.gpu.rows import Writer; "
        "from bench.gpu.stage import run_stage; folder = Path(sys.argv[2]); "
        "run_stage('transformer', Bundle.read(Path(sys.argv[1])), folder, folder, "
        "Writer(folder / 'rows'), TargetKind.CPU, lambda name: not name.startswith('pytorch-'))"
    )
    paths = os.pathsep.join([str(hook), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(small_bundle), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (stage,) = (row for row in Reader(tmp_path / "rows")() if row["kind"] == "stage")
    found = {variant["name"]: variant for variant in stage["result"]["variants"]}
    assert found["onnxruntime-fp32"]["state"] == "Passed"
    assert found["tensorrt-fp16"]["state"] == "Skipped"
    points = {point["point"] for point in present(stage["result"]["baseline"])["points"]}
    assert points == {"single", "large"}
    assert (tmp_path / "report-transformer.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("kind", [TargetKind.GPU, TargetKind.CPU])
def test_plans_name_local_files(small_bundle: Path, tmp_path: Path, kind: TargetKind) -> None:
    from bench.gpu.stage import plans_of

    for name in ("super_resolution", "transformer"):
        told, spec, output = plans_of(name, Bundle.read(small_bundle), tmp_path, kind)
        assert told.model.uri.startswith("file:///")
        assert output.startswith("file:///")
        assert {point.name for point in spec.benchmark.points} == {"single", "large"}
