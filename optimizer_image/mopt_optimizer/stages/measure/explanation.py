"""Asks the variants, once they are timed, what a call has to do and what is executed."""

from __future__ import annotations

from collections.abc import Iterable

from mopt_optimizer.errors import DiskError, VariantFailure
from mopt_optimizer.timing.interleave import resolved_shape

from .setup import Setup, save_arrays
from .trial import Trial


def explain(setup: Setup, trials: Iterable[Trial]) -> None:
    """Fill in what is known of open trials; a trial that fails in this has been measured.

    On CPUs only: the limits of a GPU are not known.
    """
    points = setup.timing.points
    if not points or setup.gpu is not None:
        return
    shapes = {
        point.name: {
            spec.name: resolved_shape(spec, point.dimensions) for spec in setup.sampling.inputs
        }
        for point in points
    }
    files = save_arrays(setup.sampling.feeds(points[0]), setup.sampling.workdir / "point")
    for trial in trials:
        try:
            with trial.clocked():
                trial.explained = trial.running.explain(shapes, files)
        except (VariantFailure, DiskError) as failure:
            setup.log(
                "limits",
                f"{trial.name}: what it executes is not known: {failure}",
                variant=trial.name,
            )
