"""How trials go, with processes of the test's own: no runtime, no clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from present import present

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.benchmark import BenchmarkPoint
from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime, TorchMode
from mopt_api.figures import VariantReason, VariantState
from mopt_api.inputs import InputSpec
from mopt_api.jobs.limits import Work
from mopt_api.jobs.measure_result import VariantResult
from mopt_api.jobs.plan import baseline_variant
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.data.references import Reference
from mopt_optimizer.errors import BaselineError, DataError, VariantFailure
from mopt_optimizer.machine.system import Counters
from mopt_optimizer.quality import Comparison, NotAnImage
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.stages.measure.attempts import Attempts
from mopt_optimizer.stages.measure.gallery import Gallery
from mopt_optimizer.stages.measure.messages import Explained
from mopt_optimizer.stages.measure.setup import OnGpu, Sampling, Setup, Timing
from mopt_optimizer.stages.measure.trial import Trial
from mopt_optimizer.stages.measure.trials import Trials
from mopt_optimizer.store.folder import FileStore

MS = 1_000_000
INPUT = InputSpec(name="image", shape=["batch", 3, "side", "side"])
POINTS = [
    BenchmarkPoint(name="small", dimensions={"batch": 1, "side": 4}),
    BenchmarkPoint(name="large", dimensions={"batch": 2, "side": 8}),
]
CRASH = VariantFailure(VariantReason.CRASHED, "ended by SIGSEGV")


@dataclass
class Behaviour:
    """What a fake process does.

    Attributes:
        error: Added to the input, which is what the fake model returns.
        call_ns: Time of each call.
        memory: Bytes.
        fails: Name of the operation that fails.
        slow_at: Point at which a call takes four times as long.
        engine: Was built when it was opened.
        value: Replaces the output's first value.
        constant: Channel that is always 0.
    """

    error: float = 0.0
    call_ns: int = 10 * MS
    memory: int | None = 100
    fails: str | None = None
    value: float | None = None
    shape: tuple[int, ...] | None = None
    slow_at: str | None = None
    engine: Path | None = None
    constant: int | None = None


@dataclass
class World:
    """Fake processes by name, and everything that happened to them."""

    behaviours: dict[str, Behaviour]
    events: list[str] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    open_now: set[str] = field(default_factory=set)
    most_open: int = 0
    turns: int = 0

    def start(self, name: str, opening: Opening) -> FakeProcess:
        self.events.append(f"open {name}")
        self.openings.append(opening)
        if self.behaviours[name].fails == "open":
            raise VariantFailure(VariantReason.BUILD_FAILED, "no such operator")
        self.open_now.add(name)
        self.most_open = max(self.most_open, len(self.open_now))
        return FakeProcess(name, self)


class FakeProcess:
    def __init__(self, name: str, world: World) -> None:
        self._name = name
        self._world = world
        self._does = world.behaviours[name]
        self._bound: set[str] = set()
        self.engine = self._does.engine
        self.output_names = ["image"]

    def _note(self, operation: str) -> None:
        self._world.events.append(f"{operation} {self._name}")
        if self._does.fails == operation:
            raise CRASH

    def evaluate(self, feeds: Mapping[str, Path]) -> list[NDArray[Any]]:
        self._note("evaluate")
        array: NDArray[Any] = np.load(feeds["image"]) + np.float32(self._does.error)
        if self._does.value is not None:
            array.flat[0] = self._does.value
        if self._does.constant is not None:
            array[:, self._does.constant] = 0
        if self._does.shape is not None:
            array = array.reshape(self._does.shape)
        return [array]

    def bind(self, point: str, feeds: Mapping[str, Path]) -> None:
        assert all(path.is_file() for path in feeds.values())
        self._note("bind")
        self._bound.add(point)

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:
        assert point in self._bound
        assert seconds >= 0
        self._note("turn")
        self._world.turns += 1
        return [self._does.call_ns * (4 if point == self._does.slow_at else 1)] * calls

    def release(self, point: str) -> None:
        self._bound.remove(point)

    def peak_memory_bytes(self) -> int | None:
        return self._does.memory

    def compile_seconds(self) -> float:
        self._note("compiled")
        return 7.0

    def explain(
        self, points: Mapping[str, Mapping[str, Sequence[int]]], feeds: Mapping[str, Path]
    ) -> Explained:
        assert all(path.is_file() for path in feeds.values())
        self._note("explain")
        size = {point: math.prod(shapes["image"]) for point, shapes in points.items()}
        return Explained(
            work={
                point: Work(products={"FP32": values}, moved_bytes=8 * values)
                for point, values in size.items()
            }
        )

    def close(self) -> None:
        self._world.open_now.discard(self._name)


@dataclass
class Gpu:
    """A GPU that is slowed down at some of the times that it is asked."""

    answers: list[tuple[str, ...]] = field(default_factory=list)

    def throttling(self) -> tuple[str, ...]:
        return self.answers.pop(0) if self.answers else ()


def put_engine(engine: Path) -> Artifact:
    return Artifact(
        digest=f"sha256:{'e' * 64}", size_bytes=7, format=ArtifactFormat.TENSORRT_ENGINE
    )


def sample(value: float) -> dict[str, NDArray[np.float32]]:
    return {"image": np.full((1, 3, 4, 4), value, np.float32)}


def truth(index: int, shape: tuple[int, ...] = (1, 3, 4, 4)) -> Reference:
    """Return what a model's output should be: the input and 0.1."""
    return Reference(f"{index}.npy", [np.full(shape, index / 10 + 0.1)])


def trial(
    variant: Variant,
    comparison: Comparison | None = None,
    *,
    by_truth: bool = False,
    alone: bool = False,
) -> Trial:
    artifact = Artifact(digest=f"sha256:{'0' * 64}", size_bytes=1, format=ArtifactFormat.ONNX)
    if comparison is None:
        comparison = Comparison({QualityMetric.PSNR: 1.0})
    other = Comparison({QualityMetric.PSNR: 1.0}) if by_truth else None
    return Trial(variant, artifact, Path("model.onnx"), comparison, other, alone)


def run(
    tmp_path: Path,
    world: World,
    *,
    samples: int = 2,
    budget: int | None = None,
    comparison: Comparison | None = None,
    truth: Callable[[int], Reference] | None = None,
    gallery: Gallery | None = None,
    compiled: tuple[str, ...] = (),
    int8: tuple[str, ...] = (),
    alone: tuple[str, ...] = (),
    prunes: bool = False,
    throttled_each_turn: int = 0,
    gpu: Gpu | None = None,
    names: Sequence[str] = (),
    logged: list[tuple[str, dict[str, Any]]] | None = None,
    said: list[str] | None = None,
    gates: Sequence[QualityGate] = (),
) -> dict[str, VariantResult]:
    def log(step: str, message: str, **fields: object) -> None:
        if said is not None:
            said.append(message)
        if logged is not None:
            logged.append((step, fields))

    setup = Setup(
        sampling=Sampling(
            inputs=[INPUT],
            samples=[sample(number / 10) for number in range(samples)],
            workdir=tmp_path,
            truth=truth,
            names=names,
        ),
        timing=Timing(
            points=POINTS,
            warmup_seconds=0.0,
            min_duration_seconds=0.1,
            counters=lambda: Counters(world.turns * throttled_each_turn, 0.0, 0.0),
            prunes=prunes,
            gates=gates,
        ),
        threads=2,
        memory_budget=budget,
        start=world.start,
        attempts=Attempts(FileStore(tmp_path), "", None, log),
        log=log,
        gallery=gallery,
        gpu=None
        if gpu is None
        else OnGpu(
            shapes={"image": ((1, 3, 4, 4), (1, 3, 4, 4), (2, 3, 8, 8))},
            put_engine=put_engine,
            throttling=gpu.throttling,
        ),
    )
    by_truth = truth is not None
    baseline = trial(baseline_variant(ModelFormat.ONNX), Comparison({}), by_truth=by_truth)
    variants = [
        trial(
            Variant(
                name=name,
                runtime=Runtime.PYTORCH if name in compiled else Runtime.ONNX_RUNTIME,
                precision=Precision.INT8 if name in int8 else Precision.FP32,
                torch_mode=TorchMode.COMPILED if name in compiled else None,
            ),
            comparison,
            by_truth=by_truth,
            alone=name in alone,
        )
        for name in world.behaviours
        if name != "baseline"
    ]
    Trials(setup, baseline, variants).run()
    return {t.name: t.result(POINTS, [INPUT]) for t in (baseline, *variants)}


def world(baseline: Behaviour | None = None, **others: Behaviour) -> World:
    return World({"baseline": baseline or Behaviour()} | others)


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


def test_ssim_on_outputs_that_are_no_images_is_told(tmp_path: Path) -> None:
    flat = Behaviour(shape=(1, 48))
    comparison = Comparison({QualityMetric.SSIM: 1.0})
    with pytest.raises(NotAnImage):
        run(tmp_path, world(flat, v=flat), comparison=comparison)


def test_with_ground_truth_quality_is_by_it_and_the_baseline_has_its_own(tmp_path: Path) -> None:
    there = world(Behaviour(error=0.09), v=Behaviour(error=0.19))
    results = run(tmp_path, there, truth=truth)
    baseline, v = results["baseline"], results["v"]
    assert baseline.quality[0].per_sample == pytest.approx([40, 40], abs=1e-3)
    assert baseline.agreement is None
    assert v.quality[0].per_sample == pytest.approx([20.915, 20.915], abs=1e-3)
    assert v.agreement is not None
    assert v.agreement[0].per_sample == pytest.approx([20, 20], abs=1e-3)


def test_without_ground_truth_there_is_no_second_comparison(tmp_path: Path) -> None:
    results = run(tmp_path, world(v=Behaviour(error=0.1)))
    assert results["v"].quality[0].worst == pytest.approx(20, abs=1e-3)
    assert [r.agreement for r in results.values()] == [None, None]
    assert results["baseline"].quality == []


def test_the_baseline_meets_the_truth_once_however_many_groups_there_are(tmp_path: Path) -> None:
    there = world(**{name: Behaviour(memory=100) for name in "abcd"})
    results = run(tmp_path, there, budget=300, truth=truth)
    assert {len(r.quality[0].per_sample or ()) for r in results.values()} == {2}


def test_the_baseline_meets_the_truth_without_any_variant(tmp_path: Path) -> None:
    results = run(tmp_path, world(), truth=truth)
    assert results["baseline"].quality[0].worst == pytest.approx(20, abs=1e-3)


def test_ground_truth_that_does_not_fit_is_a_fault_of_the_data(tmp_path: Path) -> None:
    there = world(v=Behaviour())
    with pytest.raises(DataError, match=r"reference 0\.npy is \(1, 3, 8, 8\)"):
        run(tmp_path, there, truth=lambda index: truth(index, (1, 3, 8, 8)))
    assert there.open_now == set()


def test_a_variant_that_fails_shows_no_quality_of_either_kind(tmp_path: Path) -> None:
    results = run(tmp_path, world(v=Behaviour(shape=(1, 3, 16))), truth=truth)
    assert results["v"].reason is VariantReason.BUILD_FAILED
    assert (results["v"].quality, results["v"].agreement) == ([], None)
    assert len(results["baseline"].quality[0].per_sample or ()) == 2


def test_pictures_cost_one_more_run_of_the_samples_shown(tmp_path: Path) -> None:
    gallery = Gallery(1.0)
    there = world(v=Behaviour(error=0.1), w=Behaviour(error=0.2, fails="bind"))
    results = run(tmp_path, there, samples=3, gallery=gallery, int8=("v",))
    assert results["v"].state is VariantState.PASSED
    crops = gallery.crops()
    assert crops is not None
    shown = crops.samples[0]
    assert [v.variant for v in shown.variants] == ["v", "w"]
    assert [v.psnr for v in shown.variants] == pytest.approx([20, 20 * np.log10(5)], abs=1e-3)
    # Opened, three samples, and those that are shown.
    assert there.events.count("evaluate v") == 1 + 3 + len(crops.samples)


def test_pictures_show_the_same_samples_in_every_group(tmp_path: Path) -> None:
    gallery = Gallery(1.0)
    behaviours = {name: Behaviour(error=0.1, memory=100) for name in "abc"}
    run(tmp_path, world(**behaviours), budget=250, gallery=gallery)
    crops = gallery.crops()
    assert crops is not None
    assert [[v.variant for v in s.variants] for s in crops.samples] == [["a", "b", "c"]]


SLOW = Behaviour(call_ns=31 * MS)


def test_a_probe_drops_what_is_three_times_as_slow_as_the_fastest_fp32(tmp_path: Path) -> None:
    there = world(fp32=Behaviour(call_ns=10 * MS), nearly=Behaviour(call_ns=30 * MS), slow=SLOW)
    results = run(tmp_path, there, prunes=True, int8=("nearly", "slow"))
    slow = results["slow"]
    assert (slow.state, slow.reason) == (VariantState.SKIPPED, VariantReason.TOO_SLOW)
    assert slow.message == (
        "probed at 31 ms a call at point small, baseline at 10 ms: more than 3 times as long"
    )
    assert slow.points == []
    # Calls of the probe, one turn at each point, are no figures.
    assert there.events.count("turn slow") == len(POINTS)
    for name in ("baseline", "fp32", "nearly"):
        assert results[name].state is VariantState.PASSED
        assert [p.runs for p in results[name].points] == [6, 6]
    assert there.open_now == set()


def test_the_bar_is_no_variant_that_may_still_be_rejected(tmp_path: Path) -> None:
    there = world(int8=Behaviour(call_ns=1 * MS), fp32=Behaviour(call_ns=9 * MS))
    results = run(tmp_path, there, prunes=True, int8=("int8",))
    assert [r.state for r in results.values()] == [VariantState.PASSED] * 3


def test_the_baseline_is_never_dropped(tmp_path: Path) -> None:
    there = world(Behaviour(call_ns=100 * MS), fast=Behaviour(call_ns=1 * MS))
    results = run(tmp_path, there, prunes=True)
    assert [p.latency_ms.p50 for p in results["baseline"].points] == [100, 100]


def test_what_is_slow_at_one_point_only_stays(tmp_path: Path) -> None:
    there = world(uneven=Behaviour(call_ns=9 * MS, slow_at="small"), slow=SLOW)
    results = run(tmp_path, there, prunes=True)
    assert results["uneven"].state is VariantState.PASSED
    assert results["slow"].reason is VariantReason.TOO_SLOW


def test_a_later_group_is_held_to_the_bar_of_an_earlier_one(tmp_path: Path) -> None:
    there = world(fast=Behaviour(call_ns=1 * MS, memory=200), slow=SLOW)
    results = run(tmp_path, there, prunes=True, budget=300)
    assert results["slow"].reason is VariantReason.TOO_SLOW
    assert "fast at 1 ms" in (results["slow"].message or "")


def test_listed_variants_are_not_probed(tmp_path: Path) -> None:
    there = world(slow=SLOW)
    assert run(tmp_path, there)["slow"].state is VariantState.PASSED


@pytest.mark.parametrize("fails", ["bind", "turn"])
def test_a_variant_that_fails_in_the_probe_fails(tmp_path: Path, fails: str) -> None:
    results = run(tmp_path, world(bad=Behaviour(fails=fails), good=Behaviour()), prunes=True)
    assert results["bad"].reason is VariantReason.CRASHED
    assert results["good"].state is VariantState.PASSED


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
