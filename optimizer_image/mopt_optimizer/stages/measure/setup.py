"""What all trials of a run share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mopt_api.artifacts import Artifact
from mopt_api.benchmark import BenchmarkPoint
from mopt_api.enums import ObjectiveMetric
from mopt_api.inputs import InputSpec
from mopt_api.spec import QualityGate
from mopt_optimizer.data.npy import save_array
from mopt_optimizer.data.references import Reference
from mopt_optimizer.machine.system import Counters
from mopt_optimizer.progress import Log
from mopt_optimizer.runtimes.shapes import ShapeRange
from mopt_optimizer.timing.deciding import Budget
from mopt_optimizer.timing.disturbance import REPETITIONS
from mopt_optimizer.timing.interleave import MIN_RUNS, benchmark_feeds

from .attempts import Attempts
from .gallery import Gallery
from .trial import Inputs, Start


@dataclass(frozen=True)
class Sampling:
    """What outputs are compared on.

    Attributes:
        samples: Real inputs; empty without evaluation data.
        truth: From a sample's index to its ground truth; None without.
        names: Of the samples, where they are known.
        workdir: For arrays; holds one sample and the points' inputs at a time.
    """

    inputs: Sequence[InputSpec]
    samples: Sequence[Inputs]
    workdir: Path
    truth: Callable[[int], Reference] | None = None
    names: Sequence[str] = ()

    def name(self, index: int) -> str:
        """Return what messages call a sample."""
        return self.names[index] if index < len(self.names) else f"{index + 1}"

    def feeds(self, point: BenchmarkPoint) -> Inputs:
        """Return inputs of a point's sizes: real ones where there are some, else noise."""
        return benchmark_feeds(self.inputs, point.dimensions, self.samples)


@dataclass(frozen=True)
class Timing:
    """How calls are timed.

    Attributes:
        points: Every dimension given a size.
        counters: Reads what others had of the CPU.
        prunes: Leave what a short probe shows to be hopeless out of the benchmark.
        least_calls: Of each at a point.
        repetitions: How often a disturbed point may be timed again.
        longest_duration_seconds: Of measuring a point, where the winner is not decided.
        figure: Of a call, that the objective is decided by.
        gates: What misses one cannot win, so nothing needs to be decided about it.
    """

    points: Sequence[BenchmarkPoint]
    warmup_seconds: float
    min_duration_seconds: float
    counters: Callable[[], Counters]
    prunes: bool = False
    least_calls: int = MIN_RUNS
    repetitions: int = REPETITIONS
    longest_duration_seconds: float = 0.0
    figure: ObjectiveMetric = ObjectiveMetric.LATENCY_P50
    gates: Sequence[QualityGate] = ()

    @property
    def budget(self) -> Budget:
        """What may be spent on the rounds at a point."""
        longest = max(self.longest_duration_seconds, self.min_duration_seconds)
        return Budget.of(self.min_duration_seconds, longest, self.least_calls)


@dataclass(frozen=True)
class OnGpu:
    """What is otherwise where all computes on a GPU.

    Attributes:
        shapes: The smallest, most frequent and largest of each input.
        put_engine: Stores an engine that was built when a variant was opened.
        throttling: Tells what slows the GPU down now; empty where nothing does.
    """

    shapes: Mapping[str, ShapeRange]
    put_engine: Callable[[Path], Artifact]
    throttling: Callable[[], Sequence[str]]


@dataclass(frozen=True)
class Setup:
    """What all trials share.

    Attributes:
        threads: Per runtime.
        memory_budget: Bytes that open processes may take together, on a GPU of its memory; None
            for no bound.
        start: Starts a process that has a model open.
        attempts: Told what is at work, in case the container is killed.
        gpu: None on a CPU.
        gallery: Collects pictures of the comparison; None for none.
    """

    sampling: Sampling
    timing: Timing
    threads: int
    memory_budget: int | None
    start: Start
    attempts: Attempts
    log: Log
    gpu: OnGpu | None = None
    gallery: Gallery | None = None

    def slowed_by(self) -> set[str]:
        """Return what slows the GPU down now."""
        return set(self.gpu.throttling()) if self.gpu is not None else set()


def save_arrays(arrays: Inputs, folder: Path) -> dict[str, Path]:
    """Write arrays as .npy files, named by position: a model's input names may be any text."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    for index, (name, array) in enumerate(arrays.items()):
        files[name] = folder / f"{index}.npy"
        save_array(files[name], array)
    return files
