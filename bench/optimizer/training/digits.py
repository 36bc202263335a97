"""What the networks learn from: scikit-learn's handwritten digits, drawn anew for every step.

1797 pictures of 8 x 8 (Alpaydin and Kaynak, UCI optdigits, CC BY 4.0), which scikit-learn carries.
They are split once, so that what is evaluated on is no picture that was trained or calibrated on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

PICTURE_SIDE = 64
SCENE_SIDE = 96
MOST_DIGITS = 6
"""In a scene; there may be none."""
COLUMNS = 16
"""Digits of each number that is added."""

_SPLIT_SEED = 20_261_130
_PEAK = 16.0
_SLOTS = 3
_INKED = 0.3
_NOISE = 0.05


class Part(StrEnum):
    """What a digit is for."""

    TRAINING = "training"
    CALIBRATION = "calibration"
    EVALUATION = "evaluation"


_SHARES = {Part.TRAINING: slice(0, 1197), Part.CALIBRATION: slice(1197, 1397)}
_SHARES[Part.EVALUATION] = slice(1397, None)


@dataclass(frozen=True)
class Digits:
    """Some of the digits.

    Attributes:
        images: (n, 8, 8), ink from 0 to 1.
        labels: (n,), int64.
        numbers: (n,), of each in scikit-learn's data set.
    """

    images: Tensor
    labels: Tensor
    numbers: Tensor

    def drawn(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return images and labels of so many, drawn with replacement."""
        chosen = torch.randint(len(self.labels), (count,), generator=generator)
        return self.images[chosen], self.labels[chosen]


def digits_of(part: Part) -> Digits:
    """Return the digits of a part: always the same ones, and no other part's."""
    found = load_digits()
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(found.target))[_SHARES[part]]
    return Digits(
        torch.from_numpy(found.images[order] / _PEAK).float(),
        torch.from_numpy(found.target[order]).long(),
        torch.from_numpy(order).long(),
    )


@dataclass(frozen=True)
class Pictures:
    """Pictures of one digit each: (n, 3, PICTURE_SIDE, PICTURE_SIDE) from 0 to 1, and labels."""

    images: Tensor
    labels: Tensor


def pictures(digits: Digits, count: int, generator: torch.Generator) -> Pictures:
    """Return digits of any size, turned, moved, and in colours on a ground that varies."""
    images, labels = digits.drawn(count, generator)
    size = _between(0.55, 0.85, (count,), generator)
    centre = _between(-0.2, 0.2, (count, 2), generator)
    ink = _placed(images, PICTURE_SIDE, size, centre, _between(-0.25, 0.25, (count,), generator))
    ground = _ground(count, PICTURE_SIDE, generator)
    return Pictures(_seen(_inked(ground, ink, generator), generator), labels)


@dataclass(frozen=True)
class Scenes:
    """Scenes of several digits.

    Attributes:
        images: (n, 3, SCENE_SIDE, SCENE_SIDE) from 0 to 1.
        boxes: (n, MOST_DIGITS, 4), x1, y1, x2, y2 around the ink, in pixels.
        labels, present: (n, MOST_DIGITS), the digits, and whether they are there at all.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    present: Tensor


def scenes(digits: Digits, count: int, generator: torch.Generator) -> Scenes:
    """Return scenes of none to MOST_DIGITS digits, each in a place of its own."""
    images, labels = digits.drawn(count * MOST_DIGITS, generator)
    slots = torch.rand(count, _SLOTS**2, generator=generator).argsort(1)[:, :MOST_DIGITS].flatten()
    places = torch.stack([slots % _SLOTS, slots // _SLOTS], 1).float()
    centre = (places + 0.5) * (2 / _SLOTS) - 1
    centre = centre + _between(-0.06, 0.06, tuple(centre.shape), generator)
    size = _between(0.23, 0.32, (len(slots),), generator)
    ink = _placed(images, SCENE_SIDE, size, centre, _between(-0.15, 0.15, size.shape, generator))
    many = torch.randint(MOST_DIGITS + 1, (count, 1), generator=generator)
    present = torch.arange(MOST_DIGITS) < many
    boxes = _boxes(ink[:, 0] > _INKED).reshape(count, MOST_DIGITS, 4)
    picture = _ground(count, SCENE_SIDE, generator)
    ink = ink.reshape(count, MOST_DIGITS, 1, SCENE_SIDE, SCENE_SIDE)
    ink = ink * present[:, :, None, None, None]
    for layer in ink.unbind(1):
        picture = _inked(picture, layer, generator)
    labels = labels.reshape(count, MOST_DIGITS)
    return Scenes(_seen(picture, generator), boxes, labels, present)


@dataclass(frozen=True)
class Sums:
    """Two numbers to add, the last digits first.

    Attributes:
        images: (n, COLUMNS + 1, 2, 8, 8), a digit of each number; nothing in the last column.
        digits: (n, COLUMNS, 2), int64, what the pictures show.
        answers: (n, COLUMNS + 1), int64, the digits of their sum.
    """

    images: Tensor
    digits: Tensor
    answers: Tensor


def sums(digits: Digits, count: int, generator: torch.Generator) -> Sums:
    """Return pairs of numbers, and their sums as arithmetic has them."""
    images, labels = digits.drawn(count * COLUMNS * 2, generator)
    columns = images.reshape(count, COLUMNS, 2, 8, 8)
    columns = torch.cat([columns, torch.zeros(count, 1, 2, 8, 8)], 1)
    pairs = labels.reshape(count, COLUMNS, 2)
    noise = torch.randn(columns.shape, generator=generator) * _NOISE
    carry = torch.zeros(count, dtype=torch.int64)
    answers = []
    for pair in pairs.unbind(1):
        total = pair.sum(1) + carry
        answers.append(total % 10)
        carry = total // 10
    return Sums((columns + noise).clamp(0, 1), pairs, torch.stack([*answers, carry], 1))


def _between(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _placed(images: Tensor, side: int, size: Tensor, centre: Tensor, angle: Tensor) -> Tensor:
    """Return the ink of digits on squares, (n, 1, side, side).

    Args:
        size: Of the digit, as a share of the square's.
        centre: x and y from -1 to 1.
        angle: In radians.
    """
    cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
    turn = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
    shift = -(turn @ centre[:, :, None])
    grid = torch.nn.functional.affine_grid(
        torch.cat([turn, shift], 2), [len(images), 1, side, side], align_corners=False
    )
    return torch.nn.functional.grid_sample(images[:, None], grid, align_corners=False)


def _ground(count: int, side: int, generator: torch.Generator) -> Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 0.45
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def _inked(ground: Tensor, ink: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures with ink on them, each in a colour of its own that is lighter than any
    ground."""
    colour = _between(0.55, 1.0, (len(ground), 3, 1, 1), generator)
    return ground * (1 - ink) + colour * ink


def _seen(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures as a camera has them: every other one negative, and with noise."""
    negative = torch.rand(len(picture), 1, 1, 1, generator=generator) < 0.5
    noise = torch.randn(picture.shape, generator=generator) * _NOISE
    return (torch.where(negative, 1 - picture, picture) + noise).clamp(0, 1)


def _boxes(inked: Tensor) -> Tensor:
    """Return x1, y1, x2, y2 around what is True, (n, 4); of (n, side, side)."""
    edges = []
    for axis in (1, 2):
        touched = inked.any(axis).int()
        edges.append((touched.argmax(1), touched.shape[1] - touched.flip(1).argmax(1)))
    (x1, x2), (y1, y2) = edges
    return torch.stack([x1, y1, x2, y2], 1).float()
