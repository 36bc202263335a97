"""Where the labels of a scatter go, so that none covers a marker, a line or another label. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Of a monospaced font: 0.6 em in most, a little more to be safe.
_CHARACTER = 0.63
# Of the grid of places that are tried where none beside the marker is free.
_COLUMN = 8.0
_ROW = 4.0


@dataclass(frozen=True)
class Box:
    """A rectangle; x grows to the right, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True)
class Label:
    """A placed text: its box, and whether it is so far off that a line must lead to it."""

    text: str
    box: Box
    led: bool


def text_width(text: str, size: float) -> float:
    """Return the width of a monospaced text."""
    return len(text) * size * _CHARACTER


def place(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    *,
    area: Box,
    size: float,
    radius: float,
    obstacles: Sequence[Box] = (),
) -> list[Label | None]:
    """Return a place for each point's text: the free one nearest to the point.

    Args:
        size: Height of the font.
        radius: Of the points' markers.
        obstacles: What must stay free besides markers and labels.

    Returns:
        In the points' order; None where no free place is left.
    """
    markers = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    taken = [*markers, *obstacles]
    labels: list[Label | None] = []
    for (x, y), text in zip(points, texts, strict=True):
        label = _nearest(x, y, text, area, size, radius, taken)
        labels.append(label)
        if label is not None:
            taken.append(label.box)
    return labels


def _nearest(
    x: float, y: float, text: str, area: Box, size: float, radius: float, taken: Sequence[Box]
) -> Label | None:
    width, height = text_width(text, size), size * 1.25
    gap = radius + 3

    def free(left: float, top: float) -> Box | None:
        box = Box(left, top, left + width, top + height)
        return box if area.holds(box) and not any(map(box.overlaps, taken)) else None

    beside = [
        (x + gap, y - height / 2),
        (x - gap - width, y - height / 2),
        (x - width / 2, y - gap - height),
        (x - width / 2, y + gap),
    ]
    for left, top in beside:
        if (box := free(left, top)) is not None:
            return Label(text, box, led=False)
    nearest, found = math.inf, None
    for row in range(int((area.bottom - area.top - height) / _ROW) + 1):
        for column in range(int((area.right - area.left - width) / _COLUMN) + 1):
            left, top = area.left + column * _COLUMN, area.top + row * _ROW
            # Rows count double: a label above or below belongs less clearly to its marker.
            away = math.hypot(
                max(left - x, 0, x - left - width), 2 * max(top - y, 0, y - top - height)
            )
            if away < nearest and (box := free(left, top)) is not None:
                nearest, found = away, Label(text, box, led=away > gap + 4)
    return found
