"""A real MinIO, real photographs and real models, each made once per session."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from minio_server import MinioServer as MinioServer
from minio_server import minio_running
from model_files import ModelFiles, write_model_files

from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.machine.facts import Machine, this_machine

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with minio_running(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def file_uri(tmp_path: Path) -> Callable[[str], str]:
    """Return what makes a file:// uri of a name below the test's folder."""
    return lambda name: f"file://{tmp_path / name}"


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four real photographs as PNG, 64x48 pixels each."""
    import skimage.data
    from PIL import Image

    folder = tmp_path_factory.mktemp("photographs")
    source = Path(skimage.data.__file__).parent
    for name in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg"):
        with Image.open(source / name) as picture:
            small = picture.convert("RGB").resize((64, 48), Image.Resampling.LANCZOS)
        small.save(folder / f"{Path(name).stem}.png")
    return folder


@pytest.fixture(scope="session")
def image_input() -> InputSpec:
    """The input of the test models: images of any size."""
    return InputSpec(name="image", shape=["batch", 3, "height", "width"])


@pytest.fixture(scope="session")
def image_dimensions() -> dict[str, DimensionRange]:
    return {
        "batch": DimensionRange(min=1, opt=2, max=8),
        "height": DimensionRange(min=16, opt=48, max=256),
        "width": DimensionRange(min=16, opt=64, max=256),
    }


@pytest.fixture(scope="session")
def upscaler_network() -> torch.nn.Module:
    """A small x2 network (Conv, BatchNorm, PReLU, PixelShuffle) for any batch and size."""
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.PReLU(16),
        torch.nn.Conv2d(16, 12, 3, padding=1),
        torch.nn.PixelShuffle(2),
    )

    class Upscaler(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            # Around the enlarged picture, as trained super-resolution networks are.
            enlarged = torch.nn.functional.interpolate(image, scale_factor=2.0, mode="nearest")
            result: torch.Tensor = enlarged + 0.1 * self.body(image)
            return result

    with torch.no_grad():
        network.get_buffer("1.running_mean").uniform_(-0.5, 0.5)
        network.get_buffer("1.running_var").uniform_(0.5, 2.0)
    return Upscaler().eval()


@pytest.fixture(scope="session")
def upscaler_ts(
    upscaler_network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The network as TorchScript, written by torch.jit.save."""
    import torch

    path = tmp_path_factory.mktemp("upscaler") / "model.ts"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so
        script = torch.jit.trace(  # type: ignore[no-untyped-call]
            upscaler_network, torch.rand(2, 3, 24, 40)
        )
        torch.jit.save(script, path)
    return path


@pytest.fixture(scope="session")
def upscaler_pt2(
    upscaler_network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The network as a program of torch.export with dynamic batch and size."""
    import torch

    dynamic = torch.export.Dim.DYNAMIC
    path = tmp_path_factory.mktemp("upscaler") / "model.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(
            upscaler_network,
            (torch.rand(2, 3, 24, 40),),
            dynamic_shapes={"image": {0: dynamic, 2: dynamic, 3: dynamic}},
        )
        torch.export.save(program, path)
    return path


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return write_model_files(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def machine() -> Machine:
    """This machine without a GPU and with one thread."""
    return replace(this_machine(), gpus=0, threads=1)
