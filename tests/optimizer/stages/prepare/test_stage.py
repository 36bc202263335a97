"""The stage as a whole, on MinIO: real model, real photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from own_forms import own
from prepare_bench import Bench, psnr

from mopt_api.auto.search import SearchFacts, contenders
from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime, TargetKind
from mopt_api.figures import VariantReason, VariantState
from mopt_api.inputs import ImageTransform
from mopt_api.jobs.plan import PlannedModel, PreparePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization, Variant
from mopt_optimizer.data.images import decode
from mopt_optimizer.onnx_files.verify import OnnxSession

AUTO = SearchFacts(model_format=ModelFormat.EXPORTED_PROGRAM, calibrated=True)


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


def test_without_calibration_data_int8_is_skipped(bench: Bench, plan: PreparePlan) -> None:
    result, _ = bench.run(plan.model_copy(update={"calibration": None}))
    assert set(result.artifacts_on(TargetKind.CPU)) == {"eager", "ort"}
    assert {(s.name, s.state, s.reason) for s in result.skipped_on(TargetKind.CPU)} == {
        ("ort8", VariantState.SKIPPED, VariantReason.NO_CALIBRATION_DATA),
        ("ov8", VariantState.SKIPPED, VariantReason.NO_CALIBRATION_DATA),
    }
    assert [a.name for a in result.artifacts] == ["fp32"]
    assert result.calibration_digest is None


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
