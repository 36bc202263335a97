"""A photo enhancer: POST a photograph to /enhance, get one of twice the size.

    MOPT_REGISTRY=models uvicorn enhancer:app

It loads the model `enhancer` of a ModelManager's registry, in the form that fits the machine, as
often as photographs are to be computed at the same time. Its input is (batch, 3, height, width)
in 0 to 1, its output twice as high and wide.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import numpy as np
from fastapi import Body, FastAPI, HTTPException, Request, Response
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mopt_optimizer.errors import DataError, DimensionError
from mopt_optimizer.manager import LoadedModel, ModelManager

MODEL = "enhancer"
MOST_BYTES = 20 * 2**20
MOST_PIXELS = 2048 * 2048


class Enhancer:
    """Copies of one model; each computes one photograph at a time, in a worker thread."""

    def __init__(self, copies: list[LoadedModel]) -> None:
        self._idle: asyncio.Queue[LoadedModel] = asyncio.Queue()
        for model in copies:
            self._idle.put_nowait(model)

    async def __call__(self, photo: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a photograph, (height, width, 3) in 0 to 1, of twice the size."""
        model = await self._idle.get()
        try:
            planes = np.ascontiguousarray(photo.transpose(2, 0, 1)[None])
            output: NDArray[np.float32] = await model.acall(planes)
        finally:
            self._idle.put_nowait(model)
        enhanced: NDArray[np.float32] = output[0].transpose(1, 2, 0)
        return enhanced


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model before the first request, and free it after the last."""
    manager = ModelManager(os.environ.get("MOPT_REGISTRY", "models"))
    count = int(os.environ.get("MOPT_COPIES", "2"))
    copies = [await manager.aload_optimized_model(MODEL, "auto") for _ in range(count)]
    app.state.enhancer = Enhancer(copies)
    try:
        yield
    finally:
        for model in copies:
            model.close()


app = FastAPI(title="Photo enhancer", lifespan=lifespan)


@app.post("/enhance", response_class=Response)
async def enhance(
    request: Request, photo: Annotated[bytes, Body(media_type="image/png")]
) -> Response:
    """Return a photograph as PNG, twice as large."""
    pixels = await asyncio.to_thread(decoded, photo)
    try:
        enhanced = await request.app.state.enhancer(pixels)
    except (DataError, DimensionError) as error:
        raise HTTPException(400, str(error)) from error
    return Response(await asyncio.to_thread(encoded, enhanced), media_type="image/png")


def decoded(photo: bytes) -> NDArray[np.float32]:
    """Return a photograph's pixels in 0 to 1.

    Raises:
        HTTPException: It is no photograph, or too large.
    """
    if len(photo) > MOST_BYTES:
        raise HTTPException(413, f"a photograph has at most {MOST_BYTES} bytes")
    try:
        with Image.open(io.BytesIO(photo), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise HTTPException(413, f"a photograph has at most {MOST_PIXELS} pixels")
            return np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise HTTPException(400, "that is no PNG, JPEG or WebP image") from error


def encoded(pixels: NDArray[np.float32]) -> bytes:
    """Return pixels in 0 to 1 as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
