"""A detector in one stage, as YOLO is: every cell says whether a digit's centre is in it.

A cell that is not the best among its neighbours scores 0, in the graph: what it answers needs no
suppression afterwards (Zhou et al. 2019, "Objects as Points").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .classifiers import CLASSES, convolution
from .digits import SCENE_SIDE, Scenes

STRIDE = 8
CELLS = SCENE_SIDE // STRIDE
# Of the neighbours' best: what rounds to BF16 must not lose against itself.
_AS_GOOD = 0.98


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = convolution(width, width, 3, 1), convolution(width, width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return what has the shape of x."""
        return nn.functional.silu(x + self.second(nn.functional.silu(self.first(x))))


class Detector(nn.Module):
    """Scenes (n, 3, 96, 96) from 0 to 1 to boxes, scores and labels of CELLS * CELLS cells.

    Boxes (n, cells, 4) are x1, y1, x2, y2 in pixels, scores (n, cells) from 0 to 1, labels
    (n, cells) int64.
    """

    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(3, 16, 3, 2),
            nn.SiLU(),
            convolution(16, 32, 3, 2),
            nn.SiLU(),
            Residual(32),
            convolution(32, 64, 3, 2),
            nn.SiLU(),
            Residual(64),
            Residual(64),
        )
        self.head = nn.Conv2d(64, 1 + 4 + CLASSES, 1)
        # Of the first steps: most cells hold nothing.
        bias = torch.zeros(1 + 4 + CLASSES)
        bias[0] = -3.0
        self.head.bias = nn.Parameter(bias)
        centres = (torch.arange(CELLS) + 0.5) * STRIDE
        down, across = torch.meshgrid(centres, centres, indexing="ij")
        self.register_buffer("places", torch.stack([across, down]).flatten(1).T)

    def cells(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of a centre (n, 1, CELLS, CELLS), boxes (n, cells, 4) and logits of classes
        (n, cells, CLASSES)."""
        centre, sides, classes = self.head(self.body(image)).split([1, 4, CLASSES], 1)
        away = STRIDE * nn.functional.softplus(sides).flatten(2).transpose(1, 2)
        boxes = torch.cat([self.places - away[..., :2], self.places + away[..., 2:]], 2)
        return centre, boxes, classes.flatten(2).transpose(1, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the boxes, scores and labels."""
        centre, boxes, classes = self.cells(image)
        likely = torch.sigmoid(centre)
        best = nn.functional.max_pool2d(likely, 3, 1, 1)
        peaks = torch.where(likely >= _AS_GOOD * best, likely, torch.zeros_like(likely))
        sure, labels = torch.softmax(classes, 2).max(2)
        return boxes, peaks.flatten(1) * sure, labels


def detection_loss(network: Detector, scenes: Scenes) -> Tensor:
    """Return the loss of centres over all cells, of boxes and classes over those that hold one.

    Centres weigh those that the network is wrong about (Lin et al. 2017, "Focal Loss"); boxes count
    by their intersection over union, which is what they are judged by.
    """
    centre, boxes, classes = network.cells(scenes.images)
    scene, which = scenes.present.nonzero(as_tuple=True)
    wanted = scenes.boxes[scene, which]
    middle = ((wanted[:, :2] + wanted[:, 2:]) / 2 / STRIDE).long()
    cell = middle[:, 1] * CELLS + middle[:, 0]
    holds = torch.zeros_like(centre).flatten(1)
    holds[scene, cell] = 1.0
    plain = nn.functional.binary_cross_entropy_with_logits(
        centre.flatten(1), holds, reduction="none"
    )
    focal = (plain * (1 - torch.exp(-plain)) ** 2).sum() / max(1, len(cell))
    if not len(cell):
        return focal
    found, labels = boxes[scene, cell], scenes.labels[scene, which]
    classified = nn.functional.cross_entropy(classes[scene, cell], labels)
    return focal + classified + (1 - _overlap(found, wanted)).mean()


def _overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union of each pair; both (n, 4) with an area."""
    low = torch.maximum(first[:, :2], second[:, :2])
    high = torch.minimum(first[:, 2:], second[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(1) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-6)
