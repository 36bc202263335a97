"""examples/app: photographs through the whole application."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import skimage.data
from enhancer import app, lifespan
from model_files import write_model_files
from numpy.typing import NDArray
from PIL import Image

from mopt_optimizer.manager import ModelManager

pytestmark = pytest.mark.optimizer

PHOTOS = Path(skimage.data.__file__).parent
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    files = write_model_files(folder)
    manager = ModelManager(folder / "models")
    manager.register("enhancer", files.program)
    manager.add_form("enhancer", "onnx", files.onnx, runtime="ONNXRuntime", precision="FP32")
    return folder / "models"


@pytest.fixture
async def client(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("MOPT_REGISTRY", str(registry))
    transport = httpx.ASGITransport(app)
    async with (
        lifespan(app),
        httpx.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        yield client


def small_photo(name: str) -> bytes:
    buffer = io.BytesIO()
    with Image.open(PHOTOS / name) as picture:
        picture.convert("RGB").resize((64, 48)).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(photo: bytes) -> NDArray[np.float32]:
    with Image.open(io.BytesIO(photo)) as picture:
        return np.asarray(picture, np.float32) / np.float32(255)


async def test_photographs_at_once_become_twice_as_large(
    client: httpx.AsyncClient, registry: Path
) -> None:
    photos = [small_photo(name) for name in ("chelsea.png", "astronaut.png", "coffee.png")]
    answers = await asyncio.gather(
        *(client.post("/enhance", content=photo, headers=PNG) for photo in photos)
    )
    with ModelManager(registry).load_optimized_model("enhancer") as model:
        for photo, answer in zip(photos, answers, strict=True):
            assert answer.status_code == 200, answer.text
            planes = np.ascontiguousarray(pixels(photo).transpose(2, 0, 1)[None])
            expected = model(planes)[0].transpose(1, 2, 0)
            assert expected.shape == (96, 128, 3)
            np.testing.assert_allclose(pixels(answer.content), expected, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
async def test_what_is_no_photograph_is_refused(client: httpx.AsyncClient, content: bytes) -> None:
    answer = await client.post("/enhance", content=content, headers=PNG)
    assert answer.status_code in (400, 422)
    assert "detail" in answer.json()
