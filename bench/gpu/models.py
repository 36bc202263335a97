"""The models that a borrowed GPU measures, and their inputs.

super_resolution is the example, carried as `.pt2` and ONNX. The transformer encoder is made where
it is measured: its weights come from a seed, and with them the bundle would be too large.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer import local_images
from mopt_optimizer.opening.loading import load_exported_program

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

Sample = dict[str, NDArray[Any]]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "super_resolution"
_SEED = 20_261_128
_SAMPLES = {"calibration": 8, "evaluation": 8}


@dataclass(frozen=True)
class Sizes:
    """Of the encoder.

    Attributes:
        layers: Each of attention and two Linear.
        width, heads, hidden: Of a token, of attention, between the two Linear.
        tokens: Of a sample.
    """

    layers: int = 6
    width: int = 512
    heads: int = 8
    hidden: int = 2048
    tokens: int = 128


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        title: For tables.
        input: Its name, and the names or sizes of its axes.
        batches: That are timed: one, and the largest that makes sense on a data-centre GPU.
        gate: Metric, bound and data range that its outputs are judged by.
        sizes: Of named axes but the batch: smallest, most frequent, largest.
        images: Whether its samples are image files.
    """

    title: str
    input: tuple[str, tuple[str | int, ...]]
    batches: tuple[int, int]
    gate: tuple[str, float, float]
    sizes: dict[str, tuple[int, int, int]]
    images: bool


def models(sizes: Sizes) -> dict[str, Model]:
    """Return the models by name.

    Args:
        sizes: The encoder's.
    """
    side = (64, 128, 256)
    return {
        "super_resolution": Model(
            "SRVGG x4 on 128 x 128 tiles (examples/super_resolution)",
            ("image", ("batch", 3, "height", "width")),
            (1, 64),
            ("PSNR", 40.0, 1.0),
            {"height": side, "width": side},
            images=True,
        ),
        "transformer": Model(
            f"encoder, {sizes.layers} layers of {sizes.width}, {sizes.tokens} tokens, "
            "weights from a seed",
            ("tokens", ("batch", sizes.tokens, sizes.width)),
            (1, 128),
            ("Cosine", 0.99, 1.0),
            {},
            images=False,
        ),
    }


def encoder_weights(sizes: Sizes) -> dict[str, NDArray[np.float32]]:
    """Return the encoder's weights by name: the same on every machine, from numpy's generator.

    Products keep the spread of what they are given, as trained ones do about.
    """
    generator = np.random.default_rng(_SEED)
    shapes: dict[str, tuple[int, int]] = {}
    for layer in range(sizes.layers):
        for name in ("query", "key", "value", "out"):
            shapes[f"layers.{layer}.{name}"] = (sizes.width, sizes.width)
        shapes[f"layers.{layer}.up"] = (sizes.hidden, sizes.width)
        shapes[f"layers.{layer}.down"] = (sizes.width, sizes.hidden)
    weights: dict[str, NDArray[np.float32]] = {}
    for name, shape in shapes.items():
        drawn = generator.standard_normal(shape) / np.sqrt(shape[1])
        weights[f"{name}.weight"] = drawn.astype(np.float32)
        weights[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return weights


def encoder(sizes: Sizes) -> torch.nn.Module:
    """Return the encoder: (batch, tokens, width) -> the same; layers normalize first."""
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = sizes.width
            self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
            self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, sizes.hidden), nn.Linear(sizes.hidden, width)
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = x + self.attention(self.first(x))
            widened = nn.functional.gelu(self.up(self.second(found)))
            result: torch.Tensor = found + self.down(widened)
            return result

        def attention(self, x: torch.Tensor) -> torch.Tensor:
            heads = [
                linear(x).unflatten(-1, (sizes.heads, -1)).transpose(1, 2)
                for linear in (self.query, self.key, self.value)
            ]
            mixed = nn.functional.scaled_dot_product_attention(*heads)
            found: torch.Tensor = self.out(mixed.transpose(1, 2).flatten(2))
            return found

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Layer() for _ in range(sizes.layers))
            self.norm = nn.LayerNorm(sizes.width)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                tokens = layer(tokens)
            found: torch.Tensor = self.norm(tokens)
            return found

    made = Encoder().eval().requires_grad_(False)
    weights = {name: torch.from_numpy(array) for name, array in encoder_weights(sizes).items()}
    made.load_state_dict(weights, strict=False)
    return made


def write_encoder(path: Path, sizes: Sizes) -> None:
    """Write the encoder as an ExportedProgram with a free batch."""
    import torch

    example = torch.zeros(2, sizes.tokens, sizes.width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(
            encoder(sizes), (example,), dynamic_shapes={"tokens": {0: torch.export.Dim.DYNAMIC}}
        )
        torch.export.save(program, path)


@dataclass(frozen=True)
class Bundle:
    """What `make gpu-bundle` wrote.

    Attributes:
        folder: Holds bundle.json, models/, images/, weights/ and, unless left out, wheels/.
        sizes: Of the encoder.
    """

    folder: Path
    sizes: Sizes

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        """Return a bundle.

        Raises:
            FileNotFoundError: There is none; says what makes it.
        """
        facts = folder / "bundle.json"
        if not facts.is_file():
            raise FileNotFoundError(f"{facts} is missing: run `make gpu-bundle` first")
        return cls(folder, Sizes(**json.loads(facts.read_text())["encoder"]))

    def model(self, name: str) -> Model:
        """Return a model by its name."""
        return models(self.sizes)[name]

    def program_file(self, name: str, workdir: Path) -> Path:
        """Return a model's `.pt2`, made in workdir where it is not carried."""
        if name == "super_resolution":
            return self.folder / "models" / "super_resolution.pt2"
        path = workdir / f"{name}.pt2"
        if not path.exists():
            write_encoder(path, self.sizes)
        return path

    def data(self, name: str, kind: str, workdir: Path) -> Path:
        """Return the folder of a model's samples.

        Args:
            kind: calibration or evaluation.
        """
        if self.model(name).images:
            return self.folder / "images" / kind
        folder = workdir / name / kind
        if not folder.exists():
            folder.mkdir(parents=True)
            generator = np.random.default_rng([_SEED, *kind.encode()])
            shape = (1, self.sizes.tokens, self.sizes.width)
            for number in range(_SAMPLES[kind]):
                array = generator.standard_normal(shape).astype(np.float32)
                np.save(folder / f"{number}.npy", array)
        return folder

    def samples(self, name: str, workdir: Path) -> list[Sample]:
        """Return the evaluation samples, each with a batch of one."""
        folder = self.data(name, "evaluation", workdir)
        model = self.model(name)
        if model.images:
            return [dict(sample) for sample in local_images(folder, model.input[0])]
        return [{model.input[0]: np.load(path)} for path in sorted(folder.iterdir())]


def open_program(path: Path, workdir: Path) -> tuple[ExportedProgram, str | None]:
    """Return a program, and why it is another one than the file's; None where it is the file's.

    Raises:
        ModelError: It does not open, nor could it be made here.
    """
    from mopt_optimizer.errors import ModelError

    try:
        return load_exported_program(path, workdir), None
    except ModelError as error:
        if path.stem != "super_resolution":
            raise
        # Written by a newer torch than this one. Its weights are carried too.
        sys.path.insert(0, str(EXAMPLE))
        import build

        made = workdir / "super_resolution.pt2"
        build.export(made)
        return load_exported_program(made, workdir), f"exported here: {error}"


def as_json(sizes: Sizes) -> dict[str, int]:
    """Return sizes as bundle.json has them."""
    return asdict(sizes)


def batch_of(samples: Sequence[Sample], name: str, batch: int, first: int) -> NDArray[Any]:
    """Return an input of `batch` samples, from number `first` on, beginning again at the end."""
    count = len(samples)
    return np.concatenate([samples[(first + index) % count][name] for index in range(batch)])
