"""Writes a program of 2.52 GB: `python make_program.py PATH`, a process so that its memory goes."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from torch import nn

WIDTH, LAYERS = 7936, 10


def network() -> nn.Module:
    """Return the layers, seeded."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def main(path: Path) -> None:
    """Export the network with a dynamic batch."""
    warnings.simplefilter("ignore")
    program = torch.export.export(
        network(), (torch.rand(2, WIDTH),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    torch.export.save(program, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
