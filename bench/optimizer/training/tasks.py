"""The networks that are trained here: what each learns, how it is judged, and its recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from mopt_api.enums import QualityMetric

from .adder import Adder, adding_loss
from .classifiers import MobileNet, VisionTransformer
from .detector import Detector, detection_loss
from .digits import COLUMNS, MOST_DIGITS, PICTURE_SIDE, SCENE_SIDE, Digits, pictures, scenes, sums

# More than there can be: a count of 4 to 6 would read as the columns of a box, or of a row.
_ROWS = MOST_DIGITS + 2


@dataclass(frozen=True)
class Drawn:
    """A batch.

    Attributes:
        inputs: What the network takes.
        learned: What the loss needs.
        truth: The right answer in the form of each of the network's outputs, or as labels.
    """

    inputs: Tensor
    learned: Any
    truth: tuple[Tensor, ...]


@dataclass(frozen=True)
class Budget:
    """How long is trained.

    Attributes:
        rate: The highest learning rate, after a tenth of the steps.
    """

    steps: int
    batch: int
    rate: float


@dataclass(frozen=True)
class Task:
    """One network.

    Attributes:
        title: For tables.
        network: Makes it, untrained, from torch's own random numbers.
        draw: Makes a batch of some digits.
        loss: Of the network on a batch; a scalar.
        input: Its name and the shape of a sample.
        outputs: Their names.
        metric: That compares with the truth; its mean over samples is the accuracy.
        budget: Of the full recipe: some minutes on two cores.
    """

    title: str
    network: Callable[[], nn.Module]
    draw: Callable[[Digits, int, torch.Generator], Drawn]
    loss: Callable[[nn.Module, Drawn], Tensor]
    input: tuple[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    metric: QualityMetric
    budget: Budget


def _draw_picture(digits: Digits, count: int, generator: torch.Generator) -> Drawn:
    found = pictures(digits, count, generator)
    return Drawn(found.images, found.labels, (found.labels,))


def _draw_sums(digits: Digits, count: int, generator: torch.Generator) -> Drawn:
    found = sums(digits, count, generator)
    return Drawn(found.images, found, (found.answers,))


def _draw_scene(digits: Digits, count: int, generator: torch.Generator) -> Drawn:
    found = scenes(digits, count, generator)
    rows = (count, _ROWS)
    boxes, scores = torch.zeros(*rows, 4), torch.zeros(rows)
    labels = torch.zeros(rows, dtype=torch.int64)
    # Rows of score 0 count for nothing.
    scores[:, :MOST_DIGITS] = found.present.float()
    boxes[:, :MOST_DIGITS] = found.boxes * found.present[:, :, None]
    labels[:, :MOST_DIGITS] = found.labels * found.present
    return Drawn(found.images, found, (boxes, scores, labels))


def _classified(network: nn.Module, drawn: Drawn) -> Tensor:
    return nn.functional.cross_entropy(network(drawn.inputs), drawn.learned)


def _added(network: nn.Module, drawn: Drawn) -> Tensor:
    return adding_loss(cast("Adder", network), drawn.learned)


def _detected(network: nn.Module, drawn: Drawn) -> Tensor:
    return detection_loss(cast("Detector", network), drawn.learned)


_IMAGE = ("image", (3, PICTURE_SIDE, PICTURE_SIDE))
TASKS: dict[str, Task] = {
    "classifier": Task(
        "MobileNet with residuals, digits in colour, trained here",
        MobileNet,
        _draw_picture,
        _classified,
        _IMAGE,
        ("scores",),
        QualityMetric.TOP1_AGREEMENT,
        Budget(steps=300, batch=64, rate=4e-3),
    ),
    "detector": Task(
        f"YOLO-like detector, scenes of 0 to {MOST_DIGITS} digits, trained here",
        Detector,
        _draw_scene,
        _detected,
        ("image", (3, SCENE_SIDE, SCENE_SIDE)),
        ("boxes", "scores", "labels"),
        QualityMetric.DETECTION_F1,
        Budget(steps=600, batch=32, rate=3e-3),
    ),
    "adder": Task(
        f"GRU of two layers that adds numbers of {COLUMNS} written digits, trained here",
        Adder,
        _draw_sums,
        _added,
        ("columns", (COLUMNS + 1, 2, 8, 8)),
        ("scores",),
        QualityMetric.SEQUENCE_AGREEMENT,
        Budget(steps=800, batch=64, rate=2e-3),
    ),
    "vision_transformer": Task(
        "vision transformer, digits in colour, trained here",
        VisionTransformer,
        _draw_picture,
        _classified,
        _IMAGE,
        ("scores",),
        QualityMetric.TOP1_AGREEMENT,
        Budget(steps=800, batch=64, rate=1e-3),
    ),
}
"""By name."""
