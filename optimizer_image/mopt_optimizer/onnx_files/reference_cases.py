"""What the source model makes of the inputs that it is verified on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from numpy.typing import NDArray

from mopt_optimizer.data.probes import Probe, made_up
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.errors import BaselineError, RuntimeFailure

from .verified_inputs import VerifiedInputs
from .verify import Arrays, Case, check_stateless, sizes_in_words

Outputs = tuple[NDArray[Any], ...]
Reference = Callable[[Arrays], Outputs]

MOST_SECONDS = 600.0
"""Of a run of a source: at these sizes others take seconds."""
_LEAST_SECONDS, _TIMES_LONGER = 30.0, 20.0


class TimedReference(Protocol):
    """Returns a source's outputs, if it can within that time: what bounds no run ignores it."""

    def __call__(self, inputs: Arrays, seconds: float) -> Outputs: ...


def reference_cases(
    verified: Sequence[VerifiedInputs],
    samples: Sequence[Inputs],
    reference: TimedReference,
    *,
    hint: Callable[[RuntimeFailure], str] = lambda _: "",
    written: Callable[[], Sequence[str]] = tuple,
    ends: bool = True,
) -> list[Case]:
    """Return the source's outputs of inputs, and of what is made up beside the smallest of them.

    Args:
        samples: What the inputs are made of; empty for noise.
        reference: Raises RuntimeFailure.
        hint: Returns what a message of a failure adds.
        written: See check_stateless.
        ends: Whether the source ends on made-up inputs too, or is bounded.

    Raises:
        BaselineError: It fails at sizes, or on a sample.
        ModelError: See check_stateless.
    """
    cases, longest = [], 0.0
    for one in verified:
        started = time.monotonic()
        try:
            expected = reference(one.inputs, MOST_SECONDS)
        except RuntimeFailure as error:
            raise BaselineError(_failure(one, error, hint(error), bool(samples))) from error
        longest = max(longest, time.monotonic() - started)
        cases.append(Case(one.sizes, one.inputs, expected, one.name))
    check_stateless(lambda inputs: reference(inputs, MOST_SECONDS), cases[-1], written)
    if not ends:
        return cases
    allowed = allowed_seconds(longest)
    return with_made_up(cases, lambda inputs: reference(inputs, allowed), samples=samples)


def allowed_seconds(known: float) -> float:
    """Return how long a run may take, by what one like it took: no loop ends after that."""
    return max(_LEAST_SECONDS, _TIMES_LONGER * known)


def _failure(one: VerifiedInputs, error: Exception, hint: str, sampled: bool) -> str:
    on = f"on {one.name} " if one.name else ""
    said = f"the model fails {on}at {sizes_in_words(one.sizes)}: {error}{hint}"
    if sampled:
        return said
    return f"{said}; these inputs are noise: samples of data.calibration take its place"


def with_made_up(
    cases: Sequence[Case],
    reference: Reference,
    refused: tuple[type[Exception], ...] = (BaselineError, RuntimeFailure),
    *,
    samples: Sequence[Inputs] = (),
) -> list[Case]:
    """Return the cases; the smallest also has what the source computes of inputs of half masks,
    zeros, ones and extremes at its sizes: constants that a rewrite loses show there alone.

    Args:
        refused: Raised by it where the model fails: such inputs, made up as they are, are left out.
        samples: What the cases are made of; empty for noise.
    """
    smallest = min(cases, key=lambda case: sum(array.size for array in case.inputs.values()))
    also = []
    for probe in made_up(Probe("samples" if samples else "noise", smallest.inputs), samples):
        try:
            expected = reference(probe.inputs)
        except refused:
            continue
        also.append(Case(smallest.sizes, probe.inputs, expected, name=probe.name))
    return [replace(case, also=tuple(also)) if case is smallest else case for case in cases]
