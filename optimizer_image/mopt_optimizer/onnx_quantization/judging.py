"""Quality of a rewritten model's outputs against the FP32 model, measured as a gate does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.figures import EXACT_PSNR_DB
from mopt_api.metrics import METRICS, Scale
from mopt_api.noise import margin_of, signed
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import (
    NonFiniteOutput,
    QuantizationError,
    RuntimeFailure,
    ShapeMismatch,
)
from mopt_optimizer.onnx_files.float_models import serialized
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.quality import (
    Array,
    Comparison,
    Figure,
    Profile,
    data_ranges,
    declared_figures,
)

from .observing import Sample

if TYPE_CHECKING:
    import onnx


Clock = Callable[[], float]

# Of a sample whose outputs cannot be compared: JSON has no infinity.
_WORST = {Scale.DECIBELS: -EXACT_PSNR_DB, Scale.UP_TO_ONE: -1.0, Scale.ERROR: -1e12}


@dataclass(frozen=True)
class Judged:
    """What a model reaches on some samples.

    Attributes:
        values: For each sample one per gate; the maximum error is negated, so that higher is
            better.
        fault: Why no gate can hold: outputs that cannot be compared with FP32's, or a channel that
            is constant and varies in FP32. The latter shows only where all samples were run.
    """

    values: tuple[tuple[float, ...], ...]
    fault: str | None = None

    def some(self, indices: Sequence[int]) -> Judged:
        """Return what it reaches on some of its samples."""
        return Judged(tuple(self.values[index] for index in indices))


class Judge:
    """Judges models against the FP32 outputs of a few samples, as the measurement does.

    A gate without an output is on each output and, of metrics of values, on each part that differs
    in scale from the rest of its output; the worst counts. Samples and FP32 outputs stay in memory.

    Attributes:
        gates: At least one; where none is given, the worst sample's PSNR, from 0 dB, whose peak is
            the largest FP32 magnitude.
        run_seconds: Of the FP32 model, for one sample.

    Args:
        folder: See verify.new_session.
        clock: In seconds.
        exact: Compute node by node, Q/DQ nodes in FP32: where this machine's kernels saturate, a
            form for other machines is judged as these compute it.

    Raises:
        QuantizationError: The FP32 model does not run.
        ConflictingRange: Gates give one metric several data ranges.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        samples: Sequence[Sample],
        gates: Sequence[QualityGate] = (),
        folder: Path | None = None,
        clock: Clock = perf_counter,
        *,
        exact: bool = False,
    ) -> None:
        self._folder = folder
        self._exact = exact
        self._samples = [dict(sample) for sample in samples]
        self._order = [*range(len(samples))]
        with _refused():
            session = self._session(model)
            started = clock()
            self._expected = [list(session.run(sample)) for sample in self._samples]
            self.run_seconds = (clock() - started) / len(self._samples)
        self._profile = Profile(session.outputs)
        for outputs in self._expected:
            self._profile.add(outputs)
        self.gates = tuple(gates) or (_closeness(self._profile),)
        self._ranges = data_ranges(self.gates)
        self._declared = declared_figures(self.gates)

    def judged(self, model: onnx.ModelProto, samples: Sequence[int] | None = None) -> Judged:
        """Return what a model reaches.

        Args:
            samples: Indices of those that are run; None for all.

        Raises:
            QuantizationError: The model does not run.
            ComparisonError, SpecError: A gate does not fit the outputs.
        """
        with _refused():
            trial = self._trial(model)
            chosen = range(len(self._samples)) if samples is None else samples
            values = tuple(self._values(trial, index) for index in chosen)
        return Judged(values, trial.fault(whole=samples is None))

    def qualities(self, judged: Judged) -> tuple[float, ...]:
        """Return what the samples' values come to, for each gate as it aggregates them.

        Of a tolerance the worst, which is stricter: a search sees too few samples for one.
        """
        return tuple(
            math.fsum(values) / len(values) if gate.aggregate is Aggregate.MEAN else min(values)
            for gate, values in zip(self.gates, zip(*judged.values, strict=True), strict=True)
        )

    def margin(self, judged: Judged) -> float:
        """Return by how many dB the noise is below what the gates allow, of the strictest one.

        That of a model with a fault is minus infinity.
        """
        return -math.inf if judged.fault else min(self._margins(judged))

    def strictest(self, judged: Judged) -> int:
        """Return the index of the gate of least margin."""
        margins = self._margins(judged)
        return margins.index(min(margins))

    def reaches(self, model: onnx.ModelProto, margin: float) -> bool:
        """Return whether the noise of a model is at least so many dB below what the gates allow.

        Where the worst sample counts, the first that is above decides, and is the first to be run
        the next time.

        Raises:
            QuantizationError, ComparisonError, SpecError: As judged.
        """
        values: dict[int, tuple[float, ...]] = {}
        with _refused():
            trial = self._trial(model)
            for index in [*self._order]:
                values[index] = self._values(trial, index)
                if trial.wrong or self._fails_alone(values[index], margin):
                    self._order.remove(index)
                    self._order.insert(0, index)
                    return False
        judged = Judged(tuple(values[index] for index in sorted(values)), trial.fault(whole=True))
        return self.margin(judged) >= margin

    def _margins(self, judged: Judged) -> list[float]:
        qualities = self.qualities(judged)
        return [margin_of(*pair) for pair in zip(qualities, self.gates, strict=True)]

    def _fails_alone(self, values: Sequence[float], margin: float) -> bool:
        return any(
            gate.aggregate is not Aggregate.MEAN and margin_of(value, gate) < margin
            for value, gate in zip(values, self.gates, strict=True)
        )

    def _session(self, model: onnx.ModelProto) -> OnnxSession:
        return OnnxSession(serialized(model), optimized=not self._exact, folder=self._folder)

    def _trial(self, model: onnx.ModelProto) -> _Trial:
        comparison = Comparison(self._ranges, declared=self._declared, profile=self._profile)
        return _Trial(self._session(model), comparison)

    def _values(self, trial: _Trial, index: int) -> tuple[float, ...]:
        """Run a sample and return what each gate judges."""
        found = trial.run(self._expected[index], self._samples[index])
        if found is None:
            return tuple(_WORST[METRICS[gate.metric].scale] for gate in self.gates)
        return tuple(signed(gate.metric, found[Figure.of(gate)]) for gate in self.gates)


@dataclass
class _Trial:
    """A model that runs sample after sample.

    Attributes:
        wrong: Why outputs could not be compared.
    """

    session: OnnxSession
    comparison: Comparison
    wrong: str | None = None

    def run(self, expected: Sequence[Array], sample: Sample) -> dict[Figure, float] | None:
        """Return the figures of a sample; None where the outputs cannot be compared."""
        outputs = self.session.run(dict(sample))
        try:
            self.comparison.add(expected, outputs)
        except (ShapeMismatch, NonFiniteOutput) as error:
            self.wrong = self.wrong or str(error)
            return None
        return self.comparison.latest()

    def fault(self, *, whole: bool) -> str | None:
        """Return what is wrong with the model.

        Args:
            whole: Whether all samples were run: of a few, a channel may be constant.
        """
        return self.wrong or (self.comparison.constant_channel() if whole else None)


def _closeness(profile: Profile) -> QualityGate:
    """Return a gate that every model passes whose noise is below FP32's largest magnitude."""
    peak = max((max(abs(low), abs(high)) for _, low, high in profile.spans()), default=0.0)
    return QualityGate(metric=QualityMetric.PSNR, minimum=0.0, data_range=peak or 1.0)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except RuntimeFailure as error:
        raise QuantizationError(f"the model does not run: {error}") from error
