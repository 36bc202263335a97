"""Which variants new weights of a graph leave out, by what was measured with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measured_graph import FACTS, FAILED, GATE, HERE, MISSED, POOL, SLOW, THERE, TRIED, measured

from mopt_api.auto.search import search
from mopt_api.benchmark import Benchmark, BenchmarkPoint
from mopt_api.enums import ObjectiveMetric, TargetKind
from mopt_api.figures import VariantReason, VariantState
from mopt_api.inputs import DimensionRange
from mopt_api.jobs.outrun import Measured, hardware_digest, lasts, outrun_by
from mopt_api.jobs.question import question_of
from mopt_api.load import Load
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_api.verdict import Stopped


def left_out(*history: Measured, tried: list[str] = TRIED) -> set[str]:
    return set(outrun_by(history, tried))


def test_nothing_is_known_without_history() -> None:
    assert outrun_by([], TRIED) == {}


FP32, OTHER, INT8, NNCF = (
    *("openvino-fp32", "onnxruntime-fp32"),
    *("openvino-int8", "openvino-int8-nncf"),
)


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        # FP32 holds gates whatever the weights.
        ({FP32: 2.0, OTHER: 1.0}, {OTHER}),
        ({FP32: 2.0, OTHER: 1.9}, set()),
        ({FP32: 2.0, INT8: 1.0}, {INT8}),
        # The bound counts, not the estimate.
        ({FP32: (2.0, {"width": 1.5}), OTHER: 1.4}, set()),
        # What is faster in INT8 may miss its gate with new weights.
        ({INT8: 9.0, FP32: 1.0}, set()),
        # But then what was no better in INT8 misses it too.
        ({INT8: 3.0, NNCF: 2.0}, {NNCF}),
        ({INT8: 3.0, NNCF: 2.5}, set()),
        ({INT8: 3.0, NNCF: (2.0, {"quality": 50.5})}, set()),
        ({INT8: (3.0, {"quality": 50.5}), NNCF: 2.0}, {NNCF}),
        ({INT8: (9.0, {"ended": MISSED}), NNCF: 2.0}, set()),
        # Searched in another way: ranges found at run time.
        ({INT8: 9.0, "onnxruntime-int8-dynamic": 1.0}, set()),
        # What missed a gate, or failed, is tried again.
        ({FP32: 3.0, INT8: (1.0, {"ended": MISSED})}, set()),
        ({FP32: 3.0, INT8: (1.0, {"ended": FAILED})}, set()),
        ({FP32: 3.0, INT8: (0.2, {"ended": SLOW})}, {INT8}),
    ],
)
def test_what_lost(speeds: dict[str, Any], expected: set[str]) -> None:
    assert left_out(measured(speeds)) == expected


def test_reason_names_who_was_ahead_where_and_when() -> None:
    said = outrun_by([measured({FP32: 2.0, OTHER: 1.0, INT8: (0.1, {"ended": SLOW})})], TRIED)
    assert said[OTHER].startswith("openvino-fp32 is 2.00x [1.96, 2.04] as fast")
    assert said[INT8].endswith("probed at 9 ms")
    for words in said.values():
        assert f"sha256:{1:064}, 2026-11-01" in words


def test_who_was_ahead_is_tried_now() -> None:
    assert left_out(measured({FP32: 2.0, OTHER: 1.0}), tried=[OTHER, INT8]) == set()


def test_it_lost_on_all_hardware() -> None:
    lost, won = {FP32: 2.0, OTHER: 1.0}, {FP32: 1.0, OTHER: 2.0}
    assert left_out(measured(lost), measured(lost, hardware=THERE)) == {OTHER}
    assert left_out(measured(lost), measured(won, hardware=THERE)) == set()
    assert left_out(measured(lost), measured({FP32: 1.0}, hardware=THERE)) == set()


def test_what_was_left_out_since_stays_left_out() -> None:
    first = measured({FP32: 2.0, OTHER: 1.0}, day=1)
    assert left_out(first, measured({FP32: 2.0}, day=8)) == {OTHER}
    # But for what it lost to, which has missed a gate since.
    int8 = measured({INT8: 3.0, NNCF: 2.0}, day=1)
    assert left_out(int8, measured({INT8: 3.0}, day=8)) == {NNCF}
    missed = measured({INT8: (3.0, {"ended": MISSED})}, day=8)
    assert left_out(int8, missed) == left_out(missed, int8) == set()


def test_the_latest_counts() -> None:
    lost, close = measured({FP32: 2.0, OTHER: 1.0}, day=1), measured({FP32: 2.0, OTHER: 2.0}, day=2)
    assert left_out(lost, close) == set()


def test_undecided_tells_nothing() -> None:
    with pytest.raises(AssertionError):
        measured({FP32: 2.0}, stopped=Stopped.BUDGET)


def test_thirty_days() -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    assert lasts("2026-11-01T10:00:00Z", now)
    assert not lasts("2026-10-30T10:00:00Z", now)
    assert not lasts("2026-12-24T10:00:00Z", now)


def test_a_node_is_no_hardware() -> None:
    assert hardware_digest(HERE) == hardware_digest(HERE.model_copy(update={"node": "a"}))
    assert hardware_digest(HERE) != hardware_digest(THERE)


ENDS = st.sampled_from([(VariantState.PASSED, None)] * 4 + [MISSED, FAILED, SLOW])
ROWS = st.tuples(
    st.floats(0.2, 9),
    st.fixed_dictionaries(
        {
            "quality": st.floats(41, 60),
            "ended": ENDS,
            "width": st.floats(1.001, 1.5),
        }
    ),
)
SPEEDS = st.dictionaries(st.sampled_from(TRIED), ROWS, min_size=1)


@given(SPEEDS, SPEEDS)
def test_what_may_win_is_never_left_out(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = measured(one), measured(other, hardware=THERE)
    lost = left_out(first)
    assert first.result.selected not in lost
    for each in first.result.variants:
        if each.state is not VariantState.PASSED and each.reason is not VariantReason.TOO_SLOW:
            assert each.name not in lost
    # Of those that passed one stays that is faster, and FP32 stays where it was there.
    passed = {
        each.name: each.speedup or 0 for each in first.result.variants if first.passed(each.name)
    }
    for name in lost & passed.keys():
        assert any(passed[kept] > passed[name] for kept in passed.keys() - lost)
    fp32 = {name for name in passed if POOL[name].precision == "FP32"}
    assert not fp32 or fp32 - lost
    # What is known of more hardware leaves out no more.
    assert left_out(first, second) == lost & left_out(second)
    assert left_out(second, first) == left_out(first, second)


@given(SPEEDS, st.floats(1, 3))
def test_more_certainty_leaves_out_no_less(speeds: dict[str, Any], factor: float) -> None:
    def narrower(known: tuple[float, dict[str, Any]]) -> tuple[float, dict[str, Any]]:
        speed, options = known
        return speed, options | {"width": 1 + (options["width"] - 1) / factor}

    less = left_out(measured(speeds))
    assert less <= left_out(measured({name: narrower(known) for name, known in speeds.items()}))


def test_auto_says_why_it_does_not_try() -> None:
    facts = FACTS.model_copy(
        update={
            "outrun": {TargetKind.CPU: {INT8: "slower"}, TargetKind.GPU: {FP32: "slower"}},
        }
    )
    told = {c.variant.name: c for c in search(facts)}
    assert (told[INT8].shown, told[INT8].reason) == (False, "slower")
    assert told[FP32].taken


def test_the_question_is_what_is_compared_not_how_long() -> None:
    sizes = {"n": DimensionRange(min=1, opt=2, max=4)}

    def asked(
        benchmark: Benchmark | None = None,
        *,
        objective: Objective | None = None,
        gates: Sequence[QualityGate] = (GATE,),
        dimensions: Mapping[str, DimensionRange] = sizes,
        references: bool = False,
    ) -> str | None:
        whole = (benchmark or Benchmark(), objective or Objective(), gates, dimensions)
        return question_of(*whole, references=references)

    same = asked()
    assert same == asked(Benchmark(min_duration_seconds=9, warmup_seconds=0))
    others = [
        asked(Benchmark(threads=2)),
        asked(Benchmark(points=[BenchmarkPoint(name="large", dimensions={"n": 4})])),
        asked(objective=Objective(metric=ObjectiveMetric.LATENCY_P90)),
        asked(objective=Objective(minimum_speedup=2)),
        asked(gates=[]),
        asked(dimensions={"n": DimensionRange(min=1, opt=3, max=4)}),
    ]
    assert len({same, *others}) == 1 + len(others)
    assert None not in {same, *others}
    assert asked(references=True) is None
    assert asked(Benchmark(load=Load())) is None
    assert asked(objective=Objective(metric=ObjectiveMetric.SIZE_BYTES)) is None
