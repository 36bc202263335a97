"""A small network that doubles the size of photographs, trained in seconds on a few of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from mopt_optimizer.progress import Log

_CHANNELS = 32
_HIDDEN = 3
_STEPS = 240
_BATCH = 8
_CROP = 64
"""Side of the crops that are learned from; the network sees them at half of it."""
_LEARNING_RATE = 2e-3
_SAID_EVERY = 40


class Enlarger(nn.Module):
    """(batch, 3, height, width) in 0 to 1 -> (batch, 3, 2 height, 2 width)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, _CHANNELS, 3, padding=1), nn.PReLU(_CHANNELS)]
        for _ in range(_HIDDEN):
            layers += [nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1), nn.PReLU(_CHANNELS)]
        layers += [nn.Conv2d(_CHANNELS, 12, 3, padding=1), nn.PixelShuffle(2)]
        self.body = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Add the predicted detail to the image, enlarged by its nearest neighbours."""
        detail: torch.Tensor = self.body(image)
        return detail + _nearest(image)


def _nearest(image: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(image, scale_factor=2.0, mode="nearest")


def trained(photographs: Sequence[torch.Tensor], log: Log, *, steps: int = _STEPS) -> Enlarger:
    """Return a network that has learned from crops of photographs and their halves.

    Args:
        photographs: Each (3, height, width) in 0 to 1, with sides of at least 64.
        log: Told every few steps how close the network comes to the photographs.
    """
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = Enlarger()
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    for step in range(1, steps + 1):
        sharp = _crops(photographs, draw)
        small = nn.functional.avg_pool2d(sharp, 2)
        made = network(small)
        loss = nn.functional.l1_loss(made, sharp)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()
        if step % _SAID_EVERY == 0:
            ours, theirs = (_decibels(each.detach(), sharp) for each in (made, _nearest(small)))
            log(
                "train",
                f"step {step} of {steps}: {ours:.1f} dB to the photographs, {theirs:.1f} dB by "
                "nearest neighbours",
            )
    return network.eval()


def _crops(photographs: Sequence[torch.Tensor], draw: torch.Generator) -> torch.Tensor:
    """Return a batch of square crops, each at a place of its own."""

    def below(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=draw))

    found = []
    for _ in range(_BATCH):
        photograph = photographs[below(len(photographs))]
        top, left = (below(side - _CROP + 1) for side in photograph.shape[1:])
        found.append(photograph[:, top : top + _CROP, left : left + _CROP])
    return torch.stack(found)


def _decibels(made: torch.Tensor, sharp: torch.Tensor) -> float:
    return -10 * math.log10(max(float(nn.functional.mse_loss(made, sharp)), 1e-12))


def export(network: Enlarger, path: Path) -> None:
    """Write the network as an ExportedProgram with dynamic batch, height and width."""
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        network,
        (torch.rand(2, 3, 32, 40),),
        dynamic_shapes={"image": {0: dynamic, 2: dynamic, 3: dynamic}},
    )
    torch.export.save(program, path)
