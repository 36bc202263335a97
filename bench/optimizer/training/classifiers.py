"""Two classifiers of pictures: a MobileNet with residuals, and a vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 10


def convolution(before: int, after: int, size: int, stride: int, groups: int = 1) -> nn.Sequential:
    """Return a convolution with its normalization; it keeps the picture's size but for stride."""
    return nn.Sequential(
        nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    )


class Inverted(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018): wide inside, depthwise, linear at its end."""

    def __init__(self, before: int, after: int, stride: int, widened: int = 4) -> None:
        super().__init__()
        wide = before * widened
        self.layers = nn.Sequential(
            convolution(before, wide, 1, 1),
            nn.ReLU6(),
            convolution(wide, wide, 3, stride, groups=wide),
            nn.ReLU6(),
            convolution(wide, after, 1, 1),
        )
        self.residual = before == after and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, after, height / stride, width / stride)."""
        found: Tensor = self.layers(x)
        return x + found if self.residual else found


class MobileNet(nn.Module):
    """Pictures (n, 3, 64, 64) from 0 to 1 to scores of classes (n, CLASSES)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(3, 16, 3, 2),
            nn.ReLU6(),
            Inverted(16, 24, 2),
            Inverted(24, 24, 1),
            Inverted(24, 48, 2),
            Inverted(48, 48, 1),
            Inverted(48, 48, 1),
            Inverted(48, 96, 2),
            Inverted(96, 96, 1),
            convolution(96, 256, 1, 1),
            nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(256, CLASSES),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores."""
        scores: Tensor = self.layers(image)
        return scores


class Attending(nn.Module):
    """A transformer's layer that normalizes first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.joined = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the next state of (n, tokens, width)."""
        normal = self.first(x)
        parts = [
            part(normal).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        ]
        attended = nn.functional.scaled_dot_product_attention(*parts)
        x = x + self.joined(attended.transpose(1, 2).flatten(2))
        found: Tensor = x + self.outer(nn.functional.gelu(self.inner(self.second(x))))
        return found


class VisionTransformer(nn.Module):
    """Pictures (n, 3, 64, 64) from 0 to 1 to scores of classes (n, CLASSES).

    Dosovitskiy et al. 2021, small: squares of 8 x 8 are its tokens, whose mean is classified. Three
    convolutions make the tokens, without which it learns little in minutes (Xiao et al. 2021).
    """

    def __init__(self, side: int = 64, width: int = 96, layers: int = 4) -> None:
        super().__init__()
        self.squares = nn.Sequential(
            convolution(3, width // 4, 3, 2),
            nn.ReLU(),
            convolution(width // 4, width // 2, 3, 2),
            nn.ReLU(),
            convolution(width // 2, width, 3, 2),
        )
        self.places = nn.Parameter(torch.randn(1, (side // 8) ** 2, width) * 0.02)
        self.layers = nn.Sequential(*(Attending(width, 4) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores."""
        tokens = self.squares(2 * image - 1).flatten(2).transpose(1, 2) + self.places
        scores: Tensor = self.head(self.norm(self.layers(tokens)).mean(1))
        return scores
