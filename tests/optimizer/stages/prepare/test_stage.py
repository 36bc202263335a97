"""The stage as a whole, on MinIO: real model, real photographs."""

from __future__ import annotations

import hashlib
import json
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from own_forms import OWN_CLASS, own

from mopt_api.auto.search import SearchFacts, contenders
from mopt_api.enums import Calibrator, ModelFormat, Precision, QualityMetric, Runtime, TargetKind
from mopt_api.figures import VariantReason, VariantState
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.plan import Credentials, PlannedData, PlannedModel, PreparePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.reasons import Reason
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization, Variant
from mopt_optimizer.data.images import decode
from mopt_optimizer.errors import DigestMismatch, ModelError, OptimizerError, UnsafeModelError
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.sandbox import ChildDied
from mopt_optimizer.stages.prepare.assignment import assign
from mopt_optimizer.stages.prepare.making import death
from mopt_optimizer.stages.prepare.messages import PrepareRequest, Quantized
from mopt_optimizer.stages.prepare.stage import prepare
from mopt_optimizer.stages.prepare.worker import handle
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from ...conftest import MinioServer

pytestmark = pytest.mark.optimizer

AUTO = SearchFacts(model_format=ModelFormat.EXPORTED_PROGRAM, calibrated=True)


class Bench:
    """A bucket with the model and the photographs, and what runs plans against it."""

    def __init__(self, minio: MinioServer, model: Path, photographs: Path, workdir: Path) -> None:
        self.environ = minio.environ()
        self.bucket = minio.bucket()
        self.workdir = workdir
        self.photographs = photographs
        self.steps: list[str] = []
        self.outcomes: dict[str, str] = {}
        self.store, _ = open_store(f"s3://{self.bucket}", Credentials.OUTPUT, self.environ)
        self.store.put_file("models/model.pt2", model)
        for path in photographs.iterdir():
            self.store.put_file(f"data/{path.name}", path)
        self.sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
        self.blobs = Blobs(self.store, "out")

    def log(self, step: str, message: str, **fields: object) -> None:  # noqa: ARG002
        self.steps.append(step)
        if "outcome" in fields:
            self.outcomes[str(fields["name"])] = str(fields["outcome"])

    def run(self, plan: PreparePlan) -> tuple[PrepareResult, str]:
        self.steps.clear()
        self.outcomes.clear()
        return prepare(plan, self.environ, self.workdir, self.log)

    @property
    def served(self) -> bool:
        """Whether the last run made nothing."""
        return set(self.outcomes.values()) == {"Served"}


@pytest.fixture(scope="module")
def bench(
    minio: MinioServer,
    upscaler_pt2: Path,
    photographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bench:
    return Bench(minio, upscaler_pt2, photographs, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def prepared(bench: Bench, plan: PreparePlan) -> tuple[PrepareResult, str]:
    """The plan, carried out once: every run opens torch anew."""
    result = bench.run(plan)
    assert set(bench.outcomes.values()) == {"Built"}
    return result


@pytest.fixture(scope="module")
def plan(
    bench: Bench, image_input: InputSpec, image_dimensions: dict[str, DimensionRange]
) -> PreparePlan:
    return PreparePlan(
        model=PlannedModel(
            uri=f"s3://{bench.bucket}/models/model.pt2",
            sha256=bench.sha256,
            format=ModelFormat.EXPORTED_PROGRAM,
        ),
        inputs=[image_input],
        dimensions=image_dimensions,
        calibration=PlannedData(
            uri=f"s3://{bench.bucket}/data", samples=8, images=ImageTransform()
        ),
        variants=[
            Variant(name="eager", runtime=Runtime.PYTORCH, precision=Precision.FP32),
            Variant(name="ort", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32),
            Variant(name="ort8", runtime=Runtime.ONNX_RUNTIME, precision=Precision.INT8),
            Variant(name="ov8", runtime=Runtime.OPENVINO, precision=Precision.INT8),
        ],
        output_uri=f"s3://{bench.bucket}/out",
        cpu_classes=[OWN_CLASS],
    )


def test_every_form_is_stored_and_correct(
    bench: Bench, prepared: tuple[PrepareResult, str], tmp_path: Path
) -> None:
    import torch

    result, digest = prepared
    assert PrepareResult.model_validate_json(bench.blobs.read(digest)) == result
    assert result.artifacts_on(TargetKind.CPU) == {
        "eager": "source",
        "ort": "fp32",
        "ort8": own("int8-minmax-perchannel"),
        "ov8": own("int8-minmax-perchannel"),
    }
    assert result.skipped_on(TargetKind.CPU) == []
    assert (result.source.sha256, result.source.opset) == (bench.sha256, 18)
    assert result.calibration_samples == 4
    assert {"torch", "onnxruntime", "python"} <= set(result.software)
    assert {"fetch", "load", "export", "verify", "passes", "upload"} <= set(result.seconds)
    assert {r.name: r.outcome for r in result.passes}["fuse_bn_into_conv"] == "Kept"

    files = {}
    for form in result.artifacts:
        files[form.name] = tmp_path / f"{form.name}.onnx"
        bench.blobs.fetch(form.artifact.digest, files[form.name])
        assert files[form.name].stat().st_size == form.artifact.size_bytes
        assert form.artifact.uri == bench.blobs.uri(form.artifact.digest)
    assert set(files) == {"fp32", own("int8-minmax-perchannel")}

    bench.store.fetch("models/model.pt2", tmp_path / "model.pt2")
    image = np.random.default_rng(5).random((3, 3, 21, 33), dtype=np.float32)
    with torch.no_grad():
        module = torch.export.load(tmp_path / "model.pt2").module()
        expected = module(torch.from_numpy(image)).numpy()
    assert np.abs(OnnxSession(files["fp32"]).run({"image": image})[0] - expected).max() < 1e-5
    int8 = OnnxSession(files[own("int8-minmax-perchannel")]).run({"image": image})[0]
    assert 10 * np.log10(1 / np.mean((int8 - expected) ** 2)) > 30
    assert "BatchNormalization" not in {n.op_type for n in onnx.load(files["fp32"]).graph.node}


def test_same_plan_is_served_from_the_store(
    bench: Bench, plan: PreparePlan, prepared: tuple[PrepareResult, str]
) -> None:
    objects = bench.store.list("out/")
    assert bench.run(plan) == prepared
    assert bench.served
    assert bench.store.list("out/") == objects


def test_where_things_lie_does_not_matter(
    bench: Bench, plan: PreparePlan, prepared: tuple[PrepareResult, str]
) -> None:
    bench.store.put_bytes("elsewhere.pt2", bench.store.read("models/model.pt2"))
    moved = plan.model.model_copy(update={"uri": f"s3://{bench.bucket}/elsewhere.pt2"})
    assert bench.run(plan.model_copy(update={"model": moved})) == prepared
    assert bench.served


def test_lost_export_is_made_again_to_the_byte(
    bench: Bench, plan: PreparePlan, prepared: tuple[PrepareResult, str]
) -> None:
    lost = prepared[0].artifacts[0].artifact.digest
    bench.store.put_bytes(f"out/blobs/{lost.replace(':', '/')}", b"damaged")
    # The manifest too: what was measured from it stands.
    assert bench.run(plan) == prepared
    assert bench.outcomes == {"fp32": "Built", own("int8-minmax-perchannel"): "Served"}
    assert bench.run(plan) == prepared
    assert bench.served


def test_wrong_sha256_names_both(bench: Bench, plan: PreparePlan) -> None:
    wrong = plan.model.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(DigestMismatch, match=rf"has sha256 {bench.sha256}, .* is {'0' * 64}"):
        bench.run(plan.model_copy(update={"model": wrong}))


def test_without_calibration_data_int8_is_skipped(bench: Bench, plan: PreparePlan) -> None:
    result, _ = bench.run(plan.model_copy(update={"calibration": None}))
    assert set(result.artifacts_on(TargetKind.CPU)) == {"eager", "ort"}
    assert {(s.name, s.state, s.reason) for s in result.skipped_on(TargetKind.CPU)} == {
        ("ort8", VariantState.SKIPPED, VariantReason.NO_CALIBRATION_DATA),
        ("ov8", VariantState.SKIPPED, VariantReason.NO_CALIBRATION_DATA),
    }
    assert [a.name for a in result.artifacts] == ["fp32"]
    assert result.calibration_digest is None


def test_attack_is_refused_in_the_child(
    bench: Bench, plan: PreparePlan, tamper_expression: Callable[[str], bytes], tmp_path: Path
) -> None:
    witness = tmp_path / "ran"
    content = tamper_expression(f"__import__('pathlib').Path({str(witness)!r}).touch()")
    bench.store.put_bytes("models/evil.pt2", content)
    before = bench.store.list("out/")
    evil = PlannedModel(
        uri=f"s3://{bench.bucket}/models/evil.pt2",
        sha256=hashlib.sha256(content).hexdigest(),
        format=ModelFormat.EXPORTED_PROGRAM,
    )
    with pytest.raises(UnsafeModelError, match="__import__"):
        bench.run(plan.model_copy(update={"model": evil}))
    assert not witness.exists()
    assert bench.store.list("out/") == before


@pytest.fixture
def tamper_expression(upscaler_pt2: Path, tmp_path: Path) -> Callable[[str], bytes]:
    """Return what gives the bytes of the model with another expression for its sizes."""
    import zipfile

    def tamper(expression: str) -> bytes:
        path = tmp_path / "evil.pt2"
        with zipfile.ZipFile(upscaler_pt2) as source, zipfile.ZipFile(path, "w") as target:
            for entry in source.infolist():
                content = source.read(entry)
                if entry.filename.endswith("models/model.json"):
                    program = json.loads(content)
                    for meta in program["graph_module"]["graph"]["tensor_values"].values():
                        for size in meta["sizes"]:
                            if "as_expr" in size:
                                size["as_expr"]["expr_str"] = expression
                    content = json.dumps(program).encode()
                target.writestr(entry.filename, content)
        return path.read_bytes()

    return tamper


@pytest.mark.parametrize("model_format", list(ModelFormat))
def test_file_that_is_no_model_says_so(
    bench: Bench, plan: PreparePlan, model_format: ModelFormat
) -> None:
    bench.store.put_bytes("models/garbage", b"not a model")
    garbage = PlannedModel(
        uri=f"s3://{bench.bucket}/models/garbage",
        sha256=hashlib.sha256(b"not a model").hexdigest(),
        format=model_format,
    )
    with pytest.raises(ModelError, match="not a"):
        bench.run(plan.model_copy(update={"model": garbage}))


def test_onnx_source_goes_the_same_way(
    bench: Bench, plan: PreparePlan, prepared: tuple[PrepareResult, str]
) -> None:
    result, _ = prepared
    (fp32,) = [a.artifact for a in result.artifacts if a.name == "fp32"]
    assert fp32.uri
    model = PlannedModel(
        uri=fp32.uri, sha256=fp32.digest.removeprefix("sha256:"), format=ModelFormat.ONNX
    )
    again, _ = bench.run(plan.model_copy(update={"model": model}))
    assert again.source.format is ModelFormat.ONNX
    assert again.artifacts_on(TargetKind.CPU)["ort8"] == own("int8-minmax-perchannel")
    assert [(s.name, s.reason) for s in again.skipped_on(TargetKind.CPU)] == [
        ("eager", VariantReason.BUILD_FAILED)
    ]
    assert all(v.passed for v in again.verifications)


def psnr(found: np.ndarray, expected: np.ndarray) -> float:
    return float(10 * np.log10(1 / np.mean((found - expected) ** 2)))


def test_torchscript_source_goes_the_same_way(
    bench: Bench, plan: PreparePlan, upscaler_ts: Path, tmp_path: Path
) -> None:
    import torch

    bench.store.put_file("models/model.ts", upscaler_ts)
    model = PlannedModel(
        uri=f"s3://{bench.bucket}/models/model.ts",
        sha256=hashlib.sha256(upscaler_ts.read_bytes()).hexdigest(),
        format=ModelFormat.TORCH_SCRIPT,
    )
    result, _ = bench.run(plan.model_copy(update={"model": model}))
    assert result.artifacts_on(TargetKind.CPU)["eager"] == "source"
    assert result.skipped_on(TargetKind.CPU) == []
    assert (result.source.format, result.source.opset) == (ModelFormat.TORCH_SCRIPT, 18)
    # The last two are photographs as they are.
    assert [v.dimensions["height"] for v in result.verifications] == [16, 18, 48, 48, 48]
    assert all(v.passed for v in result.verifications)
    files = {a.name: tmp_path / f"{a.name}.onnx" for a in result.artifacts}
    for form in result.artifacts:
        bench.blobs.fetch(form.artifact.digest, files[form.name])
    image = np.random.default_rng(5).random((3, 3, 21, 33), dtype=np.float32)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so
        script = torch.jit.load(upscaler_ts)  # type: ignore[no-untyped-call]
        expected = script(torch.from_numpy(image)).numpy()
    assert np.abs(OnnxSession(files["fp32"]).run({"image": image})[0] - expected).max() < 1e-5
    int8 = OnnxSession(files[own("int8-minmax-perchannel")]).run({"image": image})[0]
    assert psnr(int8, expected) > 30
    inputs = onnx.load(files["fp32"]).graph.input
    assert [d.dim_param for d in inputs[0].type.tensor_type.shape.dim] == [
        "batch",
        "",
        "height",
        "width",
    ]


def test_attack_in_torchscript_is_refused(
    bench: Bench, plan: PreparePlan, upscaler_ts: Path, tmp_path: Path
) -> None:
    import zipfile

    evil = tmp_path / "evil.ts"
    with zipfile.ZipFile(upscaler_ts) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith(".py"):
                start = b"    body = self.body\n"
                content = content.replace(start, b"    ops.evil.run(image)\n" + start)
            target.writestr(name, content)
    assert evil.read_bytes() != upscaler_ts.read_bytes()
    bench.store.put_file("models/evil.ts", evil)
    model = PlannedModel(
        uri=f"s3://{bench.bucket}/models/evil.ts",
        sha256=hashlib.sha256(evil.read_bytes()).hexdigest(),
        format=ModelFormat.TORCH_SCRIPT,
    )
    with pytest.raises(UnsafeModelError, match="extension 'evil'"):
        bench.run(plan.model_copy(update={"model": model}))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "picture"}, "no input 'picture'; it has image"),
        ({"shape": ["batch", 4, "height", "width"]}, "the model fails at batch 1"),
    ],
)
def test_torchscript_that_does_not_fit_the_spec_says_so(
    upscaler_ts: Path,
    image_input: InputSpec,
    image_dimensions: dict[str, DimensionRange],
    tmp_path: Path,
    change: dict[str, object],
    error: str,
) -> None:
    request = PrepareRequest(
        model=PlannedModel(uri="file:///x", sha256="0" * 64, format=ModelFormat.TORCH_SCRIPT),
        path=str(upscaler_ts),
        inputs=[image_input.model_copy(update=change)],
        dimensions=image_dimensions,
        forms=[],
    )
    with pytest.raises(OptimizerError, match=error):
        handle(request.to_api(), tmp_path, lambda *_, **__: None)


def int8(name: str, **options: object) -> Variant:
    return Variant(
        name=name,
        runtime=Runtime.ONNX_RUNTIME,
        precision=Precision.INT8,
        quantization=Quantization.model_validate(options),
    )


def test_every_way_to_int8_is_an_artifact_of_its_own(
    bench: Bench, plan: PreparePlan, prepared: tuple[PrepareResult, str], tmp_path: Path
) -> None:
    variants = [
        int8("gated"),
        int8("plain", fallback="Off"),
        int8("entropy", calibrator="Entropy", fallback="Off"),
        int8("dynamic", mode="Dynamic"),
        int8("partly", exclude=["PRelu", "node_conv2d_1"], fallback="Off"),
        int8("mistaken", exclude=["Convolution"]),
    ]
    before, _ = prepared
    (plain,) = [a.artifact for a in before.artifacts if a.name == own("int8-minmax-perchannel")]
    path = tmp_path / "model.onnx"
    expected = {}
    bench.blobs.fetch(before.artifacts[0].artifact.digest, path)
    samples = [
        {"image": decode(name, bench.photographs / name, ImageTransform())}
        for name in sorted(p.name for p in bench.photographs.iterdir())
    ]
    for number, sample in enumerate(samples):
        expected[number] = OnnxSession(path).run(dict(sample))[0]

    def worst(digest: str) -> float:
        bench.blobs.fetch(digest, path)
        session = OnnxSession(path)
        return min(psnr(session.run(dict(s))[0], expected[n]) for n, s in enumerate(samples))

    wanted = worst(plain.digest) + 0.2
    gates = [QualityGate(metric=QualityMetric.PSNR, minimum=wanted)]
    gated = plan.model_copy(update={"variants": variants, "quality": gates})
    result, _ = bench.run(gated)
    names = result.artifacts_on(TargetKind.CPU)
    assert len(set(names.values())) == len(names) == 5
    assert names["gated"] == own("int8-minmax-perchannel-gated")
    assert names["plain"] == own("int8-minmax-perchannel")
    digests = {a.name: a.artifact.digest for a in result.artifacts}
    assert len(set(digests.values())) == 6
    assert digests[names["plain"]] == plain.digest
    assert worst(digests[names["gated"]]) >= wanted
    assert [(s.name, s.state, s.reason) for s in result.skipped_on(TargetKind.CPU)] == [
        ("mistaken", VariantState.FAILED, VariantReason.BUILD_FAILED)
    ]
    assert "'Convolution'" in result.skipped_on(TargetKind.CPU)[0].message
    reports = {q.name: q for q in result.quantizations}
    assert set(reports) == set(names.values())
    (search,) = reports[names["gated"]].fallbacks
    assert search.exclude
    assert search.required is not None
    assert search.quality >= search.required > wanted
    assert reports[names["plain"]].fallbacks == []
    assert bench.run(gated)[0] == result
    assert bench.served


def test_dynamic_int8_needs_no_calibration_data(bench: Bench, plan: PreparePlan) -> None:
    variants = [int8("dynamic", mode="Dynamic"), int8("static")]
    result, _ = bench.run(plan.model_copy(update={"calibration": None, "variants": variants}))
    assert result.artifacts_on(TargetKind.CPU) == {"dynamic": own("int8-dynamic-perchannel")}
    assert [(s.name, s.reason) for s in result.skipped_on(TargetKind.CPU)] == [
        ("static", VariantReason.NO_CALIBRATION_DATA)
    ]


def test_data_is_fetched_where_no_form_needs_it(bench: Bench, plan: PreparePlan) -> None:
    """What the model and each form are tried on is the user's."""
    result, _ = bench.run(plan.model_copy(update={"variants": [int8("d", mode="Dynamic")]}))
    assert result.calibration_samples == 4
    assert "calibration-data" in bench.steps


def test_auto_makes_no_form_that_the_operators_rule_out(bench: Bench, plan: PreparePlan) -> None:
    facts = AUTO.model_copy(update={"calibrated": False})
    variants = contenders(facts)
    update = {"calibration": None, "variants": variants, "search": facts}
    result, _ = bench.run(plan.model_copy(update=update))
    assert result.operators is not None
    assert result.operators["Conv"] == 2
    assert "MatMul" not in result.operators
    assert [entry.name for entry in result.artifacts] == ["fp32"]
    # Dynamic INT8 was planned, and is neither made nor failed.
    planned = {variant.name for variant in variants}
    told = {
        *result.artifacts_on(TargetKind.CPU),
        *(entry.name for entry in result.skipped_on(TargetKind.CPU)),
    }
    assert planned - told == {"onnxruntime-int8-dynamic"}
    assert {entry.reason for entry in result.skipped_on(TargetKind.CPU)} == {
        VariantReason.NO_CALIBRATION_DATA
    }


def test_failed_quantization_fails_its_variants_only() -> None:
    percentile = Quantization(calibrator=Calibrator.PERCENTILE)
    variants = [
        Variant(name="a", runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32),
        Variant(name="b", runtime=Runtime.ONNX_RUNTIME, precision=Precision.INT8),
        Variant(
            name="c",
            runtime=Runtime.OPENVINO,
            precision=Precision.INT8,
            quantization=percentile,
        ),
    ]
    results = [
        Quantized(name="int8-minmax-perchannel", error="no kernel"),
        Quantized(name="int8-percentile-perchannel", file="x.onnx"),
    ]
    found = assign(variants, ModelFormat.ONNX, results, calibrated=True).by_kind[TargetKind.CPU]
    assert found.artifacts == {"a": "fp32", "c": "int8-percentile-perchannel"}
    (failed,) = found.skipped
    assert (failed.name, failed.state) == ("b", VariantState.FAILED)
    assert (failed.reason, failed.message) == (VariantReason.BUILD_FAILED, "no kernel")


@pytest.mark.parametrize(
    ("returncode", "reason"),
    [
        (-signal.SIGSEGV, Reason.INVALID_MODEL),
        (-signal.SIGABRT, Reason.INVALID_MODEL),
        (-signal.SIGKILL, Reason.OUT_OF_MEMORY),
        (1, Reason.INTERNAL_ERROR),
    ],
)
def test_end_of_the_child_has_a_reason(returncode: int, reason: Reason) -> None:
    error = death(ChildDied(returncode), "the limit of 4 GiB")
    assert error.reason is reason
    assert (reason is Reason.OUT_OF_MEMORY) == ("the limit of 4 GiB" in str(error))


def test_a_child_that_was_ended_here_was_not_short_of_memory() -> None:
    error = death(ChildDied(-signal.SIGKILL, "answered what is no answer"), "the limit")
    assert error.reason is Reason.INVALID_MODEL
    assert str(error).endswith("answered what is no answer and was ended")
