"""What a second run of prepare makes again, and what it finds: a small real model in a folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mopt_optimizer.stages.prepare.making
from mopt_api.auto.int8 import CpuClass
from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime, TargetKind
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.plan import PLAN_VARIABLE, Credentials, PlannedData, PlannedModel, PreparePlan
from mopt_api.jobs.prepare_result import PrepareResult, StepOutcome
from mopt_api.jobs.termination import PrepareSummary, decode
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization, Variant
from mopt_optimizer.stages.artifacts import intact
from mopt_optimizer.stages.prepare.stage import prepare
from mopt_optimizer.stages.step_keys import software_versions
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from ...conftest import MinioServer

pytestmark = pytest.mark.optimizer

FP32, FP16, INT8 = "fp32", "fp16", "int8-minmax-perchannel"
NARROW = f"{INT8}-narrow"
ORT = Runtime.ONNX_RUNTIME
Change = Callable[[Path], None]


def int8(name: str, **options: object) -> Variant:
    quantization = Quantization.model_validate({"fallback": "Off"} | options)
    return Variant(name=name, runtime=ORT, precision=Precision.INT8, quantization=quantization)


VARIANTS = [
    Variant(name="plain", runtime=ORT, precision=Precision.FP32),
    Variant(name="half", runtime=ORT, precision=Precision.FP16),
    int8("ort8"),
    Variant(
        name="ov8",
        runtime=Runtime.OPENVINO,
        precision=Precision.INT8,
        quantization=Quantization.model_validate({"fallback": "Off"}),
    ),
]


def write_model(path: Path) -> None:
    """Two convolutions for images of any size."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((8, 3, 3, 3)).astype(np.float32) / 5
    second = rng.standard_normal((3, 8, 3, 3)).astype(np.float32) / 9
    shape: list[str | int | None] = ["batch", 3, "height", "width"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "first"], ["a"], "one", pads=[1] * 4),
            helper.make_node("Relu", ["a"], ["b"], "relu"),
            helper.make_node("Conv", ["b", "second"], ["result"], "two", pads=[1] * 4),
        ],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


@dataclass
class Bench:
    """A folder with a model, data and an output store, and what runs plans there.

    Attributes:
        outcomes: Of the last run, by the steps' names.
        steps: All that it logged.
    """

    root: Path
    plan: PreparePlan
    outcomes: dict[str, str] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    counts: dict[str, object] = field(default_factory=dict)

    @property
    def output(self) -> Path:
        return self.root / "out"

    @property
    def blobs(self) -> Blobs:
        return Blobs(*open_store(self.plan.output_uri, Credentials.OUTPUT, {}))

    def run(self, **changes: Any) -> tuple[PrepareResult, str]:
        """Run the plan with other fields; afterwards all that the manifest names is whole."""
        self.outcomes.clear()
        self.steps.clear()
        (work := self.root / "work").mkdir(exist_ok=True)
        plan = self.plan.model_copy(update=changes)
        result, digest = prepare(plan, dict(os.environ), work, self._log)
        assert PrepareResult.model_validate_json(self.blobs.read(digest)) == result
        assert all(intact(self.blobs, a.artifact) for a in result.artifacts)
        assert not list(work.iterdir())
        return result, digest

    def _log(self, step: str, message: str, **fields: object) -> None:  # noqa: ARG002
        self.steps.append(step)
        if "outcome" in fields:
            self.outcomes[str(fields["name"])] = str(fields["outcome"])
        if "built" in fields:
            self.counts = {name: fields[name] for name in ("built", "served")}

    @property
    def built(self) -> set[str]:
        return {name for name, outcome in self.outcomes.items() if outcome == "Built"}

    @property
    def served(self) -> set[str]:
        return {name for name, outcome in self.outcomes.items() if outcome == "Served"}


def planned(root: Path, model: Path, model_format: ModelFormat) -> PreparePlan:
    sizes = DimensionRange(min=16, opt=48, max=64)
    return PreparePlan(
        model=PlannedModel(
            uri=f"file://{model}",
            sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
            format=model_format,
        ),
        inputs=[InputSpec(name="image", shape=["batch", 3, "height", "width"])],
        dimensions={
            "batch": DimensionRange(min=1, opt=1, max=4),
            "height": sizes,
            "width": sizes,
        },
        calibration=PlannedData(uri=f"file://{root}/data", samples=4, images=ImageTransform()),
        variants=VARIANTS,
        output_uri=f"file://{root}/out",
        cpu_classes=[CpuClass.WIDE_X86],
    )


@pytest.fixture(scope="module")
def filled(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The plan, carried out once."""
    root = tmp_path_factory.mktemp("filled")
    shutil.copytree(photographs, root / "data")
    write_model(root / "model.onnx")
    bench = Bench(root, planned(root, root / "model.onnx", ModelFormat.ONNX))
    result, _ = bench.run()
    assert bench.built == {FP32, FP16, INT8}
    assert bench.counts == {"built": 3, "served": 0}
    assert {s.name: s.outcome for s in result.steps} == dict.fromkeys(
        (FP32, FP16, INT8), StepOutcome.BUILT
    )
    assert all(step.seconds > 0 for step in result.steps)
    return bench


@pytest.fixture
def bench(filled: Bench, tmp_path: Path) -> Bench:
    """A copy of its output and data, to be changed; the model stays where it was."""
    shutil.copytree(filled.root / "out", tmp_path / "out")
    shutil.copytree(filled.root / "data", tmp_path / "data")
    return Bench(tmp_path, planned(tmp_path, filled.root / "model.onnx", ModelFormat.ONNX))


def test_second_run_makes_nothing_and_opens_nothing(
    bench: Bench, filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a process was started")

    monkeypatch.setattr(mopt_optimizer.stages.prepare.making, "run_child", refuse)
    # Once to note that the store has moved: the manifest holds uris.
    bench.run()
    assert (bench.built, bench.served) == (set(), {FP32, FP16, INT8})
    before = {p: p.stat().st_mtime_ns for p in bench.output.rglob("*")}
    result, digest = bench.run()
    assert bench.counts == {"built": 0, "served": 3}
    assert set(bench.steps) == {"calibration-data", "data", "prepare"}
    assert {p: p.stat().st_mtime_ns for p in bench.output.rglob("*")} == before
    assert bench.run() == (result, digest)
    first, _ = filled.run()
    assert [a.artifact.digest for a in result.artifacts] == [
        a.artifact.digest for a in first.artifacts
    ]


def test_model_is_not_even_fetched_where_nothing_is_missing(bench: Bench) -> None:
    gone = bench.plan.model.model_copy(update={"uri": f"file://{bench.root}/gone.onnx"})
    bench.run(model=gone)
    assert bench.built == set()


def test_changed_option_makes_that_form_alone_from_the_stored_file(bench: Bench) -> None:
    changed = [*VARIANTS[:2], int8("ort8", calibrator="Percentile"), VARIANTS[3]]
    gone = bench.plan.model.model_copy(update={"uri": f"file://{bench.root}/gone.onnx"})
    result, _ = bench.run(variants=changed, model=gone)
    assert bench.built == {"int8-percentile-perchannel"}
    assert bench.served == {FP32, FP16, INT8}
    assert result.artifacts_on(TargetKind.CPU)["ort8"] == "int8-percentile-perchannel"
    assert {"fetch-fp32", "load", "export"} & set(result.seconds) == {"fetch-fp32"}
    assert {s.name: s.outcome.value for s in result.steps} == bench.outcomes
    # The form made from the stored file is that of a run from nothing.
    shutil.rmtree(bench.output)
    anew, _ = bench.run(variants=changed)
    assert bench.served == set()
    assert anew.artifacts == result.artifacts


def test_added_variant_makes_its_form_alone(bench: Bench) -> None:
    bench.run(variants=[*VARIANTS, int8("dynamic", mode="Dynamic")])
    assert (bench.built, bench.served) == ({"int8-dynamic-perchannel"}, {FP32, FP16, INT8})
    bench.run()
    assert bench.built == set()


def test_variant_of_another_name_makes_nothing(bench: Bench) -> None:
    result, _ = bench.run(variants=[VARIANTS[0], int8("renamed")])
    assert (bench.built, bench.served) == (set(), {FP32, INT8})
    assert result.artifacts_on(TargetKind.CPU) == {"plain": FP32, "renamed": INT8}


def test_other_calibration_data_makes_all_that_is_tried_on_it(bench: Bench) -> None:
    bench.run(variants=[*VARIANTS, int8("dynamic", mode="Dynamic")])
    next(iter(sorted((bench.root / "data").iterdir()))).unlink()
    bench.run(variants=[*VARIANTS, int8("dynamic", mode="Dynamic")])
    assert bench.built == {FP32, FP16, INT8, "int8-dynamic-perchannel"}


def test_gates_make_the_forms_that_they_shape(bench: Bench) -> None:
    searched = int8("searched", fallback="Auto")
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=20)
    bench.run(variants=[*VARIANTS, searched], quality=[gate])
    assert bench.built == {"int8-minmax-perchannel-gated"}
    other = QualityGate(metric=QualityMetric.PSNR, minimum=21)
    bench.run(variants=[*VARIANTS, searched], quality=[other])
    assert bench.built == {"int8-minmax-perchannel-gated"}
    assert bench.served == {FP32, FP16, INT8}


@pytest.mark.parametrize(
    ("tool", "built"),
    [
        ("openvino", {FP16}),
        ("nncf", set()),
        ("torch", set()),
        ("onnxscript", {FP32}),
        ("onnxruntime", {FP32, FP16, INT8}),
    ],
)
def test_other_version_makes_what_depends_on_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tool: str, built: set[str]
) -> None:
    other = software_versions() | {tool: "0.0.1"}
    monkeypatch.setattr(mopt_optimizer.stages.prepare.stage, "software_versions", lambda: other)
    result, _ = bench.run()
    # An export that gives the same file keeps the forms made from that.
    assert bench.built == built
    assert bench.served == {FP32, FP16, INT8} - built
    assert result.software[tool] == "0.0.1"


def test_failure_is_kept_too(bench: Bench) -> None:
    mistaken = int8("mistaken", exclude=["Convolution"])
    result, _ = bench.run(variants=[*VARIANTS, mistaken])
    (name,) = bench.built
    again, _ = bench.run(variants=[*VARIANTS, mistaken])
    assert bench.built == set()
    assert name in bench.served
    assert again.skipped_on(TargetKind.CPU) == result.skipped_on(TargetKind.CPU)
    assert "'Convolution'" in result.skipped_on(TargetKind.CPU)[0].message


def blob(output: Path, digest: str) -> Path:
    return output / "blobs" / digest.replace(":", "/")


def entry(output: Path, name: str) -> tuple[Path, Path, dict[str, Any]]:
    """Return the index of a step's entry, the entry's file and what it holds."""
    for index in (output / "index").glob("step-*"):
        path = blob(output, index.read_text())
        content: dict[str, Any] = json.loads(path.read_bytes())
        if content["name"] == name:
            return index, path, content
    raise AssertionError(name)


def cut_artifact(output: Path, name: str) -> None:
    path = blob(output, entry(output, name)[2]["artifact"]["digest"])
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(output: Path, name: str) -> None:
    path = blob(output, entry(output, name)[2]["artifact"]["digest"])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove_artifact(output: Path, name: str) -> None:
    blob(output, entry(output, name)[2]["artifact"]["digest"]).unlink()


def damage_entry(output: Path, name: str) -> None:
    entry(output, name)[1].write_text("{")


def remove_entry(output: Path, name: str) -> None:
    entry(output, name)[1].unlink()


def remove_index(output: Path, name: str) -> None:
    entry(output, name)[0].unlink()


def damage_index(output: Path, name: str) -> None:
    entry(output, name)[0].write_bytes(b"\xff\xfe")


def point_nowhere(output: Path, name: str) -> None:
    entry(output, name)[0].write_text(f"sha256:{'0' * 64}")


def point_to_what_is_no_entry(output: Path, name: str) -> None:
    (output / "blobs" / "sha256" / hashlib.sha256(b"[]").hexdigest()).write_bytes(b"[]")
    entry(output, name)[0].write_text(f"sha256:{hashlib.sha256(b'[]').hexdigest()}")


def point_to_another_entry(output: Path, name: str) -> None:
    other = FP16 if name == INT8 else INT8
    entry(output, name)[0].write_text(entry(output, other)[0].read_text())


DAMAGES: Sequence[Callable[[Path, str], None]] = (
    cut_artifact,
    flip_a_bit,
    remove_artifact,
    damage_entry,
    remove_entry,
    remove_index,
    damage_index,
    point_nowhere,
    point_to_what_is_no_entry,
    point_to_another_entry,
)


@pytest.mark.parametrize("name", [FP32, INT8])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found_and_that_step_made_again(
    bench: Bench, damage: Callable[[Path, str], None], name: str
) -> None:
    before = bench.run()
    damage(bench.output, name)
    # The same bytes, hence the manifest stands, and with it what was measured.
    assert bench.run() == before
    assert (bench.built, bench.served) == ({name}, {FP32, FP16, INT8} - {name})
    assert bench.run() == before
    assert bench.built == set()


@pytest.mark.parametrize("damage", ["entry", "index", "other"])
def test_damaged_manifest_is_put_together_again(bench: Bench, damage: str) -> None:
    result, digest = bench.run()
    (index,) = (p for p in (bench.output / "index").glob("prepare-*") if p.read_text() == digest)
    if damage == "entry":
        blob(bench.output, digest).write_text("{}")
    elif damage == "index":
        index.write_text("sha256:")
    else:  # A whole manifest, of other variants.
        index.write_text(bench.run(variants=VARIANTS[:1])[1])
    again, _ = bench.run()
    assert bench.built == set()
    assert again.artifacts == result.artifacts
    assert again.artifacts_on(TargetKind.CPU) == result.artifacts_on(TargetKind.CPU)


def test_steps_are_shared_within_an_output_and_never_beyond(bench: Bench) -> None:
    """Another resource of the same model, with variants of its own."""
    bench.run(variants=[int8("mine"), int8("dynamic", mode="Dynamic")])
    assert (bench.built, bench.served) == ({"int8-dynamic-perchannel"}, {FP32, INT8})
    bench.plan = bench.plan.model_copy(update={"output_uri": f"file://{bench.root}/other"})
    bench.run()
    assert (bench.built, bench.served) == ({FP32, FP16, INT8}, set())


def test_forms_of_a_program_are_made_without_exporting_it_again(
    upscaler_pt2: Path, photographs: Path, tmp_path: Path
) -> None:
    shutil.copytree(photographs, tmp_path / "data")
    bench = Bench(tmp_path, planned(tmp_path, upscaler_pt2, ModelFormat.EXPORTED_PROGRAM))
    bench.run(variants=VARIANTS[:1])
    torch8 = {"runtime": "PyTorch", "precision": "INT8"}
    added = [
        Variant(name="torch16", runtime=Runtime.PYTORCH, precision=Precision.BF16),
        Variant.model_validate({"name": "torch8"} | torch8),
    ]
    result, _ = bench.run(variants=[*VARIANTS[:1], *added])
    torch_forms = {"torch-bf16", "torch-int8-static-perchannel"}
    assert (bench.built, bench.served) == (torch_forms, {FP32})
    # Of the steps of the process too, which log elsewhere.
    assert {"fetch", "load", "reference"} <= set(result.seconds)
    assert {"fetch-fp32", "export", "passes"}.isdisjoint(result.seconds)
    shutil.rmtree(bench.output)
    anew, _ = bench.run(variants=[*VARIANTS[:1], *added])
    assert bench.served == set()
    assert anew.artifacts == result.artifacts


def start(plan: PreparePlan, environ: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    """Start the stage as its Job does."""
    folder.mkdir()
    values = {k: v for k, v in os.environ.items() if "AWS" not in k} | environ
    values |= {
        PLAN_VARIABLE: json.dumps(plan.to_api()),
        "MOPT_TERMINATION_LOG": str(folder / "termination-log"),
    }
    command = [sys.executable, "-m", "mopt_optimizer.main", "prepare", "--workdir", str(folder)]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, env=values, stdout=log, stderr=log)


def outcomes(folder: Path) -> list[str]:
    """Return what a run said of its steps."""
    lines = [line for line in (folder / "log").read_text().splitlines() if line.startswith("{")]
    return [event["outcome"] for event in map(json.loads, lines) if "outcome" in event]


def test_two_runs_at_once_leave_one_whole_cache(
    bench: Bench, minio: MinioServer, tmp_path: Path
) -> None:
    environ, bucket = minio.environ(), minio.bucket()
    plan = bench.plan.model_copy(update={"output_uri": f"s3://{bucket}/out"})
    folders = [tmp_path / "first", tmp_path / "second"]
    processes = [start(plan, environ, folder) for folder in folders]
    assert [process.wait(300) for process in processes] == [0, 0]
    blobs = Blobs(*open_store(plan.output_uri, Credentials.OUTPUT, environ))
    manifests = []
    for folder in folders:
        assert len(outcomes(folder)) == 3
        summary = decode((folder / "termination-log").read_text())
        assert isinstance(summary, PrepareSummary)
        manifests.append(PrepareResult.model_validate_json(blobs.read(summary.result)))
    first, second = manifests
    assert first.artifacts == second.artifacts
    assert all(intact(blobs, a.artifact) for a in first.artifacts)
    assert start(plan, environ, tmp_path / "third").wait(300) == 0
    assert outcomes(tmp_path / "third") == ["Served"] * 3


def test_cpus_of_every_class_have_a_form_and_those_that_are_known_are_served(bench: Bench) -> None:
    everywhere = [CpuClass.WIDE_X86, CpuClass.NARROW_X86]
    result, _ = bench.run(cpu_classes=everywhere)
    assert (bench.built, bench.served) == ({NARROW}, {FP32, FP16, INT8})
    for cpu, form in ((CpuClass.WIDE_X86, INT8), (CpuClass.NARROW_X86, NARROW)):
        runs = result.on_cpu(cpu).artifacts_on(TargetKind.CPU)
        assert runs == {"plain": FP32, "half": FP16, "ort8": form, "ov8": form}
    result, _ = bench.run(cpu_classes=[CpuClass.NARROW_X86])
    assert (bench.built, bench.served) == (set(), {FP32, FP16, NARROW})
    assert result.artifacts_on(TargetKind.CPU)["ort8"] == NARROW
