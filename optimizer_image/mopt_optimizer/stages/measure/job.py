"""The inputs and parts of one run of the measure stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mopt_api.enums import QualityMetric
from mopt_api.figures import Hardware, QualityReference
from mopt_api.jobs.limits import Peaks
from mopt_api.jobs.measure_result import OutputSpan, VariantResult
from mopt_api.jobs.plan import Credentials, MeasurePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_optimizer.data.references import References
from mopt_optimizer.data.samples import Samples
from mopt_optimizer.machine.accelerators import Accelerator, accelerator_of
from mopt_optimizer.machine.system import System
from mopt_optimizer.progress import Log, Timings
from mopt_optimizer.quality import Comparison, Figure
from mopt_optimizer.stages.time_left import TimeLeft
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store
from mopt_optimizer.timing.disturbance import REPETITIONS
from mopt_optimizer.timing.interleave import MIN_RUNS

from .attempts import JOB_UID_VARIABLE, Attempts
from .field import Field
from .gallery import Gallery
from .inputs import Files


@dataclass(frozen=True)
class Effort:
    """How much a measurement takes upon itself, beside its plan.

    Attributes:
        least_calls: Of each form at a point.
        repetitions: How often a disturbed point may be timed again.
        lasting: An equal measurement may take its result from the store, and people see it: it has
            pictures and a page.
    """

    least_calls: int = MIN_RUNS
    repetitions: int = REPETITIONS
    lasting: bool = True


class Job:
    """One run of the stage: its plan, where it may write, and the machine.

    Attributes:
        environ: Holds the stores' credentials.
        workdir: Exists, empty, ours.
        effort: How much it takes upon itself.
        time_left: Until the stage ends itself.
        attempts: Makes the record of what is at work, in case the container is killed.
    """

    def __init__(
        self,
        plan: MeasurePlan,
        environ: Mapping[str, str],
        workdir: Path,
        log: Log,
        effort: Effort = Effort(),
    ) -> None:
        self.plan = plan
        self.effort = effort
        self.environ = environ
        self.workdir = workdir
        self.log = log
        self.timings = Timings(log)
        self.time_left = TimeLeft(environ)
        self.system = System()
        store, prefix = open_store(plan.output_uri, Credentials.OUTPUT, environ)
        self.blobs = Blobs(store, prefix)
        self.attempts = partial(Attempts, store, prefix, environ.get(JOB_UID_VARIABLE), log)

    @property
    def on_gpu(self) -> bool:
        """Whether the target has a GPU, or another accelerator."""
        return self.accelerator is not None

    @property
    def accelerator(self) -> Accelerator | None:
        """How the target's accelerator is asked; None where it has CPUs alone, or only builds."""
        return accelerator_of(self.plan.kind)


@dataclass(frozen=True)
class Facts:
    """The data that a measurement depends on, beside the plan.

    Attributes:
        ranges: Quality metrics to compute of every output, each with its data range.
        declared: Those of single outputs and parts.
        truth: Ground truth of the samples; None where there is none.
    """

    manifest: PrepareResult
    hardware: Hardware
    software: dict[str, str]
    ranges: Mapping[QualityMetric, float]
    samples: Samples | None
    truth: References | None
    declared: tuple[Figure, ...] = ()

    @property
    def reference(self) -> QualityReference | None:
        """What quality is compared with; None where nothing is compared."""
        if self.samples is None:
            return None
        return QualityReference.GROUND_TRUTH if self.truth else QualityReference.BASELINE


@dataclass(frozen=True)
class Bench:
    """The settings that variants are tried with.

    Attributes:
        gallery: Collects pictures; None for none.
        peaks: What the machine reaches at most; None where that is not known.
    """

    facts: Facts
    field: Field
    files: Files
    gallery: Gallery | None
    attempts: Attempts
    gated: bool
    peaks: Peaks | None = None

    def comparison(self) -> Comparison:
        """Return an empty comparison in the requested metrics."""
        facts = self.facts
        return Comparison(facts.ranges, required=self.gated, declared=facts.declared)


@dataclass(frozen=True)
class Results:
    """The outcomes of the variants, in the plan's order.

    Attributes:
        baseline: None where nothing was measured.
        outputs: What the source model computes over the samples, in ranges.
    """

    baseline: VariantResult | None
    variants: list[VariantResult]
    outputs: list[OutputSpan] = field(default_factory=list)
