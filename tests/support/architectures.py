"""Small models of the kinds that people have, as files, each with data of its kind."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from architecture_networks import (
    Autoencoder,
    Bert,
    Candidates,
    Causal,
    Decoder,
    Detector,
    Embedder,
    Grouped,
    Mobile,
    Recurrent,
    Residual,
    Siamese,
    Style,
    Super,
    Tabular,
    Tcn,
    UNet,
    ViT,
    Warp,
)
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
