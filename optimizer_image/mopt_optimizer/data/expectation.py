"""Compares samples with what a model was trained on, by its first layer. Pure.

Pieces of the samples go through the first convolution. Over the training data each filter's results
had the mean and variance that its BatchNormalization holds; how far the samples' are from these is
the Kullback-Leibler divergence of two normal distributions, the median of all filters. A slip in
preparing the samples shows as a change that brings them much closer: other scale, other
normalization, channels reversed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mopt_api.jobs.data_statistics import DataFault, FirstLayer

Array = NDArray[np.float64]

_FEWEST = 4
"""Samples; of fewer the spread is not known."""
# Divergence, in nats, of what is not the training data's: half the contrast is 0.3.
_FAR = 0.5
_STRANGE = 2.0
# What a change must bring it down to, as a share.
_EXPLAINED = 0.3
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Channels reversed: a finer difference, so it has to hold in so many of the resampled sets.
_RESAMPLED = 400
_SURE = 0.99
_CLOSER = 0.85
_NOTICEABLE = 0.01


@dataclass(frozen=True)
class Mismatch:
    """What the samples look like to the model.

    Attributes:
        message: What was found and what would fit.
    """

    fault: DataFault
    message: str


@dataclass(frozen=True)
class _Change:
    """What would have to be done to the samples: value * factor + added, or channels reversed."""

    fault: DataFault
    remedy: str
    apply: Callable[[Array], Array]


def mismatch(layer: FirstLayer, patches: NDArray[np.float32]) -> Mismatch | None:
    """Return how samples differ from what the model was trained on; None where nothing stands out.

    Args:
        patches: Pieces of the samples, shape (samples, pieces, channels, side, side).
    """
    height, width = layer.kernel
    samples, _, channels, side, _ = patches.shape
    if samples < _FEWEST or channels != len(layer.scale) or side < max(height, width):
        return None
    pieces = patches[..., :height, :width].astype(np.float64)
    before = _divergence(layer, _responses(layer, pieces))
    if before > _FAR:
        best, after = min(
            (
                (change, _divergence(layer, _responses(layer, change.apply(pieces))))
                for change in _changes(channels)
            ),
            key=lambda pair: pair[1],
        )
        if after < _EXPLAINED * before:
            return Mismatch(best.fault, f"{best.remedy} {_figures(before, after)}")
    if channels == 3 and (reversed_ := _color_order(layer, pieces)) is not None:
        return reversed_
    if before > _STRANGE:
        return Mismatch(
            DataFault.NORMALIZATION,
            "the values are not those that the model was trained on: its first layer's results "
            f"diverge by {before:.2g} nats from the statistics in its BatchNormalization; compare "
            "scale, mean, std and color with the training code",
        )
    return None


def _changes(channels: int) -> Iterator[_Change]:
    def affine(fault: DataFault, remedy: str, factor: Array, added: Array) -> _Change:
        shape = (-1, 1, 1)
        return _Change(fault, remedy, lambda x: x * factor.reshape(shape) + added.reshape(shape))

    ones, zeros = np.ones(channels), np.zeros(channels)
    yield affine(
        DataFault.SCALE,
        "values are about 255 times as large as in training: divide by 255 (scale 1/255)",
        ones / 255,
        zeros,
    )
    yield affine(
        DataFault.SCALE,
        "values are about 255 times as small as in training: the model takes 0 to 255 (scale 1)",
        ones * 255,
        zeros,
    )
    forms = [("0.5 and 0.5, so -1 to 1", ones / 2, ones / 2)]
    if channels == 3:
        forms.append(("those of ImageNet", np.array(_MEAN), np.array(_STD)))
    for name, mean, std in forms:
        for peak in (1, 255):
            of_pixels = "" if peak == 1 else ", times 255"
            yield affine(
                DataFault.NORMALIZATION,
                f"values fit the model once mean and std ({name}{of_pixels}) are applied: they "
                "are missing",
                1 / (std * peak),
                -mean / std,
            )
            to = "0 to 1" if peak == 1 else "0 to 255"
            yield affine(
                DataFault.NORMALIZATION,
                f"values are normalized (mean and std {name}), and the model takes {to}: leave "
                "mean and std out",
                std * peak,
                mean * peak,
            )


def _color_order(layer: FirstLayer, pieces: Array) -> Mismatch | None:
    """Return that the channels are in reverse order, where that fits better beyond chance.

    Resampled by whole samples: the pieces of one are alike.
    """
    given = _moments(_responses(layer, pieces))
    before = _divergence_of(layer, *_pooled(given, None))
    other, after = min(
        (
            (moments, _divergence_of(layer, *_pooled(moments, None)))
            for change in (_reversed, _reversed_before_normalizing)
            for moments in [_moments(_responses(layer, change(pieces)))]
        ),
        key=lambda pair: pair[1],
    )
    if before < _NOTICEABLE or after > _CLOSER * before:
        return None
    draws = np.random.default_rng(0).integers(0, len(pieces), (_RESAMPLED, len(pieces)))
    closer = [
        _divergence_of(layer, *_pooled(other, draw)) < _divergence_of(layer, *_pooled(given, draw))
        for draw in draws
    ]
    if np.mean(closer) < _SURE:
        return None
    return Mismatch(
        DataFault.COLOR_ORDER,
        "the channels seem to be in reverse order (BGR for RGB, or RGB for BGR): the model's "
        f"first layer fits them better reversed {_figures(before, after)}; set images.color, or "
        "reverse the arrays' channels",
    )


def _reversed(pieces: Array) -> Array:
    return pieces[:, :, ::-1]


def _reversed_before_normalizing(pieces: Array) -> Array:
    """Return pieces of images that were in reverse order when ImageNet's mean and std, which are
    in the order of the model, were applied."""
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (_MEAN, _STD))
    result: Array = ((pieces * std + mean)[:, :, ::-1] - mean) / std
    return result


def _figures(before: float, after: float) -> str:
    return f"(divergence from its training data {before:.2g} nats as given, {after:.2g} so)"


def _responses(layer: FirstLayer, pieces: Array) -> Array:
    """Return the filters' results, shape (samples, pieces, filters)."""
    shape = (-1, 1, 1)
    scaled = pieces * np.reshape(layer.scale, shape) + np.reshape(layer.offset, shape)
    flat = scaled.reshape(*pieces.shape[:2], -1)
    results: Array = flat @ np.asarray(layer.weights).T + np.asarray(layer.bias)
    return results


def _moments(responses: Array) -> tuple[Array, Array]:
    """Return each sample's mean and mean square, shape (samples, filters) each."""
    return responses.mean(axis=1), np.square(responses).mean(axis=1)


def _pooled(moments: tuple[Array, Array], draw: NDArray[np.int64] | None) -> tuple[Array, Array]:
    """Return mean and variance over samples."""
    means, squares = (m.mean(axis=0) if draw is None else m[draw].mean(axis=0) for m in moments)
    return means, np.maximum(squares - np.square(means), 0)


def _divergence(layer: FirstLayer, responses: Array) -> float:
    return float(np.median(_divergences(layer, *_pooled(_moments(responses), None))))


def _divergence_of(layer: FirstLayer, mean: Array, variance: Array) -> float:
    """Return the mean divergence of all filters: a few tell the colours apart."""
    return float(np.mean(_divergences(layer, mean, variance)))


def _divergences(layer: FirstLayer, mean: Array, variance: Array) -> Array:
    """Return the divergence of each filter's results from training's."""
    trained, spread = np.asarray(layer.mean), np.asarray(layer.variance)
    share = np.maximum(variance / spread, 1e-12)
    result: Array = (share + np.square(mean - trained) / spread - 1 - np.log(share)) / 2
    return result
