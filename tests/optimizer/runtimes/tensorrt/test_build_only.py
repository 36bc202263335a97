"""A BuildOnly target through its Jobs: real engines, judged by what ONNX Runtime computes."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from present import present

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import Precision, Runtime, TargetKind
from mopt_api.figures import VariantReason, VariantState
from mopt_api.jobs.measure_result import QUALITY_OF_ENGINE, MeasureResult, VariantResult
from mopt_api.jobs.plan import Credentials, MeasurePlan, measure_plan, prepare_plan
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.variants import Variant
from mopt_optimizer.errors import BaselineError, SpecError, TensorRTNotInstalled
from mopt_optimizer.runtimes.tensorrt.manifest import EngineManifest
from mopt_optimizer.stages.artifacts import intact
from mopt_optimizer.stages.engines import stage as build_only
from mopt_optimizer.stages.engines.stage import build_engines
from mopt_optimizer.stages.prepare.stage import prepare
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch's exporter
]
pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

CAPABILITIES = ["8.6", "8.9", "12.0"]
VARIANTS: list[dict[str, Any]] = [
    {"name": "fp16", "runtime": "TensorRT", "precision": "FP16"},
    {"name": "int8", "runtime": "TensorRT", "precision": "INT8"},
    {"name": "bf16", "runtime": "TensorRT", "precision": "BF16"},
    {"name": "fp8", "runtime": "TensorRT", "precision": "FP8"},
    {"name": "openvino", "runtime": "OpenVINO", "precision": "FP32"},
]


@dataclass
class Bench:
    """A prepared model, and runs of the stage on it."""

    plan: MeasurePlan
    root: Path

    @property
    def blobs(self) -> Blobs:
        return Blobs(*open_store(self.plan.output_uri, Credentials.OUTPUT, {}))

    def build(
        self, workdir: Path, environ: dict[str, str] | None = None, **changes: Any
    ) -> tuple[MeasureResult, str, list[str]]:
        """Return result, digest and log of a run."""
        lines: list[str] = []
        workdir.mkdir()
        told = self.plan.model_copy(update=changes)
        result, digest = build_engines(
            told,
            dict(os.environ) | (environ or {}),
            workdir,
            lambda step, message, **_: lines.append(f"{step}: {message}"),
        )
        return result, digest, lines


@pytest.fixture(scope="module")
def bench(upscaler_pt2: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The small network, prepared."""
    root = tmp_path_factory.mktemp("bench")
    data = {"uri": "s3://data/x/", "samples": 2}
    spec = ModelOptimizationSpec.model_validate(
        {
            "model": {
                "uri": "s3://models/model.pt2",
                "sha256": hashlib.sha256(upscaler_pt2.read_bytes()).hexdigest(),
                "format": "ExportedProgram",
            },
            "inputs": [{"name": "image", "shape": ["batch", 3, "height", "width"]}],
            "dimensions": {
                "batch": {"min": 1, "opt": 1, "max": 2},
                "height": {"min": 16, "opt": 48, "max": 64},
                "width": {"min": 16, "opt": 64, "max": 64},
            },
            "data": {"calibration": data, "evaluation": data},
            "variants": VARIANTS,
            "quality": [{"metric": "PSNR", "minimum": 30}],
        }
    )

    def local(plan: Any) -> Any:
        changes = {"model": plan.model.model_copy(update={"uri": f"file://{upscaler_pt2}"})}
        for name in ("calibration", "evaluation"):
            if (found := getattr(plan, name, None)) is not None:
                changes[name] = found.model_copy(update={"uri": f"file://{photographs}"})
        return plan.model_copy(update=changes)

    uri, kind = f"file://{root / 'out'}", TargetKind.BUILD_ONLY
    preparing = local(prepare_plan(spec, uri, kinds=(kind,)))
    _, prepared = prepare(preparing, dict(os.environ), root, lambda *_, **__: None)
    plan = measure_plan(
        spec,
        target="rtx",
        prepared=prepared,
        output_uri=uri,
        kind=kind,
        compute_capabilities=CAPABILITIES,
    )
    return Bench(local(plan), root)


@pytest.fixture(scope="module")
def built(bench: Bench) -> tuple[MeasureResult, str, list[str]]:
    return bench.build(bench.root / "work")


def by_name(result: MeasureResult) -> dict[str, VariantResult]:
    return {variant.name: variant for variant in result.variants}


def test_engines_are_built_and_nothing_is_measured(
    built: tuple[MeasureResult, str, list[str]], bench: Bench
) -> None:
    result, digest, _ = built
    assert (result.baseline, result.selected, result.objective_point) == (None, None, None)
    assert result.software["tensorrt_rtx"]
    assert MeasureResult.model_validate_json(bench.blobs.read(digest)) == result
    found = by_name(result)
    assert list(found) == [v["name"] for v in VARIANTS]
    for name in ("fp16", "int8", "bf16"):
        engine = found[name]
        assert (engine.state, engine.reason) == (VariantState.BUILT, None)
        assert (engine.points, engine.speedup, engine.peak_memory_bytes) == ([], None, None)
        artifact = engine.artifact
        assert artifact is not None
        assert artifact.format is ArtifactFormat.TENSORRT_ENGINE
        assert intact(bench.blobs, artifact)
        (beside,) = present(artifact.external_data)
        manifest = EngineManifest.model_validate_json(bench.blobs.read(beside.digest))
        assert manifest.digest == artifact.digest
        assert manifest.compute_capabilities == CAPABILITIES
        assert manifest.layer_datatypes == engine.layer_datatypes
        (image,) = manifest.inputs
        assert (image.minimum, image.optimum, image.maximum) == (
            [1, 3, 16, 16],
            [1, 3, 48, 64],
            [2, 3, 64, 64],
        )
    assert (found["int8"].layer_datatypes or {}).get("INT8", 0) > 0
    assert (found["fp16"].layer_datatypes or {}).get("FP16", 0) > 0
    assert (found["bf16"].layer_datatypes or {}).get("BF16", 0) > 0


def test_a_precision_is_built_for_the_gpus_that_have_it(
    built: tuple[MeasureResult, str, list[str]], bench: Bench
) -> None:
    fp8 = by_name(built[0])["fp8"]
    assert fp8.state is VariantState.BUILT
    assert (fp8.message or "").startswith("for 8.9, 12.0 only; ")
    (beside,) = present(present(fp8.artifact).external_data)
    manifest = EngineManifest.model_validate_json(bench.blobs.read(beside.digest))
    assert manifest.compute_capabilities == ["8.9", "12.0"]


def test_quality_is_onnx_runtime_s_where_it_has_kernels(
    built: tuple[MeasureResult, str, list[str]],
) -> None:
    found = by_name(built[0])
    for name in ("fp16", "int8"):
        (psnr,) = found[name].quality
        assert psnr.per_sample is not None
        assert len(psnr.per_sample) == 2
        assert 30 < psnr.worst < 150
        assert found[name].message == QUALITY_OF_ENGINE
    assert found["int8"].quality[0].worst < found["fp16"].quality[0].worst
    assert found["bf16"].quality == []
    assert "ONNX Runtime does not run its file" in (found["bf16"].message or "")


def test_what_is_no_engine_is_skipped(built: tuple[MeasureResult, str, list[str]]) -> None:
    openvino = by_name(built[0])["openvino"]
    assert (openvino.state, openvino.reason) == (
        VariantState.SKIPPED,
        VariantReason.NO_ACCELERATOR,
    )
    assert openvino.artifact is None


def test_the_page_tells_of_the_engines(
    built: tuple[MeasureResult, str, list[str]], bench: Bench
) -> None:
    page = (bench.root / "out" / "reports" / f"{built[1].removeprefix('sha256:')}.html").read_text()
    assert "4 engines are built" in page
    assert "layers read" in page


def test_the_second_run_is_served_from_the_store(
    built: tuple[MeasureResult, str, list[str]], bench: Bench, tmp_path: Path
) -> None:
    result, digest, log = bench.build(tmp_path / "w")
    assert result.served_from_store
    assert (result.model_copy(update={"served_from_store": False}), digest) == built[:2]
    assert any("served from the store: measured before" in line for line in log)
    # Asked for again, quality is computed anew, and every engine is the stored one.
    again, _, log = bench.build(tmp_path / "again", {"MOPT_REQUESTED_AT": "later"})
    for name in ("fp16", "int8", "bf16"):
        assert f"build: {name}: served from the store" in log
        assert by_name(again)[name].artifact == by_name(result)[name].artifact


def test_a_damaged_engine_is_built_again(bench: Bench, tmp_path: Path) -> None:
    one: dict[str, Any] = {"compute_capabilities": ["8.6"], "evaluation": None, "quality": []}
    one["variants"] = bench.plan.variants[:1]
    first = by_name(bench.build(tmp_path / "first", **one)[0])["fp16"].artifact
    assert first is not None
    path = bench.root / "out" / "blobs" / first.digest.replace(":", "/")
    path.write_bytes(b"damaged")
    result, _, log = bench.build(tmp_path / "second", **one)
    assert "build: fp16: built" in log
    second = by_name(result)["fp16"].artifact
    assert second is not None
    assert intact(bench.blobs, second)


def test_other_gpus_are_another_engine(bench: Bench, tmp_path: Path) -> None:
    fewer: dict[str, Any] = {"variants": bench.plan.variants[:1], "compute_capabilities": ["8.9"]}
    result, _, log = bench.build(tmp_path / "w", **fewer, evaluation=None, quality=[])
    assert "build: fp16: built" in log
    artifact = by_name(result)["fp16"].artifact
    assert artifact is not None
    (beside,) = present(artifact.external_data)
    manifest = EngineManifest.model_validate_json(bench.blobs.read(beside.digest))
    assert manifest.compute_capabilities == ["8.9"]


def test_an_engine_that_misses_a_gate_is_rejected_and_other_gates_take_it(
    built: tuple[MeasureResult, str, list[str]], bench: Bench, tmp_path: Path
) -> None:
    worst = by_name(built[0])["int8"].quality[0].worst
    gate = bench.plan.quality[0].model_copy(update={"minimum": worst + 1})
    strict, _, log = bench.build(tmp_path / "strict", quality=[gate])
    assert any("judged again" in line for line in log)
    int8 = by_name(strict)["int8"]
    assert (int8.state, int8.reason) == (VariantState.REJECTED, VariantReason.QUALITY_GATE)
    assert by_name(strict)["fp16"].state is VariantState.BUILT
    lenient, _, _ = bench.build(tmp_path / "lenient")
    assert by_name(lenient) == by_name(built[0])


def test_without_evaluation_data_nothing_is_known_of_quality(bench: Bench, tmp_path: Path) -> None:
    only = bench.plan.variants[:1]
    result, _, _ = bench.build(tmp_path / "w", variants=only, evaluation=None, quality=[])
    (engine,) = result.variants
    assert (engine.state, engine.quality) == (VariantState.BUILT, [])
    assert "there is no data.evaluation" in (engine.message or "")
    assert result.reference is None


def test_precision_that_none_of_the_gpus_has_is_skipped(bench: Bench, tmp_path: Path) -> None:
    fp8 = Variant(name="fp8", runtime=Runtime.TENSORRT, precision=Precision.FP8)
    plain: dict[str, Any] = {"variants": [fp8], "evaluation": None, "quality": []}
    result, _, _ = bench.build(tmp_path / "w", compute_capabilities=["8.6"], **plain)
    (skipped,) = result.variants
    assert (skipped.state, skipped.reason) == (VariantState.SKIPPED, VariantReason.NO_NATIVE_FP8)


def test_a_process_that_dies_costs_its_variant_alone(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fragile"
    package.mkdir()
    (package / "fragile_child.py").write_text(
        "import os, sys\n"
        "from mopt_optimizer.sandbox import serve\n"
        "from mopt_optimizer.stages.engines.worker import handle\n"
        "def fragile(request, workdir, log):\n"
        "    assert not [name for name in os.environ if 'SECRET_ACCESS_KEY' in name]\n"
        "    if request['precision'] == 'FP16':\n"
        "        os.abort()\n"
        "    return handle(request, workdir, log)\n"
        "sys.exit(serve(fragile))\n"
    )
    monkeypatch.setattr(build_only, "_CHILD", "fragile_child")
    monkeypatch.setenv("PYTHONPATH", str(package))
    result, _, _ = bench.build(
        tmp_path / "w",
        {"MOPT_OUTPUT_AWS_SECRET_ACCESS_KEY": "secret"},
        compute_capabilities=["12.0"],
        variants=bench.plan.variants[:2],
        evaluation=None,
        quality=[],
    )
    found = by_name(result)
    assert (found["fp16"].state, found["fp16"].reason) == (
        VariantState.FAILED,
        VariantReason.CRASHED,
    )
    assert found["int8"].state is VariantState.BUILT


def test_an_image_without_tensorrt_says_so_in_one_line(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_name: str) -> Any:
        raise TensorRTNotInstalled("no TensorRT here: tensorrt_rtx is not installed")

    monkeypatch.setattr(build_only, "find_backend", none)
    with pytest.raises(SpecError, match="the image of the target's profile builds no engines") as e:
        bench.build(tmp_path / "w")
    assert "\n" not in str(e.value)


def test_gpus_that_rtx_does_not_build_for_are_named(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"computeCapabilities 9\.0 of the target's profile"):
        bench.build(tmp_path / "w", compute_capabilities=["8.9", "9.0"])


def test_a_model_that_does_not_open_ends_the_job(bench: Bench, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt2"
    broken.write_bytes(b"no program")
    digest = hashlib.sha256(b"no program").hexdigest()
    model = bench.plan.model.model_copy(update={"uri": f"file://{broken}", "sha256": digest})
    with pytest.raises(BaselineError):
        bench.build(tmp_path / "w", model=model)


def test_result_json_names_the_plan(built: tuple[MeasureResult, str, list[str]]) -> None:
    told = MeasurePlan.model_validate(json.loads(json.dumps(built[0].plan)))
    assert (told.kind, told.compute_capabilities) == (TargetKind.BUILD_ONLY, CAPABILITIES)
