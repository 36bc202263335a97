"""A run's trials: what fails is one trial's alone, but for the baseline's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mopt_api.figures import VariantReason
from mopt_optimizer.errors import BaselineError, VariantFailure
from mopt_optimizer.quality import NonFiniteOutput, ShapeMismatch

from .setup import Setup
from .trial import Outputs, Trial


class Participants:
    """A baseline and its variants."""

    def __init__(self, setup: Setup, baseline: Trial, variants: Sequence[Trial]) -> None:
        self.setup = setup
        self.baseline = baseline
        self.variants = variants

    def fail(self, trial: Trial, failure: VariantFailure) -> None:
        """End a trial.

        Raises:
            BaselineError: It is the baseline's.
        """
        trial.close()
        if trial is self.baseline:
            raise BaselineError(f"the source model fails: {failure}") from failure
        trial.failure = failure
        how = "skipped" if failure.reason is VariantReason.TOO_SLOW else "failed"
        self.setup.log(
            "variant",
            f"{trial.name} {how}: {failure}",
            variant=trial.name,
            reason=failure.reason,
        )

    @contextmanager
    def attempt(self, trial: Trial) -> Iterator[None]:
        """Let a failure in the block end the trial, not the others; count the block's time."""
        try:
            with trial.clocked():
                yield
        except VariantFailure as failure:
            self.fail(trial, failure)
        except NonFiniteOutput as error:
            self.fail(trial, VariantFailure(VariantReason.NON_FINITE_OUTPUT, str(error)))
        except ShapeMismatch as error:
            self.fail(trial, VariantFailure(VariantReason.BUILD_FAILED, str(error)))

    def evaluate(self, trial: Trial, files: Mapping[str, Path]) -> Outputs:
        """Return what a trial computes of a sample's files."""
        return trial.running.evaluate(files)


def alive(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that have not failed."""
    return [trial for trial in trials if trial.failure is None]
