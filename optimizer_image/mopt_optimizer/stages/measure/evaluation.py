"""Compares variants' outputs with the baseline's and with ground truth, a sample at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mopt_api.figures import VariantReason
from mopt_api.metrics import metric_in_words
from mopt_optimizer.data.references import Reference, check_reference
from mopt_optimizer.errors import ComparisonError, VariantFailure
from mopt_optimizer.progress import step
from mopt_optimizer.quality import Profile, check_some_finite

from .gallery import Gallery
from .participants import Participants, alive
from .setup import save_arrays
from .trial import Outputs, Trial

_MOST_KEPT = 64 * 2**20
"""Bytes of the baseline's outputs that are kept between the passes over the samples."""


class Evaluation:
    """The comparison of a run's groups, one after the other.

    The baseline computes all samples first: which parts of its outputs differ in scale, and what
    varies in them, is known before any variant is compared.
    """

    def __init__(self, participants: Participants) -> None:
        self._all = participants
        self._setup = participants.setup
        self._baseline_compared = False
        self._profile: Profile | None = None
        self._kept: dict[int, Outputs] = {}

    def compare(self, group: Sequence[Trial]) -> None:
        """Compare every sample's outputs with the baseline's and the truth, a sample at a time."""
        setup = self._setup
        profile = self._known_profile()
        for trial in (self._all.baseline, *group):
            trial.judge_by(profile)
        if setup.sampling.samples:
            with step(setup.log, "evaluate", "comparing outputs", end="outputs are compared"):
                self._compare_samples(group)
        self._baseline_compared = True
        if setup.gallery is not None:
            self._take_pictures(setup.gallery, group)
        for trial in alive(group):
            self._reject_whatever_the_gates(trial)
            for quality in trial.quality():
                setup.log(
                    "quality",
                    f"{trial.name}: worst {quality.metric} "
                    f"{metric_in_words(quality.metric, quality.worst, exact=quality.exact)}"
                    f"{f' in {quality.part}' if quality.part else ''}",
                    variant=trial.name,
                    metric=quality.metric,
                    worst=quality.worst,
                    mean=quality.mean,
                )

    def _compare_samples(self, group: Sequence[Trial]) -> None:
        setup = self._setup
        for number, sample in enumerate(setup.sampling.samples, start=1):
            reference = self._reference(number - 1)
            files = save_arrays(sample, setup.sampling.workdir / "sample")
            truth = self._truth_of(number - 1, reference)
            for trial in alive(group):
                with self._all.attempt(trial):
                    outputs = self._all.evaluate(trial, files)
                    with self._naming(number - 1):
                        trial.compare(reference, outputs, truth)
                    if setup.gallery is not None:
                        setup.gallery.observe(number - 1, trial.name, sample, reference, outputs)
            total = len(setup.sampling.samples)
            setup.log("evaluate", f"compared sample {number} of {total}", done=number, total=total)

    def _known_profile(self) -> Profile:
        """Return the ranges of the baseline's outputs, which the first call finds."""
        if self._profile is None:
            profile = Profile()
            for index in range(len(self._setup.sampling.samples)):
                profile.add(self._reference(index))
            profile.names = list(self._all.baseline.running.output_names)
            self._profile = profile
            for part in profile.parts:
                self._setup.log(
                    "evaluate",
                    f"{part.label} is judged by itself: up to {part.peak:.4g}, far from the rest",
                    part=part.label,
                    peak=part.peak,
                )
        return self._profile

    def _reference(self, index: int) -> Outputs:
        """Return the baseline's outputs for a sample, kept where there is memory for them."""
        if index in self._kept:
            return self._kept[index]
        baseline, sampling = self._all.baseline, self._setup.sampling
        with self._all.attempt(baseline):
            files = save_arrays(sampling.samples[index], sampling.workdir / "sample")
            outputs = self._all.evaluate(baseline, files)
            with self._naming(index):
                check_some_finite(outputs, baseline.running.output_names)
        kept = sum(array.nbytes for some in (*self._kept.values(), outputs) for array in some)
        if kept <= _MOST_KEPT:
            self._kept[index] = outputs
        return outputs

    @contextmanager
    def _naming(self, index: int) -> Iterator[None]:
        """Let an error of comparing name the sample."""
        try:
            yield
        except ComparisonError as error:
            name = self._setup.sampling.name(index)
            raise type(error)(f"sample {name}: {error}") from error

    def _reject_whatever_the_gates(self, trial: Trial) -> None:
        reason, message = VariantReason.CONSTANT_CHANNEL, trial.comparison.constant_channel()
        if message is None:
            fault = trial.distance.fault(self._known_profile().names)
            reason, message = VariantReason.OTHER_FUNCTION, fault
        if message is None:
            return
        trial.rejection = VariantFailure(reason, message)
        self._setup.log(
            "variant",
            f"{trial.name} is rejected: {message}",
            variant=trial.name,
            reason=reason,
        )

    def _truth_of(self, index: int, outputs: Outputs) -> Reference | None:
        """Return a sample's ground truth; the first group's also compares the baseline with it."""
        compared = self._all.baseline.truth
        if self._setup.sampling.truth is None or compared is None:
            return None
        truth = self._setup.sampling.truth(index)
        check_reference(truth, outputs, compared.metrics)
        if not self._baseline_compared:
            compared.add_truth(truth.outputs, outputs)
        return truth

    def _take_pictures(self, gallery: Gallery, group: Sequence[Trial]) -> None:
        """Run the few samples that are shown again."""
        for number in gallery.chosen():
            sample = self._setup.sampling.samples[number]
            files = save_arrays(sample, self._setup.sampling.workdir / "sample")
            with self._all.attempt(self._all.baseline):
                gallery.keep_reference(
                    number, sample, self._all.evaluate(self._all.baseline, files)
                )
            for trial in alive(group):
                with self._all.attempt(trial):
                    gallery.keep(number, trial.name, self._all.evaluate(trial, files))
