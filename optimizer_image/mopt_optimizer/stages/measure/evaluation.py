"""Compares variants' outputs with the baseline's and with ground truth, a sample at a time."""

from __future__ import annotations

from collections.abc import Sequence

from mopt_optimizer.data.references import Reference, check_reference
from mopt_optimizer.quality import check_comparable

from .gallery import Gallery
from .participants import Participants, alive
from .setup import save_arrays
from .trial import Outputs, Trial


class Evaluation:
    """The comparison of a run's groups, one after the other."""

    def __init__(self, participants: Participants) -> None:
        self._all = participants
        self._setup = participants.setup
        self._baseline_compared = False

    def compare(self, group: Sequence[Trial]) -> None:
        """Compare every sample's outputs with the baseline's and the truth, a sample at a time."""
        setup = self._setup
        for number, sample in enumerate(setup.sampling.samples, start=1):
            files = save_arrays(sample, setup.sampling.workdir / "sample")
            with self._all.attempt(self._all.baseline):
                reference = self._all.evaluate(self._all.baseline, files)
                check_comparable(reference, reference)
            truth = self._truth_of(number - 1, reference)
            for trial in alive(group):
                with self._all.attempt(trial):
                    outputs = self._all.evaluate(trial, files)
                    trial.compare(reference, outputs, truth)
                    if setup.gallery is not None:
                        setup.gallery.observe(number - 1, trial.name, sample, reference, outputs)
            total = len(setup.sampling.samples)
            setup.log("evaluate", f"compared sample {number} of {total}", done=number, total=total)
        self._baseline_compared = True
        if setup.gallery is not None:
            self._take_pictures(setup.gallery, group)
        for trial in alive(group):
            for quality in trial.quality():
                setup.log(
                    "quality",
                    f"{trial.name}: worst {quality.metric} {quality.worst:.4g}",
                    variant=trial.name,
                    metric=quality.metric,
                    worst=quality.worst,
                    mean=quality.mean,
                )

    def _truth_of(self, index: int, outputs: Outputs) -> Reference | None:
        """Return a sample's ground truth; the first group's also compares the baseline with it."""
        compared = self._all.baseline.truth
        if self._setup.sampling.truth is None or compared is None:
            return None
        truth = self._setup.sampling.truth(index)
        check_reference(truth, outputs, compared.ranges)
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
