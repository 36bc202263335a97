"""Cases of zeros, ones and half masks: constants that a rewrite loses show there, not on noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from mopt_optimizer.data.probes import Probe, constants, masked
from mopt_optimizer.errors import BaselineError, RuntimeFailure

from .verify import Arrays, Case

Reference = Callable[[Arrays], tuple[NDArray[Any], ...]]


def with_constants(
    cases: Sequence[Case],
    reference: Reference,
    refused: tuple[type[Exception], ...] = (BaselineError, RuntimeFailure),
) -> list[Case]:
    """Return the cases; the smallest also has what the source computes of constants at its sizes.

    Args:
        reference: Returns the source's outputs.
        refused: Raised by it where the model fails: such inputs, made up as they are, are left out.
    """
    smallest = min(cases, key=lambda case: sum(array.size for array in case.inputs.values()))
    noise = Probe("noise", smallest.inputs)
    also = []
    for probe in (*masked(noise), *constants(smallest.inputs)):
        try:
            expected = reference(probe.inputs)
        except refused:
            continue
        also.append(Case(smallest.sizes, probe.inputs, expected, name=probe.name))
    return [replace(case, also=tuple(also)) if case is smallest else case for case in cases]
