"""Limits of forms: filled in for each point, and of a real network never below what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from present import present
from runners import opened

from mopt_api.enums import Precision, Runtime
from mopt_api.figures import Latency, VariantState
from mopt_api.jobs.limits import Peaks, Work, best_of, roofline
from mopt_api.jobs.measure_result import PointResult, VariantResult
from mopt_optimizer.machine.bandwidth import bandwidths
from mopt_optimizer.onnx_files.work import count_work, without_weights
from mopt_optimizer.opening.loading import open_onnx
from mopt_optimizer.runtimes.openvino.peaks import Kernels, products_per_second
from mopt_optimizer.stages.measure.job import Results
from mopt_optimizer.stages.measure.limits import with_limits
from mopt_optimizer.timing.interleave import time_calls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from model_files import ModelFiles

pytestmark = pytest.mark.optimizer

PEAKS = Peaks(products={"FP32": 1e9, "INT8": 4e9})
SMALL, LARGE = (Work(products={"FP32": n * 10**6}, moved_bytes=n) for n in (1, 8))
INT8 = Work(products={"INT8": 10**6}, moved_bytes=1)


def variant(
    name: str, precision: Precision, *works: Work | None, runtime: Runtime = Runtime.ONNX_RUNTIME
) -> VariantResult:
    return VariantResult(
        name=name,
        runtime=runtime,
        precision=precision,
        state=VariantState.PASSED,
        points=[
            PointResult(
                point=point,
                latency_ms=Latency(p50=10.0, p90=10.0, p99=10.0),
                throughput=100,
                runs=10,
                coefficient_of_variation=0.0,
                work=work,
            )
            for point, work in zip(("small", "large"), works, strict=False)
        ],
    )


def limits(found: Results) -> dict[str, list[float | None]]:
    everyone = [*filter(None, [found.baseline]), *found.variants]
    return {
        v.name: [p.limit.limit_ms if p.limit is not None else None for p in v.points]
        for v in everyone
    }


def test_each_point_has_its_limit_and_programs_that_of_the_fp32_file() -> None:
    eager = variant("baseline", Precision.FP32, None, None, runtime=Runtime.PYTORCH)
    narrow = variant("torch-int8", Precision.INT8, None, None, runtime=Runtime.PYTORCH)
    ort = variant("ort", Precision.FP32, SMALL, LARGE)
    int8 = variant("ort-int8", Precision.INT8, INT8, None)
    found = with_limits(Results(eager, [int8, ort, narrow]), PEAKS)
    assert limits(found) == {
        "baseline": [pytest.approx(1.0), pytest.approx(8.0)],
        "ort": [pytest.approx(1.0), pytest.approx(8.0)],
        "ort-int8": [pytest.approx(0.25), None],
        "torch-int8": [None, None],
    }
    assert present(found.baseline).points[1].work == LARGE


def test_without_peaks_the_work_is_told_alone() -> None:
    ort = variant("ort", Precision.FP32, SMALL)
    found = with_limits(Results(None, [ort]), None)
    assert limits(found) == {"ort": [None]}
    assert found.variants[0].points[0].work == SMALL


def test_what_failed_has_no_point_to_fill_in() -> None:
    failed = variant("ort", Precision.FP32)
    assert with_limits(Results(None, [failed]), PEAKS).variants == [failed]


THREADS, ROUNDS = 1, 5
KERNELS = Kernels(channels=32, side=16, matrix=128)
FORMS = [
    (Runtime.ONNX_RUNTIME, Precision.FP32, "onnx"),
    (Runtime.ONNX_RUNTIME, Precision.INT8, "int8"),
    (Runtime.OPENVINO, Precision.FP32, "onnx"),
    (Runtime.OPENVINO, Precision.INT8, "int8"),
]


def median_ms(call: Callable[[], None]) -> float:
    return float(np.median(time_calls(call, seconds=0.02, calls=5))) / 1e6


def peaks_now() -> Peaks:
    kinds = (Precision.FP32, Precision.INT8)
    found = {kind: products_per_second(KERNELS, kind, THREADS, 0.01) for kind in kinds}
    return Peaks(
        products={kind.value: rate for kind, rate in found.items() if rate is not None},
        bandwidths=bandwidths(THREADS, [2**20, 2**23], 0.02),
    )


@pytest.mark.parametrize(("runtime", "precision", "form"), FORMS)
def test_a_real_network_does_not_beat_its_limit(
    model_files: ModelFiles, runtime: Runtime, precision: Precision, form: str
) -> None:
    """Both are measured in turns, so that what else runs here slows down both. The network is
    small, so most of its time goes to all but arithmetic: it stays far below its limit."""
    path: Path = getattr(model_files, form)
    image = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    counted = present(count_work(without_weights(open_onnx(path)), {"image": image.shape}))
    peaks: list[Peaks] = []
    latencies: list[float] = []
    with opened(runtime, precision, path, THREADS) as runner:
        call = runner.bind({"image": image})
        for _ in range(ROUNDS):
            peaks.append(peaks_now())
            latencies.append(median_ms(call))
    best = best_of(peaks)
    limit = roofline(counted.work, best, float(np.median(latencies)))
    if precision.value in best.products:
        assert 0 < present(limit).share <= 1.05
