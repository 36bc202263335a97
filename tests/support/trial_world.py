"""Trials of fake processes, and everything that happened to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.benchmark import BenchmarkPoint
from mopt_api.enums import ModelFormat, Precision, QualityMetric, Runtime, TorchMode
from mopt_api.figures import VariantReason
from mopt_api.inputs import InputSpec
from mopt_api.jobs.limits import Work
from mopt_api.jobs.measure_result import VariantResult
from mopt_api.jobs.plan import baseline_variant
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.data.references import Reference
from mopt_optimizer.errors import VariantFailure
from mopt_optimizer.machine.system import Counters
from mopt_optimizer.quality import Comparison
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
