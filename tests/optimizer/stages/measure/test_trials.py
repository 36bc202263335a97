"""How trials go, with processes of the test's own: no runtime, no clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present import present
from trial_world import MS, POINTS, Behaviour, Gpu, put_engine, run, world

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import QualityMetric, TorchMode
from mopt_api.figures import VariantReason, VariantState
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import BaselineError


def test_what_a_call_has_to_do_is_asked_once_all_is_timed(tmp_path: Path) -> None:
    there = world(first=Behaviour(), second=Behaviour())
    results = run(tmp_path, there)
    asked = [event for event in there.events if event.startswith("explain")]
    assert asked == ["explain first", "explain second", "explain baseline"]
    last_turn = max(n for n, event in enumerate(there.events) if event.startswith("turn"))
    assert last_turn < there.events.index("explain first")
    for result in results.values():
        values = [3 * 4 * 4, 2 * 3 * 8 * 8]
        assert [present(p.work).products["FP32"] for p in result.points] == values


def test_a_form_that_cannot_explain_itself_has_been_measured(tmp_path: Path) -> None:
    logged: list[tuple[str, dict[str, Any]]] = []
    there = world(silent=Behaviour(fails="explain"), other=Behaviour())
    results = run(tmp_path, there, logged=logged)
    assert results["silent"].state is VariantState.PASSED
    assert [point.work for point in results["silent"].points] == [None, None]
    assert results["other"].points[0].work is not None
    assert ("limits", {"variant": "silent"}) in logged


def test_on_a_gpu_nobody_is_asked(tmp_path: Path) -> None:
    there = world(first=Behaviour())
    results = run(tmp_path, there, gpu=Gpu())
    assert not [event for event in there.events if event.startswith("explain")]
    assert results["first"].points[0].work is None


def test_each_is_compared_timed_and_weighed(tmp_path: Path) -> None:
    there = world(quick=Behaviour(error=0.01, call_ns=2 * MS, memory=70))
    results = run(tmp_path, there, int8=("quick",))
    quick = results["quick"]
    assert quick.state is VariantState.PASSED
    assert quick.peak_memory_bytes == 70
    assert quick.quality[0].per_sample == pytest.approx([40, 40], abs=1e-3)
    assert [p.point for p in quick.points] == ["small", "large"]
    assert [p.latency_ms.p50 for p in quick.points] == [2.0, 2.0]
    assert [p.throughput for p in quick.points] == pytest.approx([500, 1000])
    assert [p.latency_ms.p50 for p in results["baseline"].points] == [10.0, 10.0]
    assert there.open_now == set()


def test_rounds_end_with_a_winner_among_those_within_the_gates(tmp_path: Path) -> None:
    there = world(
        spoilt=Behaviour(error=0.1, call_ns=MS),
        good=Behaviour(error=1e-4, call_ns=3 * MS),
        slow=Behaviour(error=1e-4, call_ns=8 * MS),
    )
    said: list[str] = []
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=40)
    results = run(tmp_path, there, int8=("spoilt", "good", "slow"), said=said, gates=[gate])
    assert [text for text in said if "rounds" in text] == ["decided after 6 rounds: good"] * 2
    good, slow, spoilt = (results[name].points[0] for name in ("good", "slow", "spoilt"))
    assert {point.rounds for point in (good, slow, spoilt)} == {6}
    p50 = {c.than: c.ratio for c in good.compared if c.metric == "LatencyP50"}
    assert p50["baseline"] == pytest.approx(10 / 3)
    assert p50["slow"] == pytest.approx(8 / 3)
    # What misses the gate now may be judged by a lower one later.
    assert {c.than for c in spoilt.compared} == {"baseline", "good", "slow"}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour(fails="open"), VariantReason.BUILD_FAILED),
        (Behaviour(fails="evaluate"), VariantReason.CRASHED),
        (Behaviour(fails="bind"), VariantReason.CRASHED),
        (Behaviour(fails="turn"), VariantReason.CRASHED),
        (Behaviour(value=np.nan), VariantReason.NON_FINITE_OUTPUT),
        (Behaviour(value=np.inf), VariantReason.NON_FINITE_OUTPUT),
        (Behaviour(shape=(1, 3, 16)), VariantReason.BUILD_FAILED),
    ],
)
def test_a_failing_variant_leaves_the_others_alone(
    tmp_path: Path, behaviour: Behaviour, reason: VariantReason
) -> None:
    there = world(bad=behaviour, good=Behaviour())
    results = run(tmp_path, there)
    bad = results["bad"]
    assert (bad.state, bad.reason) == (VariantState.FAILED, reason)
    assert bad.message
    assert (bad.points, bad.quality) == ([], [])
    for name in ("good", "baseline"):
        assert results[name].state is VariantState.PASSED
        assert [p.runs for p in results[name].points] == [6, 6]
    assert there.open_now == set()


@pytest.mark.parametrize("fails", ["open", "evaluate", "bind", "turn"])
def test_a_failing_baseline_ends_it_all(tmp_path: Path, fails: str) -> None:
    there = world(Behaviour(fails=fails), good=Behaviour())
    with pytest.raises(BaselineError, match="the source model fails"):
        run(tmp_path, there)
    assert there.open_now == set()


def test_a_baseline_that_returns_nothing_but_nan_is_no_reference(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="output image: every value is NaN"):
        run(tmp_path, world(Behaviour(error=np.nan), good=Behaviour()))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_in_fp32_is_no_fault_of_a_variant(tmp_path: Path, value: float) -> None:
    there = world(Behaviour(value=value), same=Behaviour(value=value), other=Behaviour())
    results = run(tmp_path, there)
    assert results["same"].state is VariantState.PASSED
    assert results["same"].quality[0].exact
    assert results["other"].reason is VariantReason.NON_FINITE_OUTPUT


def test_another_number_of_rows_names_the_sample(tmp_path: Path) -> None:
    results = run(tmp_path, world(v=Behaviour(shape=(3, 16))), names=["a/low.png", "b.png"])
    message = results["v"].message
    assert message == "sample a/low.png: output image is (3, 16), FP32's is (1, 3, 4, 4)"


def test_an_fp32_variant_that_computes_something_else_is_rejected(tmp_path: Path) -> None:
    there = world(other=Behaviour(error=0.1), good=Behaviour(error=1e-5), int8=Behaviour(error=0.1))
    results = run(tmp_path, there, int8=("int8",))
    other = results["other"]
    assert (other.state, other.reason) == (VariantState.REJECTED, VariantReason.OTHER_FUNCTION)
    assert other.message is not None
    assert other.message.startswith("output image is ")
    assert other.quality
    assert other.points
    assert results["good"].state is results["int8"].state is VariantState.PASSED


def test_a_variant_whose_channel_became_constant_is_rejected(tmp_path: Path) -> None:
    there = world(stuck=Behaviour(constant=1), good=Behaviour(error=0.001))
    results = run(tmp_path, there, int8=("stuck", "good"))
    stuck = results["stuck"]
    assert (stuck.state, stuck.reason) == (VariantState.REJECTED, VariantReason.CONSTANT_CHANNEL)
    assert stuck.message is not None
    assert stuck.message.startswith("image[:, 1:2] is constant, 0; in FP32 it varies from 0 to")
    assert stuck.quality
    assert stuck.points
    assert results["good"].state is VariantState.PASSED


def test_without_samples_everything_is_still_opened_run_and_timed(tmp_path: Path) -> None:
    results = run(tmp_path, world(v=Behaviour(error=0.5)), samples=0)
    assert results["v"].quality == []
    assert results["v"].points[0].runs == 6


def test_compiling_is_told_of_what_pytorch_compiles(tmp_path: Path) -> None:
    there = world(made=Behaviour(), eager=Behaviour())
    logged: list[tuple[str, dict[str, Any]]] = []
    results = run(tmp_path, there, compiled=("made",), logged=logged)
    assert results["made"].compile_seconds == 7.0
    assert results["made"].torch_mode is TorchMode.COMPILED
    assert (results["eager"].compile_seconds, results["eager"].torch_mode) == (None, None)
    told = [fields for step, fields in logged if step == "compile"]
    assert told == [{"variant": "made", "seconds": 7.0}] * len(POINTS)
    # Asked after binding, which compiles, and before the first turn.
    events = [event for event in there.events if event.endswith(" made")]
    assert events.index("bind made") < events.index("compiled made") < events.index("turn made")


def test_without_variants_the_baseline_is_measured(tmp_path: Path) -> None:
    results = run(tmp_path, world())
    assert [p.runs for p in results["baseline"].points] == [6, 6]


def test_the_memory_budget_bounds_what_is_open_at_once(tmp_path: Path) -> None:
    there = world(**{name: Behaviour(memory=100) for name in "abcd"})
    results = run(tmp_path, there, budget=300)
    # One more is open for as long as it takes to see that it does not fit.
    assert there.most_open == 4
    assert [results[name].state for name in "abcd"] == [VariantState.PASSED] * 4
    assert {p.runs for p in results["a"].points} == {6}
    assert {p.runs for p in results["baseline"].points} == {12}


def test_a_variant_above_the_budget_runs_alone_with_the_baseline(tmp_path: Path) -> None:
    there = world(huge=Behaviour(memory=1000), small=Behaviour(memory=10))
    results = run(tmp_path, there, budget=200)
    assert results["huge"].state is VariantState.PASSED
    assert results["small"].state is VariantState.PASSED


def test_arrays_do_not_pile_up(tmp_path: Path) -> None:
    run(tmp_path, world(a=Behaviour(), b=Behaviour()), samples=5)
    kept = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.npy"))
    assert kept == ["first/0.npy", "point/0.npy", "sample/0.npy"]


def test_a_suspect_is_open_beside_no_other_variant(tmp_path: Path) -> None:
    there = world(**{name: Behaviour() for name in "abcd"})
    results = run(tmp_path, there, alone=("b",))
    opened = [event for event in there.events if event.startswith(("open", "turn"))]
    turns = opened.index("turn b")
    assert opened.index("open b") > opened.index("turn a")
    assert opened.index("open c") > turns
    assert {r.state for r in results.values()} == {VariantState.PASSED}


def test_a_disturbed_point_is_measured_again_and_told(tmp_path: Path) -> None:
    there = world(v=Behaviour())
    logged: list[tuple[str, dict[str, Any]]] = []
    # Each turn costs many quota periods, whatever time the test itself takes.
    results = run(tmp_path, there, throttled_each_turn=100_000, logged=logged)
    for result in results.values():
        assert [p.unstable for p in result.points] == [True, True]
        assert [p.runs for p in result.points] == [6, 6]
        assert "throttled 100% of the time" in (result.points[0].message or "")
    repeated = [fields["repetition"] for _, fields in logged if "repetition" in fields]
    assert repeated == [0, 1, 2] * len(POINTS)


def test_an_undisturbed_point_is_not_unstable(tmp_path: Path) -> None:
    results = run(tmp_path, world(v=Behaviour()))
    assert [(p.unstable, p.message) for p in results["v"].points] == [(False, None)] * 2


def test_an_engine_that_was_built_is_what_is_served(tmp_path: Path) -> None:
    there = world(quick=Behaviour(engine=tmp_path / "model.engine"), plain=Behaviour())
    results = run(tmp_path, there, gpu=Gpu())
    artifacts = {name: result.artifact for name, result in results.items()}
    assert artifacts["quick"] == put_engine(tmp_path)
    plain, baseline = artifacts["plain"], artifacts["baseline"]
    assert plain == baseline
    assert plain is not None
    assert plain.format is ArtifactFormat.ONNX


def test_on_a_gpu_all_are_opened_there_with_the_shapes_of_engines(tmp_path: Path) -> None:
    there = world(quick=Behaviour(memory=None))
    results = run(tmp_path, there, gpu=Gpu(), budget=1)
    assert [opening.gpu for opening in there.openings] == [True, True]
    assert all(opening.shapes["image"][2] == (2, 3, 8, 8) for opening in there.openings)
    assert results["quick"].peak_memory_bytes is None
    run(tmp_path, there)
    assert [opening.gpu for opening in there.openings[2:]] == [False, False]
    assert not there.openings[3].shapes


def test_a_gpu_that_is_slowed_down_makes_its_point_unstable(tmp_path: Path) -> None:
    # Asked before and after each point.
    gpu = Gpu([(), ("hardware thermal slowdown",)])
    found = run(tmp_path, world(quick=Behaviour()), gpu=gpu)["quick"].points
    assert [point.unstable for point in found] == [True, False]
    assert found[0].message == "the GPU was slowed down: hardware thermal slowdown"
