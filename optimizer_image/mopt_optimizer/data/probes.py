"""Inputs that a form is tried on beside FP32: what noise and samples alone do not show. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .samples import Inputs

_SAMPLES = 2
# Of these the extremes are taken: each is read anew, and images are decoded.
_SEEN = 8


@dataclass(frozen=True)
class Probe:
    """Inputs of one run.

    Attributes:
        name: What messages call it.
        likely: Whether it is like what the model is used on, so that distances say something.
    """

    name: str
    inputs: Inputs
    likely: bool = False


def probes(base: Inputs, samples: Sequence[Inputs]) -> list[Probe]:
    """Return the inputs to try a form on: few, and small where they are made up.

    Samples take the place of noise where there are some.

    Args:
        base: Samples, or where there are none noise, at the smallest sizes.
    """
    if not samples:
        noise = Probe("noise", base, likely=True)
        return [noise, *made_up(noise, samples)]
    count = min(_SAMPLES, len(samples))
    chosen = [index * len(samples) // count for index in range(count)]
    real = [Probe(f"sample {i + 1}", samples[i], likely=True) for i in chosen]
    smallest = Probe("samples at the smallest sizes", base, likely=True)
    if any(base[name].shape != values.shape for name, values in real[0].inputs.items()):
        real.append(smallest)
    return [*real, *masked(real[0]), *_levels(base, samples)]


def made_up(probe: Probe, samples: Sequence[Inputs]) -> list[Probe]:
    """Return what else to try at a probe's sizes: half masks, constants, the samples' extremes."""
    return [*masked(probe), *_levels(probe.inputs, samples)]


def masked(probe: Probe) -> list[Probe]:
    """Return a probe whose masks, inputs of 0 and 1, are 1 up to half their last axis; or none."""
    inputs = dict(probe.inputs)
    for name, values in probe.inputs.items():
        length = values.shape[-1] if values.ndim else 0
        if values.dtype.kind in "biu" and length > 1 and np.isin(values, (0, 1)).all():
            inputs[name] = values.copy()
            half = -(-length // 2)
            inputs[name][..., :half], inputs[name][..., half:] = 1, 0
    changed = any(not np.array_equal(inputs[n], values) for n, values in probe.inputs.items())
    return [Probe(f"{probe.name}, half masked", inputs, probe.likely)] if changed else []


def _levels(base: Inputs, samples: Sequence[Inputs]) -> list[Probe]:
    """Return inputs whose floats are all 0, all 1, and all the lowest and highest of samples.

    Integers and truth values, which may be masks, ids, indices or sizes, stay a sample's; where
    there is none they are 1 in all, never 0.
    """
    floats = [name for name, values in base.items() if values.dtype.kind == "f"]
    if not samples:
        rest = {n: np.ones_like(values) for n, values in base.items() if n not in floats}
        base = {**base, **rest}
    elif not floats:
        return []
    found = [("ones", dict.fromkeys(floats, 1.0))]
    if floats:
        found.insert(0, ("zeros", dict.fromkeys(floats, 0.0)))
    seen = [samples[index] for index in range(min(_SEEN, len(samples)))]
    for word, pick in (("lowest", np.min), ("highest", np.max)) if seen else ():
        extremes = {name: float(pick([pick(sample[name]) for sample in seen])) for name in floats}
        found.append((f"the samples' {word} values", extremes))
    new = [one for i, one in enumerate(found) if one[1] not in [values for _, values in found[:i]]]
    return [Probe(name, _filled(base, values)) for name, values in new]


def _filled(base: Inputs, values: Mapping[str, float]) -> Inputs:
    return {**base, **{name: np.full_like(base[name], value) for name, value in values.items()}}
