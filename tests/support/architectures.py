"""Small models of the kinds that people have, as files, each with data of its kind.

Widths are tiny; what matters is the structure, the inputs and the outputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

Sample = dict[str, NDArray[Any]]
Shapes = dict[str, dict[int, Any]]
AUTO = torch.export.Dim.AUTO
SIDE = {0: AUTO, 2: AUTO, 3: AUTO}
SAMPLES = 4


@dataclass(frozen=True)
class Architecture:
    """A module, how it is exported, and data.

    Attributes:
        example: Keyword inputs that it is traced with.
        sample: One sample as a user has it.
        onnx: Whether the file is ONNX; else a .pt2.
        axes: Dynamic axes of each input.
    """

    module: Callable[[], nn.Module]
    example: Callable[[], dict[str, torch.Tensor]]
    sample: Callable[[np.random.Generator], Sample]
    axes: Shapes = field(default_factory=dict)
    onnx: bool = False


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


def _smooth(generator: np.random.Generator, channels: int, side: int) -> NDArray[Any]:
    """Return a picture of blobs: what is near is alike, as in photographs."""
    coarse = generator.random((1, channels, side // 8, side // 8)).astype(np.float32)
    grown = F.interpolate(torch.from_numpy(coarse), size=(side, side), mode="bicubic")
    noise = generator.normal(0, 0.02, grown.shape).astype(np.float32)
    return np.clip(grown.numpy() + noise, 0, 1)


def _picture(generator: np.random.Generator) -> Sample:
    return {"image": _smooth(generator, 3, 32)}


def _photo(
    module: Callable[[], nn.Module], *, axes: dict[int, Any] | None = None, onnx: bool = False
) -> Architecture:
    """Return an architecture of one image input."""
    chosen = SIDE if axes is None else axes
    batch = 2 if 0 in chosen else 1
    return Architecture(
        module,
        lambda: {"image": torch.rand(batch, 3, 32, 32)},
        _picture,
        {"image": chosen},
        onnx=onnx,
    )


def _ids(generator: np.random.Generator, most: int, length: int) -> NDArray[Any]:
    return generator.integers(0, most, (1, length), np.int64)


def _masked(g: np.random.Generator) -> Sample:
    mask = (np.arange(16) < g.integers(4, 17))[None].astype(np.int64)
    return {"input_ids": _ids(g, 200, 16), "attention_mask": mask}


def _step(g: np.random.Generator) -> Sample:
    cache = (g.normal(0, 1, (1, 4, 12, 8)).astype(np.float32) for _ in range(2))
    names = ("past_key", "past_value")
    known = {"input_ids": _ids(g, 100, 2), "attention_mask": np.ones((1, 14), np.int64)}
    return known | dict(zip(names, cache, strict=True))


def _decoder_example() -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.randint(0, 100, (2, 3)),
        "attention_mask": torch.ones(2, 10, dtype=torch.int64),
        "past_key": torch.rand(2, 4, 7, 8),
        "past_value": torch.rand(2, 4, 7, 8),
    }


def _signal(g: np.random.Generator, *shape: int) -> Sample:
    waves = np.cumsum(g.normal(0, 0.3, shape), axis=-1)
    return {"signal": waves.astype(np.float32)}


_WORDS = {0: AUTO, 1: AUTO}
_CACHE = {0: AUTO, 2: AUTO}

ARCHITECTURES: dict[str, Architecture] = {
    "residual": _photo(Residual),
    "mobile": _photo(Mobile, onnx=True),
    "unet": _photo(UNet),
    "vit": _photo(ViT, axes={0: AUTO}),
    "bert": Architecture(
        Bert,
        lambda: {
            "input_ids": torch.randint(0, 200, (2, 10)),
            "attention_mask": torch.ones(2, 10, dtype=torch.int64),
        },
        _masked,
        {"input_ids": _WORDS, "attention_mask": _WORDS},
    ),
    "lstm": Architecture(
        lambda: Recurrent(nn.LSTM),
        lambda: {"signal": torch.rand(2, 20, 12)},
        lambda g: _signal(g, 1, 20, 12),
        {"signal": {0: AUTO}},
        onnx=True,
    ),
    "gru": Architecture(
        lambda: Recurrent(nn.GRU),
        lambda: {"signal": torch.rand(2, 20, 12)},
        lambda g: _signal(g, 1, 20, 12),
        {"signal": {0: AUTO}},
    ),
    "detector": _photo(Detector),
    "nms": _photo(Candidates, axes={2: AUTO, 3: AUTO}, onnx=True),
    "groupnorm": _photo(Grouped),
    "gridsample": _photo(Warp, axes={0: AUTO}),
    "causal": Architecture(
        Causal,
        lambda: {"input_ids": torch.randint(0, 100, (2, 9))},
        lambda g: {"input_ids": _ids(g, 100, 16)},
        {"input_ids": _WORDS},
    ),
    "autoencoder": _photo(Autoencoder, onnx=True),
    "embedder": _photo(Embedder),
    "tcn": Architecture(
        Tcn,
        lambda: {"signal": torch.rand(2, 8, 40)},
        lambda g: _signal(g, 1, 8, 64),
        {"signal": _CACHE},
    ),
    "style": _photo(Style),
    "super": _photo(Super, onnx=True),
    "tabular": Architecture(
        Tabular,
        lambda: {"features": torch.rand(2, 20)},
        lambda g: {"features": g.normal(0, 1, (1, 20)).astype(np.float32)},
        {"features": {0: AUTO}},
        onnx=True,
    ),
    "decoder": Architecture(
        Decoder,
        _decoder_example,
        _step,
        {"input_ids": _WORDS, "attention_mask": _WORDS, "past_key": _CACHE, "past_value": _CACHE},
    ),
    "siamese": Architecture(
        Siamese,
        lambda: {"left": torch.rand(2, 1, 32, 32), "right": torch.rand(2, 1, 32, 32)},
        lambda g: {"left": _smooth(g, 1, 32), "right": _smooth(g, 1, 32)},
        {"left": {0: AUTO}, "right": {0: AUTO}},
    ),
}


def with_nms(path: Path) -> None:
    """Append NonMaxSuppression to an ONNX file whose outputs are boxes and scores."""
    model = onnx.load(path)
    graph = model.graph
    boxes, scores = (value.name for value in graph.output)
    constants: dict[str, NDArray[Any]] = {
        "most": np.array([10], np.int64),
        "overlap": np.array([0.5], np.float32),
        "least": np.array([0.3], np.float32),
        "box_column": np.array([2], np.int64),
        "one": np.array([1], np.int64),
        "zero": np.array([0], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
    graph.node.extend(
        [
            helper.make_node(
                "NonMaxSuppression", [boxes, scores, "most", "overlap", "least"], ["selected"]
            ),
            helper.make_node("Gather", ["selected", "box_column"], ["column"], axis=1),
            helper.make_node("Squeeze", ["column", "one"], ["index"]),
            helper.make_node("Squeeze", [boxes, "zero"], ["all_boxes"]),
            helper.make_node("Gather", ["all_boxes", "index"], ["kept"], axis=0),
        ]
    )
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, ["found", 4]),
            helper.make_tensor_value_info("selected", TensorProto.INT64, ["found", 3]),
        ]
    )
    onnx.save(model, path)


def write(kind: Architecture, path: Path) -> Path:
    """Write a model to PATH.onnx or PATH.pt2, as a user does."""
    torch.manual_seed(0)
    module = kind.module().eval()
    example = kind.example()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (), example, dynamic_shapes=kind.axes, strict=False)
        if not kind.onnx:
            torch.export.save(program, path.with_suffix(".pt2"))
            return path.with_suffix(".pt2")
        exported = torch.onnx.export(program, dynamo=True, verbose=False)
        assert exported is not None
        exported.save(path.with_suffix(".onnx"))
    if kind.module is Candidates:
        with_nms(path.with_suffix(".onnx"))
    return path.with_suffix(".onnx")


def write_data(kind: Architecture, folder: Path, seed: int) -> Path:
    """Write samples as .npz files."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for number in range(SAMPLES):
        arrays: dict[str, Any] = kind.sample(generator)
        np.savez(folder / f"{number}.npz", **arrays)
    return folder
