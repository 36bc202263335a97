"""The page: complete, self-contained, well formed, and text stays text."""

from __future__ import annotations

import pytest
import report_results
from html_page import HtmlPage
from present import present

from mopt_api.enums import Aggregate, QualityMetric, Runtime, TargetKind
from mopt_api.figures import (
    AIMED_BY_EVALUATION,
    AIMED_IN_WORDS,
    Gpu,
    Latency,
    QualityReference,
    VariantReason,
    VariantState,
)
from mopt_api.jobs.limit_words import slow_int8
from mopt_api.jobs.measure_result import (
    BASELINE,
    QUALITY_OF_ENGINE,
    MeasureResult,
    SearchEntry,
    VariantResult,
)
from mopt_api.jobs.plan import measure_plan
from mopt_api.spec import ModelOptimizationSpec, QualityGate
from mopt_api.unseen import share_that_may_miss
from mopt_api.verdict import Stopped, Verdict
from mopt_optimizer.stages.report.page import render_page
from mopt_optimizer.stages.report.page.verdicts import REASONS, gate_text

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


@pytest.fixture(scope="module")
def result() -> MeasureResult:
    return report_results.result()


@pytest.fixture(scope="module")
def page(result: MeasureResult) -> HtmlPage:
    return HtmlPage(
        render_page(
            result,
            report_results.plan(),
            digest=report_results.DIGEST,
            manifest=report_results.manifest(),
            crops=report_results.crops(result),
        )
    )


def test_it_is_well_formed(page: HtmlPage) -> None:
    assert page.faults == []
    assert page.elements.count("h1") == page.elements.count("main") == 1


def test_it_refers_to_nothing_outside(page: HtmlPage) -> None:
    assert page.references
    assert all(value.startswith("data:image/webp;base64,") for value in page.references)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.elements)
    assert not any(name.startswith("on") for _, found in page.attributes for name in found)
    (policy,) = [
        found["content"]
        for _, found in page.attributes
        if found.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")


def test_every_variant_gate_and_reason_is_told(page: HtmlPage, result: MeasureResult) -> None:
    for variant in result.variants:
        assert variant.name in page.text
        assert variant.reason is None or REASONS[variant.reason] in page.text
        assert variant.message is None or variant.message in page.text
    for gate in report_results.GATES:
        assert gate_text(gate) in page.text
    for name in ("fold_constants", "rolled back", "computes something else at batch 2"):
        assert name in page.text
    for fact in (result.hardware.node, "onnxruntime 1.23.0", "12 CPU quota periods"):
        assert str(fact) in page.text
    assert "mopt-optimizer measure" in page.text


def test_the_distance_from_the_limit_is_told(page: HtmlPage, result: MeasureResult) -> None:
    assert "How far from the limit" in page.text
    assert "6.10 G FP32, 3.90 G INT8" in page.text
    assert ", by arithmetic" in page.text
    assert "12 FP32, 28 INT8; 26 conversions" in page.text
    assert "100 G products a second in FP32, 190 G products a second in INT8" in page.text
    assert "50.0 GB/s to and from 4.00 MiB, 10.0 GB/s to and from 256 MiB" in page.text
    assert slow_int8(result) == {}
    assert "is not faster than" not in page.text


def test_int8_that_is_slower_than_fp32_says_why(result: MeasureResult) -> None:
    first, *others = result.variants
    long = Latency(p50=500.0, p90=500.0, p99=500.0)
    slow = first.model_copy(
        update={"points": [p.model_copy(update={"latency_ms": long}) for p in first.points]}
    )
    changed = result.model_copy(update={"variants": [slow, *others]})
    page = HtmlPage(render_page(changed, report_results.plan(), digest=report_results.DIGEST))
    assert (
        f"{first.name} is not faster than OpenVINO FP32 (baseline): 12 of 40 layers stayed FP32 "
        "(61% of the products), this CPU multiplies 1.9 times as fast in INT8 as in FP32."
    ) in page.text


def test_where_nothing_is_known_of_limits_nothing_is_said(result: MeasureResult) -> None:
    def unknown(variant: VariantResult) -> VariantResult:
        points = [p.model_copy(update={"work": None, "limit": None}) for p in variant.points]
        return variant.model_copy(update={"executed": None, "points": points})

    bare = result.model_copy(
        update={
            "peaks": None,
            "baseline": unknown(present(result.baseline)),
            "variants": [unknown(variant) for variant in result.variants],
        }
    )
    page = HtmlPage(render_page(bare, report_results.plan(), digest=report_results.DIGEST))
    assert page.faults == []
    assert "How far from the limit" not in page.text


def test_a_search_that_its_budget_ended_is_told(page: HtmlPage, result: MeasureResult) -> None:
    manifest = report_results.manifest()
    (form,) = manifest.quantizations
    ended: dict[str, object] = {"ended_by_budget": True, "budget_seconds": 90.0, "held_back": 40.2}
    ended |= {"slice": "boxes", "output": "all"}
    form = form.model_copy(update={"fallbacks": [form.fallbacks[0].model_copy(update=ended)]})
    cut = HtmlPage(
        render_page(
            result,
            report_results.plan(),
            digest=report_results.DIGEST,
            manifest=manifest.model_copy(update={"quantizations": [form]}),
            crops=None,
        )
    )
    told = "cut short by its budget of 90 s"
    assert told in cut.text
    assert told not in page.text
    assert "For worst PSNR of boxes of all ≥ 40 dB" in cut.text
    assert "40.20 dB on samples that were held back" in cut.text


def test_second_search_is_told_and_what_its_quality_is(result: MeasureResult) -> None:
    chosen = next(v for v in result.variants if v.name == result.selected)
    aimed = chosen.model_copy(update={"aimed_by": AIMED_BY_EVALUATION})
    others = [v for v in result.variants if v != chosen]
    manifest = report_results.manifest()
    (report,) = manifest.quantizations
    (search,) = report.fallbacks
    second = search.model_copy(update={"aim_decibels": 4})
    page = HtmlPage(
        render_page(
            result.model_copy(update={"variants": [aimed, *others]}),
            report_results.plan(),
            digest=report_results.DIGEST,
            manifest=manifest.model_copy(
                update={"quantizations": [report.model_copy(update={"fallbacks": [second]})]}
            ),
        )
    )
    assert f"Of {chosen.name}, {AIMED_IN_WORDS}." in page.text
    assert (
        f"selected: the best that passes every gate and keeps every constraint; {AIMED_IN_WORDS}"
        in page.text
    )
    assert "For worst PSNR ≥ 40 dB, aimed 4 dB above it since the form of a first" in page.text


def test_every_picture_has_words(page: HtmlPage) -> None:
    assert all(found["alt"] for tag, found in page.attributes if tag == "img")
    pictures = sum(tag == "svg" and "role" in found for tag, found in page.attributes)
    assert page.elements.count("title") == pictures + 1


def test_engines_that_were_only_built_are_told_without_figures_of_speed(
    result: MeasureResult,
) -> None:
    engine = result.variants[0].model_copy(
        update={
            "state": VariantState.BUILT,
            "runtime": Runtime.TENSORRT,
            "message": QUALITY_OF_ENGINE,
            "points": [],
            "speedup": None,
            "speedup_over_fastest_fp32": None,
            "layer_datatypes": {"INT8": 18, "FP16": 19},
        }
    )
    told = measure_plan(
        ModelOptimizationSpec.model_validate(
            {
                "model": {"uri": "s3://models/m.onnx", "sha256": "0" * 64, "format": "ONNX"},
                "inputs": [{"name": "x", "shape": [1]}],
            }
        ),
        target=result.target,
        prepared=result.prepared,
        output_uri="s3://optimized/m",
        kind=TargetKind.BUILD_ONLY,
        compute_capabilities=["8.9", "12.0"],
    ).model_copy(update={"quality": report_results.GATES})
    nothing = {"baseline": None, "selected": None, "objective_point": None, "crops": None}
    built = result.model_copy(update={"variants": [engine], "plan": told.to_api()} | nothing)
    page = HtmlPage(render_page(built, told, digest=report_results.DIGEST))
    assert page.faults == []
    for words in (
        "1 engine is built",
        "For compute capability 8.9, 12.0: built without the GPU, never run.",
        "layers read 18 INT8, 19 FP16",
        "ONNX Runtime, from the ONNX file that the engine is built from",
        gate_text(report_results.GATES[0]),
    ):
        assert words in page.text
    for words in ("Objective", "Speed at point", "Speed against quality", "Measured on"):
        assert words not in page.text


def test_every_reason_has_words() -> None:
    assert set(REASONS) == set(VariantReason)


def test_text_stays_text(result: MeasureResult) -> None:
    told = {"stage": "Measure", "model": {"uri": f"s3://models/{HOSTILE}"}}
    hostile = report_results.result(HOSTILE).model_copy(
        update={"plan": told, "evaluation_names": [HOSTILE] * report_results.SAMPLES}
    )
    page = HtmlPage(
        render_page(
            hostile,
            report_results.plan(),
            digest=report_results.DIGEST,
            crops=report_results.crops(hostile),
        )
    )
    assert page.faults == []
    assert "script" not in page.elements
    assert not any("onerror" in found for _, found in page.attributes)
    assert HOSTILE in page.text
    assert any(HOSTILE in found.get("alt", "") for _, found in page.attributes)


def test_it_says_what_the_samples_show_of_new_ones() -> None:
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=1)
    result, plan = report_results.result(), report_results.plan([gate])
    page = HtmlPage(render_page(result, plan, digest=report_results.DIGEST))
    most = 100 * share_that_may_miss(0, report_results.SAMPLES)
    assert f"at most {most:.2g} % of new samples miss it (95 % confidence)" in page.text
    mean = gate.model_copy(update={"aggregate": Aggregate.MEAN})
    page = HtmlPage(render_page(result, report_results.plan([mean]), digest=report_results.DIGEST))
    assert "new samples" not in page.text


def test_without_manifest_crops_and_gates_the_rest_is_there() -> None:
    result = report_results.result()
    page = HtmlPage(render_page(result, report_results.plan([]), digest=report_results.DIGEST))
    assert page.faults == []
    assert "No quality gate was set." in page.text
    assert "What it looks like" not in page.text
    assert page.elements.count("h2") < 13


@pytest.mark.parametrize(
    ("selected", "headline"),
    [(BASELINE, "The baseline is kept"), (None, "Nothing is selected")],
)
def test_where_nothing_wins_it_says_so(selected: str | None, headline: str) -> None:
    result = report_results.result().model_copy(update={"selected": selected})
    page = HtmlPage(render_page(result, report_results.plan(), digest=report_results.DIGEST))
    assert headline in page.text
    assert "by 1.2x" in page.text


def test_where_nothing_was_measured_the_reasons_remain() -> None:
    measured = report_results.result()
    failed = [v for v in measured.variants if v.state is VariantState.FAILED]
    result = measured.model_copy(update={"variants": failed, "selected": BASELINE})
    page = HtmlPage(render_page(result, report_results.plan(), digest=report_results.DIGEST))
    assert page.faults == []
    assert "No variant could be compared." in page.text
    assert "Speed against quality" not in page.text


def test_the_same_result_is_the_same_page(result: MeasureResult) -> None:
    first, second = (
        render_page(result, report_results.plan(), digest=report_results.DIGEST) for _ in range(2)
    )
    assert first == second


def test_by_ground_truth_the_baseline_is_judged_too() -> None:
    known = report_results.result()
    spoiled = known.variants[0]
    baseline = present(known.baseline).model_copy(
        update={
            "state": VariantState.REJECTED,
            "reason": VariantReason.QUALITY_GATE,
            "message": "worst PSNR 36.26 is below 40",
            "quality": spoiled.quality,
        }
    )
    agreeing = known.variants[1].model_copy(update={"agreement": spoiled.quality})
    result = known.model_copy(
        update={
            "reference": QualityReference.GROUND_TRUTH,
            "baseline": baseline,
            "variants": [agreeing, *known.variants[2:]],
            "selected": None,
        }
    )
    page = HtmlPage(render_page(result, report_results.plan(), digest=report_results.DIGEST))
    assert page.faults == []
    for words in (
        "agreement with ground truth on 6 evaluation samples",
        "The baseline cannot be selected either: worst PSNR 36.26 is below 40.",
        "misses a quality gate: worst PSNR 36.26 is below 40",
        "to FP32 PSNR 36.26 dB",
    ):
        assert words in page.text


def told(result: MeasureResult) -> str:
    plan = report_results.plan()
    return HtmlPage(render_page(result, plan, digest=report_results.DIGEST)).text


def test_what_auto_left_out_is_told_with_its_reason(result: MeasureResult) -> None:
    row = result.variants[0].name
    search = [
        SearchEntry(variant=row, taken=True, reason="a row of the table"),
        SearchEntry(variant="onnxruntime-fp16", taken=False, reason="CPUs compute it in FP32"),
    ]
    text = told(result.model_copy(update={"search": search}))
    assert "onnxruntime-fp16 : CPUs compute it in FP32" in text
    assert "a row of the table" not in text
    assert "Auto chose" not in told(result)


def test_an_unstable_measurement_says_so(result: MeasureResult) -> None:
    figure = "throttled 40% of the time, the least of 3 measurements"
    points = [
        p.model_copy(update={"unstable": True, "message": figure})
        for p in present(result.baseline).points
    ]
    baseline = present(result.baseline).model_copy(update={"points": points})
    assert f"Unstable: the measurement was disturbed ({figure})." in told(
        result.model_copy(update={"baseline": baseline})
    )
    assert "Unstable" not in told(result)


def test_the_gpu_is_told(result: MeasureResult) -> None:
    gpu = Gpu(name="NVIDIA L4", compute_capability="8.9", memory_bytes=24 * 2**30, driver="580.65")
    hardware = result.hardware.model_copy(update={"gpu": gpu})
    told = result.model_copy(update={"hardware": hardware})
    page = HtmlPage(render_page(told, report_results.plan(), digest=report_results.DIGEST))
    assert "NVIDIA L4, compute capability 8.9, 24" in page.text
    assert "driver 580.65" in page.text


def test_how_certain_it_is_is_told(result: MeasureResult) -> None:
    winner = present(next(v for v in result.variants if v.name == result.selected))
    other = next(v for v in result.variants if v.name != result.selected and v.speedup)
    sure = winner.model_copy(update={"speedup": 4.9, "speedup_interval": [4.71, 5.1]})
    judged = result.model_copy(
        update={
            "variants": [sure if v.name == winner.name else v for v in result.variants],
            "verdict": Verdict(
                winner=winner.name,
                stopped=Stopped.BUDGET,
                metric="LatencyP50",
                undecided=[other.name],
                rounds=96,
            ),
        }
    )
    text = HtmlPage(render_page(judged, report_results.plan(), digest=report_results.DIGEST)).text
    assert f"{winner.name} is selected, undecided" in text
    assert f"Not certain: undecided: {other.name} may be better, after 96 rounds" in text
    assert "4.90x [4.71, 5.10] over the baseline" in text
    assert "Brackets are bounds at 99 %" in text


def test_a_percentile_of_few_calls_is_called_the_largest(page: HtmlPage) -> None:
    assert "largest of 200" in page.texts
