"""What a search asks of whoever writes the 8-bit forms of a model. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .observing import Sample

if TYPE_CHECKING:
    import onnx


class FormWriter(Protocol):
    """Writes a model's 8-bit form, whichever of its nodes stay FP32."""

    @property
    def model(self) -> onnx.ModelProto:
        """FP32, with named nodes."""

    @property
    def folder(self) -> Path | None:
        """Folder of the weight files that forms refer to; None if there are none."""

    def quantized(self, exclude: Collection[str] = ()) -> onnx.ModelProto:
        """Return the form without some nodes in 8 bits.

        Raises:
            QuantizationError: It cannot be written.
        """


Recalibrate = Callable[[Sequence[Sample]], FormWriter]
"""Returns what writes forms that were calibrated on these samples alone."""
