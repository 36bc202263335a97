"""Small models of every kind that the quantizer meets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

SIDE = 16


class Classifier(nn.Module):
    """Conv+BN+ReLU and Linear+ReLU in nested modules, a PReLU between."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.PReLU(16)),
        )
        self.head = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 5))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(batch, 3, height, width) -> (batch, 5)."""
        result: torch.Tensor = self.head(self.body(image).mean((2, 3)))
        return result


def randomize_norms(model: nn.Module) -> nn.Module:
    """Give batch norms statistics as after training: fresh ones change next to nothing."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.uniform_(-0.5, 0.5)
            assert module.running_var is not None
            module.running_var.uniform_(0.5, 2.0)
    return model.eval()


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(0)
    return randomize_norms(Classifier())


@pytest.fixture
def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


@pytest.fixture
def images() -> Callable[..., list[torch.Tensor]]:
    """Return what makes batches of noise images, always the same ones."""

    def make(count: int = 4, batch: int = 1, side: int = SIDE) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        return [torch.rand(batch, 3, side, side, generator=generator) for _ in range(count)]

    return make
