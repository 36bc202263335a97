"""Compares outputs sample by sample with the gates' metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mopt_api.enums import QualityMetric
from mopt_api.figures import QualityResult
from mopt_api.metrics import METRICS, Outputs
from mopt_optimizer.errors import DataError, NotAnImage

from .comparable import Array, Options, check_comparable, check_counts, identical
from .detections import detection_rows
from .figure import Figure
from .metrics import over_set, score
from .metrics.neighbor_agreement import check_embeddings
from .profile import Profile

_MOST_SHOWN = 96


@dataclass(frozen=True)
class _Pair:
    """What is compared: arrays of the reference and of a form, and where they are from."""

    reference: Array
    output: Array
    where: str | None = None


@dataclass(frozen=True)
class _Value:
    """A sample's value of one figure: that of the worst pair."""

    value: float
    where: str | None
    exact: bool


@dataclass
class Comparison:
    """Accumulates metrics of outputs against references, sample by sample.

    It keeps no samples, but the outputs that a metric of all samples together is of.

    Attributes:
        ranges: Metrics of every output; PSNR and SSIM with their data range, others may have None.
        required: False drops SSIM if the outputs are not images, instead of raising.
        options: How outputs are interpreted.
        declared: Metrics of single outputs and parts, beside those.
        profile: The reference's outputs for all samples. With it, metrics of ranges are also
            computed of each part that differs in scale from the rest of its output, and channels
            that became constant are found.
        names: Of the outputs, as far as they are known; a profile's take their place.
    """

    ranges: Mapping[QualityMetric, float | None]
    required: bool = True
    options: Options = field(default_factory=Options)
    declared: Sequence[Figure] = ()
    profile: Profile | None = None
    names: Sequence[str] = ()
    _values: dict[Figure, list[_Value]] = field(init=False)
    _kept: dict[Figure, list[list[_Pair]]] = field(init=False)
    _found: Profile = field(init=False, default_factory=Profile)

    def __post_init__(self) -> None:
        everything = [Figure(metric, span) for metric, span in self.ranges.items()]
        self._values = {figure: [] for figure in (*everything, *self.declared)}
        self._kept = {figure: [] for figure in self._values if METRICS[figure.metric].over_set}

    def add(self, reference: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compare the next sample's outputs with the reference model's.

        Raises:
            ComparisonError: The outputs differ in shape or in where they are not finite, or do not
                fit a metric.
            SpecError: A declared output or slice that is not there.
        """
        varies = any(METRICS[metric].counts_vary for metric in self.metrics)
        check = check_counts if varies else check_comparable
        check(reference, outputs, self._names)
        self.add_truth(reference, outputs)
        if self.profile is not None:
            self._found.add(outputs)

    def add_truth(self, truth: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compare the next sample's outputs with ground truth, which may be class labels.

        Raises:
            ComparisonError: As add; labels may differ in shape if the metric accepts them.
            DataError: The number of arrays differs.
            SpecError: As add.
        """
        if len(truth) != len(outputs):
            raise DataError(f"{len(truth)} ground-truth arrays for {len(outputs)} outputs")
        values: dict[Figure, _Value] = {}
        kept = {figure: self._embeddings(figure, truth, outputs) for figure in self._kept}
        for figure in [one for one in self._values if one not in kept]:
            try:
                values[figure] = self._value(figure, truth, outputs)
            except NotAnImage:
                if self.required:
                    raise
                del self._values[figure]
        # A sample that fails in one metric is recorded in none.
        for figure, value in values.items():
            self._values[figure].append(value)
        for figure, pairs in kept.items():
            self._kept[figure].append(pairs)

    def _embeddings(
        self, figure: Figure, reference: Sequence[Array], outputs: Sequence[Array]
    ) -> list[_Pair]:
        return [
            _Pair(check_embeddings(pair.reference), check_embeddings(pair.output), pair.where)
            for pair in self._pairs(figure, reference, outputs)
        ]

    def _pairs(
        self, figure: Figure, reference: Sequence[Array], outputs: Sequence[Array]
    ) -> list[_Pair]:
        if figure.declared:
            expected, actual = (figure.taken(some, self._names) for some in (reference, outputs))
            return [_Pair(expected, actual)]
        if METRICS[figure.metric].outputs is Outputs.DETECTIONS:
            rows = (detection_rows(some, self._names) for some in (reference, outputs))
            return [_Pair(*pair) for pair in zip(*rows, strict=True)]
        return [*self._parts(figure, reference, outputs), *self._whole(reference, outputs)]

    def _value(
        self, figure: Figure, reference: Sequence[Array], outputs: Sequence[Array]
    ) -> _Value:
        pairs = self._pairs(figure, reference, outputs)
        scores = [
            score(figure.metric, pair.reference, pair.output, figure.data_range, self.options)
            for pair in pairs
        ]
        return _worst(figure.metric, pairs, scores)

    def _over_set(self, figure: Figure) -> list[_Value]:
        """Return the values of a metric of all samples together."""
        samples = self._kept[figure]
        by_output = [
            over_set(figure.metric)(
                [pair.reference for pair in pairs], [pair.output for pair in pairs], self.options
            )
            for pairs in zip(*samples, strict=True)
        ]
        return [
            _worst(figure.metric, pairs, [values[index] for values in by_output])
            for index, pairs in enumerate(samples)
        ]

    def _whole(self, reference: Sequence[Array], outputs: Sequence[Array]) -> Iterator[_Pair]:
        known = self.profile or Profile(self._names)
        several = len(outputs) > 1
        for index, (expected, actual) in enumerate(zip(reference, outputs, strict=True)):
            yield _Pair(expected, actual, known.name(index) if several else None)

    def _parts(
        self, figure: Figure, reference: Sequence[Array], outputs: Sequence[Array]
    ) -> Iterator[_Pair]:
        """Yield what differs in scale, where a metric is of values and not of pictures or classes.

        A part that stays small in a sample, beside other samples, is judged by these.
        """
        if self.profile is None or METRICS[figure.metric].outputs is not Outputs.ANY:
            return
        for part in self.profile.parts:
            expected, actual = part.of(reference[part.output]), part.of(outputs[part.output])
            if not (part.is_silent(expected) and part.is_silent(actual)):
                yield _Pair(expected, actual, part.label)

    @property
    def metrics(self) -> set[QualityMetric]:
        """What is computed, of all outputs or of some."""
        return {figure.metric for figure in self._values}

    @property
    def _names(self) -> Sequence[str]:
        return self.names if self.profile is None else self.profile.names

    def constant_channel(self) -> str | None:
        """Return which channel varies in the reference and is constant here; None without a profile
        and where there is none."""
        return None if self.profile is None else self.profile.constant_in(self._found)

    def latest(self) -> dict[Figure, float]:
        """Return the value of each metric for the sample compared last; empty before any.

        None of a metric of all samples together.
        """
        return {figure: found[-1].value for figure, found in self._values.items() if found}

    def results(self) -> list[QualityResult]:
        """Return the worst, mean and per-sample values of each metric; empty before any sample.

        Raises:
            DataError: Too few samples for a metric of all together.
        """
        values = {
            figure: self._over_set(figure) if figure in self._kept else found
            for figure, found in self._values.items()
        }
        return [_result(figure, found) for figure, found in values.items() if found]


def _worst(metric: QualityMetric, pairs: Sequence[_Pair], scores: Sequence[float]) -> _Value:
    """Return a sample's value, of the scores of its pairs."""
    worst = METRICS[metric].worst(scores)
    exact = all(identical(pair.reference, pair.output) for pair in pairs)
    # Of equals the first: a part says more than its output.
    return _Value(worst, None if exact else pairs[scores.index(worst)].where, exact)


def _result(figure: Figure, found: Sequence[_Value]) -> QualityResult:
    values = [one.value for one in found]
    worst = METRICS[figure.metric].worst(values)
    where = found[values.index(worst)].where
    return QualityResult(
        metric=figure.metric,
        worst=worst,
        mean=math.fsum(values) / len(values),
        exact=all(one.exact for one in found),
        output=figure.output,
        slice=figure.part,
        part=where and where[:_MOST_SHOWN],
        per_sample=values,
    )
