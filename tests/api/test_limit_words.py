"""Why INT8 is not faster, in one sentence, and the share of the limit that forms reach."""

from __future__ import annotations

import pytest

from mopt_api.enums import ModelFormat, Precision, Runtime
from mopt_api.figures import Hardware, Latency, SourceInfo, VariantState
from mopt_api.jobs.limit_words import shares_in_words, slow_int8
from mopt_api.jobs.limits import Bound, ExecutedLayers, Limit, Peaks
from mopt_api.jobs.measure_result import MeasureResult, PointResult, VariantResult

PEAKS = Peaks(products={"FP32": 1e11, "INT8": 1.5e11})


def executed(
    conversions: int, products: dict[str, int] | None = None, **layers: int
) -> ExecutedLayers:
    return ExecutedLayers(by_type=layers, products=products, conversions=conversions)


def variant(
    name: str,
    runtime: Runtime,
    precision: Precision,
    ms: float,
    found: ExecutedLayers | None = None,
    *,
    bound: Bound = Bound.COMPUTE,
    share: float | None = 0.25,
) -> VariantResult:
    return VariantResult(
        name=name,
        runtime=runtime,
        precision=precision,
        state=VariantState.PASSED,
        executed=found,
        points=[
            PointResult(
                point="opt",
                latency_ms=Latency(p50=ms, p90=ms, p99=ms),
                throughput=1e3 / ms,
                runs=10,
                coefficient_of_variation=0.0,
                limit=None
                if share is None
                else Limit(limit_ms=share * ms, share=share, bound=bound),
            )
        ],
    )


def result(*variants: VariantResult, peaks: Peaks | None = PEAKS) -> MeasureResult:
    return MeasureResult(
        target="default",
        source=SourceInfo(sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=1),
        prepared=f"sha256:{'0' * 64}",
        hardware=Hardware(),
        software={},
        variants=list(variants),
        objective_point="opt",
        peaks=peaks,
    )


ORT, OPENVINO = Runtime.ONNX_RUNTIME, Runtime.OPENVINO
FP32 = variant("ort", ORT, Precision.FP32, 10.0, executed(4, FP32=40))
FASTER = variant("ort-again", ORT, Precision.FP32, 9.0, executed(4, FP32=40))
OTHER = variant("ov", OPENVINO, Precision.FP32, 1.0, executed(0, FP32=40))
MIXED = executed(30, {"FP32": 61, "INT8": 39}, FP32=12, INT8=28)
SLOW = variant("int8", ORT, Precision.INT8, 12.0, MIXED)
CPU = "this CPU multiplies 1.5 times as fast in INT8 as in FP32"


@pytest.mark.parametrize(
    ("int8", "others", "why"),
    [
        pytest.param(
            SLOW,
            [FP32, OTHER],
            "not faster than ONNX Runtime FP32 (ort): 12 of 40 layers stayed FP32 (61% of the "
            f"products), 26 conversions were added, {CPU}",
            id="layers and conversions",
        ),
        pytest.param(
            variant("int8", ORT, Precision.INT8, 10.0, executed(5, INT8=1)),
            [FP32, FASTER],
            "not faster than ONNX Runtime FP32 (ort-again): its layer is in INT8, 1 conversion was "
            f"added, {CPU}",
            id="as fast is not faster; the fastest FP32 counts",
        ),
        pytest.param(
            variant("int8", ORT, Precision.INT8, 12.0, executed(4, FP32=1, OTHER=1, INT8=38)),
            [FP32],
            "not faster than ONNX Runtime FP32 (ort): 2 of 40 layers are not computed in INT8, "
            f"{CPU}",
            id="neither INT8 nor FP32, products not known, no conversion more",
        ),
        pytest.param(
            variant("int8", ORT, Precision.INT8, 12.0, executed(4, INT8=40), bound=Bound.MEMORY),
            [FP32],
            "not faster than ONNX Runtime FP32 (ort): all 40 layers are computed in INT8, memory, "
            "not arithmetic, is its limit",
            id="memory",
        ),
        pytest.param(
            variant("int8", ORT, Precision.INT8, 8.0, MIXED), [FP32, OTHER], None, id="it is faster"
        ),
        pytest.param(SLOW, [OTHER], None, id="no FP32 form of its runtime"),
        pytest.param(
            variant("int8", ORT, Precision.INT8, 12.0), [FP32], None, id="nothing is known of it"
        ),
        pytest.param(
            variant("half", ORT, Precision.FP16, 12.0, MIXED), [FP32], None, id="not INT8"
        ),
    ],
)
def test_int8_that_is_not_faster_says_why(
    int8: VariantResult, others: list[VariantResult], why: str | None
) -> None:
    found = slow_int8(result(int8, *others))
    assert found == ({} if why is None else {int8.name: why})


def test_without_peaks_the_cpu_is_no_cause() -> None:
    assert CPU not in slow_int8(result(SLOW, FP32, peaks=None))["int8"]


def test_each_form_with_a_limit_tells_its_share() -> None:
    unknown = variant("torch", Runtime.PYTORCH, Precision.INT8, 3.0, share=None)
    half = variant("ov", OPENVINO, Precision.FP32, 1.0, share=0.5)
    assert shares_in_words(result(FP32, half, unknown)) == (
        "of what this machine could reach at most: ort 25%, ov 50%"
    )
    assert shares_in_words(result(unknown)) == ""
