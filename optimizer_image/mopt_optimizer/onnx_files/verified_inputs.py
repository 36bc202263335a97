"""Inputs that a model is verified on: samples wherever there are some, else noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.data.fitting import fitted
from mopt_optimizer.data.noise import noise
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.opening.inputs import MAX_VERIFIED_VALUES, input_shape, verified_sizes

_SAMPLES = 2


@dataclass(frozen=True)
class VerifiedInputs:
    """Inputs of one run.

    Attributes:
        sizes: Of the named dimensions.
        name: What messages call them; empty for noise, and for samples fitted to the sizes.
    """

    sizes: dict[str, int]
    inputs: Inputs
    name: str = ""

    @property
    def values(self) -> int:
        """Number of values of all inputs."""
        return sum(array.size for array in self.inputs.values())


def verified_inputs(
    inputs: Sequence[InputSpec],
    dimensions: Mapping[str, DimensionRange],
    samples: Sequence[Inputs] = (),
) -> list[VerifiedInputs]:
    """Return inputs at each verified size: samples fitted to it, or noise with a fixed seed.

    After these up to two samples as they are, as many as have MAX_VERIFIED_VALUES together.
    """
    sizes_of = verified_sizes(inputs, dimensions)
    if not samples:
        generator = np.random.default_rng(0)
        return [VerifiedInputs(s, _noise_at(s, inputs, generator)) for s in sizes_of]
    found = [VerifiedInputs(s, _fitted_to(s, inputs, samples)) for s in sizes_of]
    left = MAX_VERIFIED_VALUES
    for index in sorted({0, len(samples) // _SAMPLES}):
        sample = samples[index]
        one = VerifiedInputs(_sizes(inputs, sample), sample, f"sample {index + 1}")
        # The first one is what is fitted to its own sizes.
        if one.values <= left and (index or one.sizes not in sizes_of):
            left -= one.values
            found.append(one)
    return found


def smallest_inputs(
    inputs: Sequence[InputSpec],
    dimensions: Mapping[str, DimensionRange],
    samples: Sequence[Inputs] = (),
) -> Inputs:
    """Return the first of verified_inputs alone, which is of the smallest sizes."""
    first, *_ = verified_sizes(inputs, dimensions)
    if samples:
        return _fitted_to(first, inputs, samples)
    return _noise_at(first, inputs, np.random.default_rng(0))


def _fitted_to(
    sizes: Mapping[str, int], inputs: Sequence[InputSpec], samples: Sequence[Inputs]
) -> Inputs:
    made = fitted(samples, {i.name: input_shape(i, sizes) for i in inputs})
    return {name: _varied(array, samples[0][name]) for name, array in made.items()}


def _varied(array: NDArray[Any], sample: NDArray[Any]) -> NDArray[Any]:
    """Return values of a sample, lowest to highest, in place of what is one value throughout, as
    the corner of a picture may be: that shows nothing of what is computed."""
    if array.dtype.kind != "f" or not _constant(array) or _constant(sample):
        return array
    distinct = np.unique(sample)
    places = np.linspace(0, len(distinct) - 1, array.size).round().astype(int)
    mixed: NDArray[Any] = distinct[np.random.default_rng(0).permutation(places)]
    return mixed.reshape(array.shape)


def _constant(array: NDArray[Any]) -> bool:
    return array.size < 2 or bool((array == array.flat[0]).all())


def _noise_at(
    sizes: Mapping[str, int], inputs: Sequence[InputSpec], generator: np.random.Generator
) -> Inputs:
    return {i.name: noise(generator, input_shape(i, sizes), i.dtype) for i in inputs}


def _sizes(inputs: Sequence[InputSpec], sample: Inputs) -> dict[str, int]:
    """Return the sizes that a sample has."""
    shapes = ((i.shape, sample[i.name].shape) for i in inputs)
    pairs = (pair for declared, shape in shapes for pair in zip(declared, shape, strict=True))
    return {name: size for name, size in pairs if isinstance(name, str)}
