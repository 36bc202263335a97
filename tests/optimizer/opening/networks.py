"""Small networks that use what real ones do: each must go on being opened."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

Maker = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]


def image() -> Tensor:
    return torch.rand(1, 3, 16, 16)


class Block(nn.Module):
    """A residual block of torchvision's kind."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=1)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out: Tensor = self.act(self.norm(self.conv(x)))
        out += identity
        return out


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=2, padding=3)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layers = nn.Sequential(Block(8), Block(8))
        self.average = nn.AdaptiveAvgPool2d((1, 1))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.pool(self.stem(x)))
        scores: Tensor = self.head(torch.flatten(self.average(x), 1))
        return scores.softmax(-1)


class InvertedResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 1, bias=False),
            nn.BatchNorm2d(12),
            nn.Hardswish(),
            nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False),
            nn.SiLU(),
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 12, 1), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        weighted: Tensor = x * self.squeeze(x)
        return weighted


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.out = nn.Conv2d(7, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = functional.leaky_relu(self.down(x), 0.1)
        high = torch.cat([self.up(low), x], dim=1)
        smooth = functional.interpolate(
            low, size=x.shape[-2:], mode="bilinear", align_corners=False
        )
        return torch.sigmoid(self.out(high)) + smooth.mean(1, keepdim=True)


class Resize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        y = functional.interpolate(y, size=[20, 20], mode="bicubic", align_corners=False)
        y = functional.pad(y, [1, 1, 1, 1], mode="reflect")
        return functional.grid_sample(y, torch.zeros(1, 4, 4, 2), align_corners=False)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.norm = nn.LayerNorm(16)

    def forward(self, tokens: Tensor) -> Tensor:
        encoded: Tensor = self.norm(self.encoder(self.embed(tokens)))
        return encoded.argmax(-1)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        mask = torch.ones(x.size(1), x.size(1)).tril().to(torch.bool)
        weights = (q @ k.transpose(-2, -1) / 8**0.5).masked_fill(~mask, float("-inf")).softmax(-1)
        mixed: Tensor = torch.einsum("bij,bjk->bik", weights, v)
        return mixed + functional.scaled_dot_product_attention(q, k, v)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(12, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(x)
        z: Tensor = self.gru(y)[0]
        return z


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, 0] = 0
        y[:, 1:].mul_(2).add_(1).clamp_(0, 3)
        return y.unsqueeze(0).squeeze(0).permute(0, 2, 3, 1).contiguous()


class Reductions(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        top, at = x.flatten(1).topk(3)
        order = torch.sort(x.flatten(), stable=True)[0][:3]
        picked = x.flatten(1).gather(1, at)
        spread = x.std() + x.var() + x.norm() + x.amax((1, 2)).sum() + x.cumsum(0).mean()
        count = (x > 0.5).sum().to(torch.float32) + torch.where(x > 0, x, -x).prod()
        total: Tensor = top + picked + order + spread + count
        return total + x.roll(1, 0).flip(1).logsumexp((1, 2, 3))


class Branches(nn.Module):
    """Control flow, which only a script keeps."""

    def forward(self, x: Tensor, steps: int = 2) -> Tensor:
        for step in range(steps):
            if bool(x.sum() > 0) and step < 3:
                x = x * 2
            x = x - 1
        while x.abs().max() > 100:
            x = x / 2
        if x.dim() != 4:
            raise ValueError(f"expected 4 axes and not {x.dim()}")
        return x


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Mode(Enum):
    FAST = 1
    EXACT = 2


class Containers(nn.Module):
    """What TorchScript has of Python's containers and classes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)])
        self.named = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Tanh()})
        self.mode = Mode.FAST
        self.scales: list[float] = [1.0, 2.0]

    def helper(self, x: Tensor, scale: float | None = None) -> Tensor:
        return x if scale is None else x * scale

    def forward(self, x: Tensor) -> Pair:
        seen: dict[str, Tensor] = {}
        parts: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            parts.append(x)
        for name, module in self.named.items():
            seen[name] = module(x)
        if self.mode == Mode.FAST:
            x = self.helper(x, self.scales[1])
        text = "shape {} of {}".format(x.shape, len(parts))  # noqa: UP032 - scripts have no f""
        assert len(text) > 0, text
        with torch.no_grad():
            y = torch.stack(parts).sum(0) + seen["a"] + seen["b"]
        return Pair(x, y)


NETWORKS: dict[str, Maker] = {
    "resnet": lambda: (ResNet(), (image(),)),
    "mobilenet": lambda: (InvertedResidual(), (image(),)),
    "unet": lambda: (UNet(), (image(),)),
    "resize": lambda: (Resize(), (image(),)),
    "attention": lambda: (Attention(), (torch.tensor([[1, 2, 3]]),)),
    "scaled attention": lambda: (Scaled(), (torch.rand(1, 4, 8),)),
    "recurrent": lambda: (Recurrent(), (torch.rand(1, 4, 8),)),
    "in place": lambda: (InPlace(), (image(),)),
    "reductions": lambda: (Reductions(), (image(),)),
}
"""Those that are exported, traced and scripted."""

SCRIPTS: dict[str, Maker] = NETWORKS | {
    "branches": lambda: (Branches(), (image(),)),
    "containers": lambda: (Containers(), (image(),)),
}
