"""The networks of architectures.py: small modules of the kinds that people have.

Widths are tiny; what matters is the structure, the inputs and the outputs.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it


def _conv(width_in: int, width: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(width_in, width, 3, stride, 1, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 16, 2)
        self.blocks = nn.ModuleList(nn.Sequential(_conv(16, 16), _conv(16, 16)) for _ in range(2))
        self.head = nn.Linear(16, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        for block in self.blocks:
            x = F.relu(x + block(x))
        scores: torch.Tensor = self.head(x.mean((2, 3)))
        return scores


class Mobile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 16, 2)
        self.deep = _conv(16, 16, groups=16)
        self.wide = nn.Conv2d(16, 32, 1)
        self.gate = nn.Sequential(nn.Conv2d(32, 8, 1), nn.ReLU(), nn.Conv2d(8, 32, 1))
        self.head = nn.Linear(32, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = F.hardswish(self.wide(self.deep(self.stem(image))))
        x = x * F.hardsigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        scores: torch.Tensor = self.head(x.mean((2, 3)))
        return scores


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = _conv(3, 8), _conv(8, 16), _conv(16, 32)
        self.up2 = nn.ConvTranspose2d(32, 16, 2, 2)
        self.up1 = nn.ConvTranspose2d(16, 8, 2, 2)
        self.merge2, self.merge1 = _conv(32, 16), _conv(16, 8)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        one = self.one(image)
        two = self.two(F.max_pool2d(one, 2))
        x = self.up2(self.three(F.max_pool2d(two, 2)))
        x = self.up1(self.merge2(torch.cat([x, two], 1)))
        masks: torch.Tensor = self.last(self.merge1(torch.cat([x, one], 1)))
        return masks


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 32))
        self.place = nn.Parameter(torch.randn(1, 17, 32) * 0.1)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patch(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        scores: torch.Tensor = self.head(self.layers(x)[:, 0])
        return scores


class Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(200, 32), nn.Embedding(64, 32)
        self.norm = nn.LayerNorm(32)
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.feed = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, 3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        length = input_ids.shape[1]
        x = self.norm(self.words(input_ids) + self.places(torch.arange(length)))
        mask = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        q, k, v = (
            part.unflatten(2, (4, 8)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=2)
        )
        weights = torch.softmax(q @ k.transpose(2, 3) / 8**0.5 + mask, -1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        scores: torch.Tensor = self.head((x + self.feed(x))[:, 0])
        return scores


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.cells: nn.Module = kind(12, 24, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        states, _ = self.cells(signal)
        scores: torch.Tensor = self.head(states[:, -1])
        return scores


class Detector(nn.Module):
    """Boxes of 0 to 640, scores of 0 to 1 and an objectness of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(3, 16, 2), _conv(16, 16, 2))
        self.boxes, self.scores, self.object = (nn.Conv2d(16, n, 1) for n in (4, 5, 1))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.body(image)
        return {
            "boxes": (640 * torch.sigmoid(self.boxes(x))).flatten(2).transpose(1, 2),
            "scores": torch.sigmoid(self.scores(x)).flatten(2).transpose(1, 2),
            "objectness": self.object(x).flatten(1),
        }


class Candidates(nn.Module):
    """Boxes and scores of a detector, as NonMaxSuppression takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(3, 16, 2), _conv(16, 16, 2))
        self.boxes, self.scores = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 3, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.body(image)
        corners = 32 * torch.sigmoid(self.boxes(x)).flatten(2).transpose(1, 2)
        low, size = corners[..., :2], corners[..., 2:]
        return torch.cat([low, low + size], -1), torch.sigmoid(self.scores(x)).flatten(2)


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + 0.1 * torch.tanh(self.last(F.silu(self.norm(self.first(image)))))


class Warp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.field = nn.Sequential(_conv(3, 8), nn.Conv2d(8, 2, 3, padding=1), nn.Tanh())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[2:]
        rows = torch.linspace(-1, 1, 32)
        base = torch.stack(torch.meshgrid(rows, rows, indexing="xy"), -1)[None]
        moved = base + 0.05 * self.field(image).permute(0, 2, 3, 1)
        assert (height, width) == (32, 32)
        return F.grid_sample(image, moved, align_corners=False, padding_mode="border")


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 32)
        self.qkv, self.head = nn.Linear(32, 96), nn.Linear(32, 100)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.words(input_ids)
        q, k, v = (
            part.unflatten(2, (4, 8)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=2)
        )
        found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        logits: torch.Tensor = self.head(x + found.transpose(1, 2).flatten(2))
        return logits


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(_conv(3, 8, 2), _conv(8, 16, 2))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(16, 8, 2, 2), nn.ReLU(), nn.ConvTranspose2d(8, 3, 2, 2), nn.Sigmoid()
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.up(self.down(image))
        return result


class Embedder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(3, 16, 2), _conv(16, 32, 2))
        self.last = nn.Linear(32, 64)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.last(self.body(image).mean((2, 3))), dim=1)


class Tcn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(8, 8, 3, dilation=2**n) for n in range(3))
        self.last = nn.Conv1d(8, 4, 1)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        x = signal
        for number, layer in enumerate(self.layers):
            x = x + F.relu(layer(F.pad(x, (2 * 2**number, 0))))
        forecast: torch.Tensor = self.last(x)
        return forecast


class Style(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 5, padding=2, padding_mode="reflect")
        self.down = nn.Conv2d(8, 16, 3, 2, 1)
        self.norms = nn.ModuleList(nn.InstanceNorm2d(n, affine=True) for n in (8, 16))
        self.last = nn.Conv2d(16, 3, 5, padding=2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norms[0](self.first(image)))
        x = F.relu(self.norms[1](self.down(x)))
        return torch.sigmoid(self.last(F.interpolate(x, scale_factor=2.0, mode="nearest")))


class Super(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 12, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        detail = F.pixel_shuffle(self.last(F.relu(self.first(image))), 2)
        return F.interpolate(image, scale_factor=2.0, mode="nearest") + 0.1 * detail


class Tabular(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layers(features), 1)


class Decoder(nn.Module):
    """One step of a decoder with a cache of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 32)
        self.qkv, self.head = nn.Linear(32, 96), nn.Linear(32, 100)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        past_key: torch.Tensor,
        past_value: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        x = self.words(input_ids)
        q, k, v = (
            part.unflatten(2, (4, 8)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=2)
        )
        key, value = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
        hidden = (1.0 - attention_mask[:, None, None, :].float()) * -1e4
        weights = torch.softmax(q @ key.transpose(2, 3) / 8**0.5 + hidden, -1)
        found = (weights @ value).transpose(1, 2).flatten(2)
        return {"logits": self.head(x + found), "present_key": key, "present_value": value}


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(1, 8, 2), _conv(8, 16, 2))

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        one, two = (self.body(x).mean((2, 3)) for x in (left, right))
        return F.cosine_similarity(one, two, dim=1)
