"""The roofline: the least time that a call can take, and the share of it that a form reaches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from present import present

from mopt_api.jobs.limits import Bandwidth, Bound, Peaks, Work, best_of, borrowed, roofline

GIGA = 10**9
PEAKS = Peaks(
    products={"FP32": 100 * GIGA, "INT8": 400 * GIGA},
    bandwidths=[
        Bandwidth(data_bytes=4 * 10**6, bytes_per_second=50 * GIGA),
        Bandwidth(data_bytes=64 * 10**6, bytes_per_second=10 * GIGA),
    ],
)


def work(moved: int = 0, **products: int) -> Work:
    return Work(products=products, moved_bytes=moved)


@pytest.mark.parametrize(
    ("done", "milliseconds", "bound"),
    [
        pytest.param(work(FP32=GIGA), 10.0, Bound.COMPUTE, id="one type"),
        pytest.param(work(FP32=GIGA, INT8=4 * GIGA), 20.0, Bound.COMPUTE, id="types add up"),
        pytest.param(work(10**6, FP32=10**6), 0.02, Bound.MEMORY, id="smaller than any data"),
        pytest.param(work(20 * 10**6, FP32=10**6), 0.4, Bound.MEMORY, id="in the cache"),
        pytest.param(work(100 * 10**6, FP32=10**6), 10.0, Bound.MEMORY, id="from memory"),
        pytest.param(work(10**6, FP32=2 * 10**6), 0.02, Bound.COMPUTE, id="as long"),
        pytest.param(work(INT8=1), 1e-4, Bound.COMPUTE, id="shorter than any latency"),
        pytest.param(work(FP32=GIGA, BF16=0), 10.0, Bound.COMPUTE, id="none of a type"),
    ],
)
def test_the_longer_of_the_two_is_the_limit(done: Work, milliseconds: float, bound: Bound) -> None:
    limit = present(roofline(done, PEAKS, 40.0))
    assert limit.limit_ms == pytest.approx(milliseconds)
    assert limit.share == pytest.approx(milliseconds / 40)
    assert limit.bound is bound


@pytest.mark.parametrize(
    "done",
    [
        pytest.param(work(10**6), id="nothing counted"),
        pytest.param(work(FP32=0, INT8=0), id="nothing to compute"),
        pytest.param(work(FP32=GIGA, BF16=1), id="a type without a peak"),
    ],
)
def test_a_limit_that_is_not_known_is_not_told(done: Work) -> None:
    assert roofline(done, PEAKS, 40.0) is None


def test_without_bandwidth_arithmetic_alone_is_the_limit() -> None:
    limit = present(roofline(work(10**9, FP32=GIGA), Peaks(products=PEAKS.products), 20.0))
    assert limit.limit_ms == pytest.approx(10.0)
    assert limit.bound is Bound.COMPUTE


def test_absurd_work_still_has_a_limit_that_can_be_told() -> None:
    slow = Peaks(products={"FP32": 1e-300}, bandwidths=PEAKS.bandwidths)
    limit = present(roofline(work(2**53 - 1, FP32=2**53 - 1), slow, 1e-4))
    assert (limit.limit_ms, limit.bound) == (1e9, Bound.COMPUTE)


COUNTS = st.integers(0, 10**14)
RATES = st.floats(1e9, 1e15)
WORKS = st.builds(
    lambda fp32, int8, moved: work(moved, FP32=fp32, INT8=int8), COUNTS, COUNTS, COUNTS
)
MACHINES = st.builds(
    lambda fp32, int8, rates: Peaks(
        products={"FP32": fp32, "INT8": int8},
        # Larger data is never faster.
        bandwidths=[
            Bandwidth(data_bytes=10**6 * 4**n, bytes_per_second=rate)
            for n, rate in enumerate(sorted(rates, reverse=True))
        ],
    ),
    RATES,
    RATES,
    st.lists(RATES, max_size=4),
)


@given(WORKS, MACHINES, st.floats(1e-4, 1e9))
def test_a_call_that_takes_its_limit_reaches_all_of_it(
    done: Work, peaks: Peaks, latency: float
) -> None:
    limit = roofline(done, peaks, latency)
    if limit is None:
        assert done.total == 0
        return
    again = present(roofline(done, peaks, limit.limit_ms))
    assert again.share == pytest.approx(1)
    assert limit.share * latency == pytest.approx(limit.limit_ms)
    for kind, count in done.products.items():
        assert limit.limit_ms >= count / peaks.products[kind] * 1e3 * (1 - 1e-9)


@given(WORKS, WORKS, MACHINES)
def test_more_work_never_takes_less(some: Work, more: Work, peaks: Peaks) -> None:
    both = Work(
        products={kind: some.products[kind] + more.products[kind] for kind in some.products},
        moved_bytes=some.moved_bytes + more.moved_bytes,
    )
    limit = roofline(some, peaks, 1.0)
    if limit is not None:
        assert present(roofline(both, peaks, 1.0)).limit_ms >= limit.limit_ms * (1 - 1e-9)


def test_the_best_of_several_measurements_is_the_peak() -> None:
    first = Peaks(products={"FP32": 5, "INT8": 7}, bandwidths=PEAKS.bandwidths, unstable=True)
    second = Peaks(
        products={"FP32": 6, "BF16": 1},
        bandwidths=[Bandwidth(data_bytes=4 * 10**6, bytes_per_second=60 * GIGA)],
    )
    assert best_of([first, second]) == Peaks(
        products={"FP32": 6, "INT8": 7, "BF16": 1},
        bandwidths=[second.bandwidths[0], PEAKS.bandwidths[1]],
    )
    assert best_of([first, first]) == first


FP32, INT8, MIXED = work(7, FP32=5), work(3, INT8=5), work(4, FP32=1, INT8=4)


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        pytest.param(INT8, [FP32], INT8, id="its own"),
        pytest.param(None, [INT8, MIXED, FP32], FP32, id="that of an FP32 form"),
        pytest.param(None, [INT8, MIXED], None, id="never that of another precision"),
        pytest.param(None, [work(1, FP32=5, INT8=0)], work(1, FP32=5, INT8=0), id="none in INT8"),
    ],
)
def test_a_program_has_the_work_of_the_fp32_file(
    own: Work | None, others: list[Work], expected: Work | None
) -> None:
    assert borrowed(own, others) == expected
