"""Inputs that a form is tried on beside FP32: what noise and samples alone do not show. Pure."""

from __future__ import annotations

from collections.abc import Sequence
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


def probes(noise: Inputs, samples: Sequence[Inputs]) -> list[Probe]:
    """Return the inputs to try a form on: few, and small where they are made up.

    Samples take the place of noise where there are some. Masks and ids, which are integers and
    truth values, are never all 0.

    Args:
        noise: At the smallest sizes.
    """
    count = min(_SAMPLES, len(samples))
    chosen = [index * len(samples) // count for index in range(count)]
    real = [Probe(f"calibration sample {i + 1}", samples[i], likely=True) for i in chosen]
    if not real:
        real = [Probe("noise", noise, likely=True)]
    return [*real, *masked(real[0]), *constants(noise), *_extremes(noise, samples)]


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


def constants(noise: Inputs) -> list[Probe]:
    """Return inputs of zeros and of ones; integers and truth values are 1 in both."""
    return [Probe("zeros", _filled(noise, 0)), Probe("ones", _filled(noise, 1))]


def _filled(noise: Inputs, value: float) -> Inputs:
    return {
        name: np.full_like(values, value if values.dtype.kind == "f" else 1)
        for name, values in noise.items()
    }


def _extremes(noise: Inputs, samples: Sequence[Inputs]) -> list[Probe]:
    """Return inputs whose floats are all the lowest, and all the highest of calibration."""
    seen = [samples[index] for index in range(min(_SEEN, len(samples)))]
    floats = [name for name, values in noise.items() if values.dtype.kind == "f"]
    if not seen or not floats:
        return []
    found = []
    for word, extreme in (("lowest", np.min), ("highest", np.max)):
        inputs = dict(noise)
        for name in floats:
            values = [extreme(s[name]) for s in seen if s[name].size and np.isfinite(s[name]).all()]
            if values:
                inputs[name] = np.full_like(noise[name], extreme(values))
        found.append(Probe(f"the {word} values of calibration", inputs))
    return found
