"""Small networks with everything that exports stumble on."""

from __future__ import annotations

import pytest
import torch
from torch import nn


class Upscaler(nn.Module):
    """x2 enlargement: Conv, BatchNorm, PReLU, PixelShuffle around a resized picture."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.PReLU(8),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.body.get_buffer("1.running_mean").uniform_(-0.5, 0.5)
        self.body.get_buffer("1.running_var").uniform_(0.5, 2.0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        enlarged = nn.functional.interpolate(image, scale_factor=2.0, mode="nearest")
        result: torch.Tensor = enlarged + 0.1 * self.body(image)
        return result


@pytest.fixture
def upscaler() -> Upscaler:
    return Upscaler().eval()
