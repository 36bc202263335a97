"""The termination message: bounded, reversible, suspicious of everything."""

from __future__ import annotations

import base64
import random
import string
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from present import present

from mopt_api.artifacts import ArtifactFormat, ExternalData
from mopt_api.enums import FloatPrecision, ModelFormat, Precision, QualityMetric, Runtime
from mopt_api.figures import (
    AIMED_BY_EVALUATION,
    MOST_AIM_DECIBELS,
    Gpu,
    Hardware,
    Latency,
    LoadFigures,
    QualityReference,
    QualityResult,
    Serving,
    SourceInfo,
    VariantReason,
    VariantState,
    short_part,
)
from mopt_api.jobs.data_statistics import DataFault, DataWarning, warning_tags
from mopt_api.jobs.measure_result import QUALITY_OF_ENGINE, MeasureResult, VariantResult
from mopt_api.jobs.termination import (
    MAX_BYTES,
    PREFIX,
    MeasureSummary,
    MessageError,
    PrepareSummary,
    VariantSummary,
    decode,
    encode,
    error_summary,
    summarize_measure,
)
from mopt_api.reasons import ErrorReport, Reason
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.verdict import RunnerUp, Stopped, Verdict

MOST_GATES = 4
LONGEST_OUTPUT = 128
DIGEST = "sha256:" + "1" * 64
Judged = tuple[QualityMetric, str | None, str | None]


def _judged(rng: random.Random) -> list[Judged]:
    """Return what the gates judge, with names as long as any."""
    return [
        (
            metric,
            "".join(rng.choices(string.printable, k=LONGEST_OUTPUT)),
            "".join(rng.choices(string.ascii_lowercase + string.digits, k=40)),
        )
        for metric in rng.sample(list(QualityMetric), MOST_GATES)
    ]


def _data(rng: random.Random) -> ExternalData:
    digest = "sha256:" + rng.randbytes(32).hex()
    return ExternalData(path="model.onnx.data", digest=digest, size_bytes=rng.randrange(2**40))


def _largest_variant(
    rng: random.Random, metrics: list[Judged], *, large: bool, tolerances: bool = False
) -> VariantSummary:
    def figure() -> float:
        return float(f"{rng.uniform(0.001, 99999):.4g}")

    def quality() -> float:
        # Five digits and an exponent: the longest that a summary writes.
        return float(f"{rng.uniform(1e-7, 1e-5):.5g}")

    def text(length: int) -> str:
        return "".join(rng.choices(string.printable, k=length))

    return VariantSummary(
        name="".join(rng.choices(string.ascii_lowercase + string.digits, k=40)),
        runtime=rng.choice(list(Runtime)),
        precision=rng.choice(list(Precision)),
        float_precision=FloatPrecision.BF16,
        state=rng.choice(list(VariantState)),
        reason=rng.choice(list(VariantReason)),
        message=text(1024),
        artifact_digest="sha256:" + rng.randbytes(32).hex(),
        artifact_format=ArtifactFormat.EXPORTED_PROGRAM,
        size_bytes=rng.randrange(2**40),
        external_data=[_data(rng) for _ in range(4)] if large else None,
        peak_memory_bytes=rng.randrange(2**40),
        latency_ms=Latency(p50=figure(), p90=figure(), p99=figure()),
        throughput=figure(),
        runs=rng.randrange(10**7),
        load=LoadFigures(
            scenario="Server",
            serving=Serving(
                instances=rng.randint(1, 1024),
                threads=rng.randint(1, 1024),
                batch=rng.randint(1, 65536),
            ),
            throughput=figure(),
            latency_ms=Latency(p50=figure(), p90=figure(), p99=figure()),
            queries=rng.randrange(10**7),
        ),
        quality=[
            QualityResult(
                metric=m,
                worst=quality(),
                mean=quality(),
                tolerance=quality() if tolerances else None,
                output=o,
                slice=s,
                part=text(96),
            )
            for m, o, s in metrics
        ],
        aim_decibels=rng.choice([None, MOST_AIM_DECIBELS]),
        aimed_by=rng.choice([None, AIMED_BY_EVALUATION]),
        speedup=figure(),
        speedup_interval=[figure(), figure()],
        speedup_over_fastest_fp32=figure(),
    )


def without_parts(summary: MeasureSummary) -> list[VariantSummary]:
    """Return the variants without what may be left out, and with short names."""
    return [
        v.model_copy(
            update={
                "quality": [
                    q.model_copy(
                        update={
                            "part": None,
                            "tolerance": None,
                            "slice": None,
                            "output": short_part(q.output, q.slice) if q.slice else q.output,
                        }
                    )
                    for q in v.quality
                ]
            }
        )
        for v in summary.variants
    ]


@settings(deadline=None)
@example(seed=129195315, large=True, tolerances=False)
@given(st.integers(min_value=0), st.booleans(), st.booleans())
def test_largest_legal_result_fits(seed: int, large: bool, tolerances: bool) -> None:
    rng = random.Random(seed)
    noise = "".join(rng.choices(string.printable, k=253))
    metrics = _judged(rng)
    variants = [
        _largest_variant(rng, metrics, large=large, tolerances=tolerances) for _ in range(12)
    ]
    summary = MeasureSummary(
        target="".join(rng.choices(string.ascii_lowercase, k=40)),
        result="sha256:" + rng.randbytes(32).hex(),
        point="".join(rng.choices(string.ascii_lowercase, k=40)),
        reference=QualityReference.GROUND_TRUTH,
        hardware=Hardware(
            cpu=noise[:128],
            architecture="x86_64",
            cpu_features=[noise[i : i + 30] for i in range(40)],
            threads=256,
            memory_bytes=2**40,
            node=noise,
            gpu=Gpu(
                name=noise[:64],
                compute_capability="12.0",
                memory_bytes=rng.randrange(2**40),
                driver=noise[:32],
                mig=True,
            ),
        ),
        software={noise[i : i + 40]: noise[-40:] for i in range(30)},
        baseline=_largest_variant(rng, metrics, large=large),
        variants=variants,
        selected=variants[-1].name,
        verdict=Verdict(
            winner=variants[-1].name,
            stopped=Stopped.BUDGET,
            metric="CostPerMillion",
            ratio=0.1234,
            interval=[0.1111, 0.2345],
            ties=[v.name for v in variants[:5]],
            undecided=[v.name for v in variants[5:-1]],
            runner_up=RunnerUp(name=variants[0].name, ratio=1.234, interval=[0.9876, 1.345]),
            rounds=2**31 - 1,
        ),
        unstable=True,
        warnings=[noise[i : i + 40] for i in range(8)],
    )
    message = encode(summary)
    assert ModelOptimizationSpec.model_json_schema()["properties"]["quality"]["maxItems"] == (
        MOST_GATES
    )
    assert len(message.encode()) <= MAX_BYTES
    decoded = decode(message)
    assert isinstance(decoded, MeasureSummary)
    kept = {"message": None, "external_data": None, "aim_decibels": None, "aimed_by": None}
    kept |= {"load": None, "peak_memory_bytes": None, "speedup_over_fastest_fp32": None}
    kept |= {"runs": None, "speedup_interval": None, "throughput": None}
    assert [v.model_copy(update=kept) for v in without_parts(decoded)] == [
        v.model_copy(update=kept) for v in without_parts(summary)
    ]
    assert (decoded.result, decoded.reference) == (summary.result, summary.reference)
    assert decoded.unstable is True
    told, meant = present(decoded.verdict), present(summary.verdict)
    assert (told.winner, told.stopped) == (meant.winner, meant.stopped)
    # What is served, and how, is never left out.
    assert decoded.variants[-1].load == variants[-1].load
    assert decoded.variants[-1].throughput == variants[-1].throughput


def test_figures_under_load_of_a_usual_result_are_told() -> None:
    rng = random.Random(0)
    metrics: list[Judged] = [(m, None, None) for m in list(QualityMetric)[:2]]
    summary = MeasureSummary(
        target="default",
        result="sha256:" + "1" * 64,
        hardware=Hardware(),
        baseline=_largest_variant(rng, metrics, large=False),
        variants=[_largest_variant(rng, metrics, large=False) for _ in range(12)],
    )
    decoded = decode(encode(summary))
    assert isinstance(decoded, MeasureSummary)
    told = [v.load for v in (present(decoded.baseline), *decoded.variants)]
    assert told == [v.load for v in (present(summary.baseline), *summary.variants)]


def test_tolerance_is_told_where_a_gate_judges_it() -> None:
    values = [float(value) for value in range(100)]
    figures = [
        QualityResult(metric=metric, worst=0.0, mean=49.5, per_sample=values)
        for metric in (QualityMetric.PSNR, QualityMetric.SQNR)
    ]
    gates = [{"metric": "PSNR", "minimum": 1, "aggregate": "Tolerance"}]
    result = MeasureResult(
        target="default",
        source=SourceInfo(format=ModelFormat.ONNX, sha256="1" * 64, size_bytes=1),
        prepared=DIGEST,
        hardware=Hardware(),
        software={},
        variants=[
            VariantResult(
                name="int8",
                runtime=Runtime.OPENVINO,
                precision=Precision.INT8,
                state=VariantState.PASSED,
                quality=figures,
            )
        ],
        plan={"quality": gates},
    )
    (told,) = summarize_measure(result, DIGEST).variants
    assert [q.tolerance for q in told.quality] == [1.0, None]
    assert {q.per_sample is None for q in told.quality} == {True}


def test_intervals_and_numbers_of_calls_of_a_usual_result_are_told() -> None:
    rng = random.Random(0)
    metrics: list[Judged] = [(m, None, None) for m in list(QualityMetric)[:2]]
    variants = [_largest_variant(rng, metrics, large=False) for _ in range(6)]
    nearest = RunnerUp(name=variants[1].name, ratio=1.2, interval=[1.1, 1.3])
    summary = MeasureSummary(
        target="default",
        result="sha256:" + "1" * 64,
        hardware=Hardware(),
        baseline=_largest_variant(rng, metrics, large=False),
        variants=variants,
        verdict=Verdict(stopped=Stopped.DECIDED, metric="LatencyP50", runner_up=nearest),
    )
    decoded = decode(encode(summary))
    assert isinstance(decoded, MeasureSummary)
    assert [(v.runs, v.speedup_interval) for v in decoded.variants] == [
        (v.runs, v.speedup_interval) for v in variants
    ]
    assert decoded.verdict == summary.verdict


def test_second_search_of_a_usual_result_is_told() -> None:
    rng = random.Random(0)
    metrics: list[Judged] = [(m, None, None) for m in list(QualityMetric)[:MOST_GATES]]
    variants = [_largest_variant(rng, metrics, large=False) for _ in range(12)]
    told = [
        v.model_copy(update={"aim_decibels": n, "aimed_by": None if n else AIMED_BY_EVALUATION})
        for v, n in zip(variants, (None, *range(1, 12)), strict=True)
    ]
    summary = MeasureSummary(
        target="default", result="sha256:" + "1" * 64, hardware=Hardware(), variants=told
    )
    decoded = decode(encode(summary))
    assert isinstance(decoded, MeasureSummary)
    assert [(v.aim_decibels, v.aimed_by) for v in decoded.variants] == [
        (None, AIMED_BY_EVALUATION),
        *((n, None) for n in range(1, 12)),
    ]


def test_external_data_of_a_usual_result_is_named() -> None:
    rng = random.Random(0)
    metrics: list[Judged] = [(m, None, None) for m in list(QualityMetric)[:MOST_GATES]]
    variants = [_largest_variant(rng, metrics, large=False) for _ in range(6)]
    data = [[_data(rng)] for _ in range(3)]
    summary = MeasureSummary(
        target="default",
        result="sha256:" + "1" * 64,
        point="opt",
        hardware=Hardware(),
        software={},
        baseline=variants[0],
        variants=[
            v.model_copy(update={"external_data": data[n % 3]}) for n, v in enumerate(variants)
        ],
    )
    decoded = decode(encode(summary))
    assert isinstance(decoded, MeasureSummary)
    assert [v.external_data for v in decoded.variants] == [data[n % 3] for n in range(6)]


def test_short_messages_are_kept_whole() -> None:
    source = SourceInfo(sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=3)
    summary = PrepareSummary(result="sha256:" + "1" * 64, source=source)
    assert decode(encode(summary)) == summary


def test_warnings_are_named_in_short() -> None:
    said = [
        DataWarning(fault=fault, field=f"spec.data.{field}", message="x" * 512)
        for fault in (DataFault.COLOR_ORDER, DataFault.SCALE)
        for field in ("calibration", "evaluation", "evaluation")
    ]
    assert warning_tags(said) == [
        "calibration:ColorOrder",
        "evaluation:ColorOrder",
        "calibration:Scale",
        "evaluation:Scale",
    ]
    everything = [
        DataWarning(fault=fault, field="spec.data.calibration", message="x") for fault in DataFault
    ]
    longest = warning_tags(everything)
    assert len(longest) <= 8
    summary = MeasureSummary(
        target="default",
        result="sha256:" + "1" * 64,
        hardware=Hardware(),
        variants=[],
        warnings=longest,
    )
    assert decode(encode(summary)) == summary


def test_no_winner_survives() -> None:
    bare = VariantSummary(name="baseline", runtime="PyTorch", precision="FP32", state="Passed")
    summary = MeasureSummary(
        target="default",
        result="sha256:" + "1" * 64,
        point="opt",
        hardware=Hardware(),
        software={},
        baseline=bare,
        variants=[],
        selected=None,
    )
    assert decode(encode(summary)) == summary


def test_what_was_only_built_survives() -> None:
    engine = VariantSummary(
        name="tensorrt-fp16",
        runtime="TensorRT",
        precision="FP16",
        state="Built",
        message=QUALITY_OF_ENGINE,
        artifact_digest="sha256:" + "2" * 64,
        artifact_format=ArtifactFormat.TENSORRT_ENGINE,
        size_bytes=7,
    )
    summary = MeasureSummary(
        target="engines", result="sha256:" + "1" * 64, hardware=Hardware(), variants=[engine]
    )
    assert decode(encode(summary)) == summary


def test_longest_error_fits() -> None:
    noise = "".join(random.Random(0).choices(string.printable, k=5000))
    message = encode(error_summary(ErrorReport(reason=Reason.INVALID_MODEL, message=noise[:1024])))
    assert len(message.encode()) <= MAX_BYTES


@given(st.text(max_size=200))
def test_foreign_text_is_refused(text: str) -> None:
    with pytest.raises(MessageError):
        decode(text)


@given(st.integers(min_value=0), st.binary(max_size=4))
def test_damaged_message_is_refused(position: int, noise: bytes) -> None:
    source = SourceInfo(sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=3)
    summary = PrepareSummary(result="sha256:" + "1" * 64, source=source)
    message = encode(summary)
    cut = len(PREFIX) + position % (len(message) - len(PREFIX))
    try:
        # Base64 can write the same last byte in more than one way: then nothing is damaged.
        assert decode(message[:cut] + noise.hex()) == summary
    except MessageError:
        return


def test_bomb_is_refused() -> None:
    bomb = PREFIX + base64.b64encode(zlib.compress(b" " * 50_000_000, 9)).decode()
    with pytest.raises(MessageError, match="truncated, or larger"):
        decode(bomb)
