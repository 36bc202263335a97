"""What the measure stage asks the process that measures what the machine reaches at most."""

from __future__ import annotations

from pydantic import Field

from mopt_api.base import Count, ObservedModel

_MIB = 2**20


class Effort(ObservedModel):
    """How much is computed for a figure.

    Attributes:
        seconds: Of calls, for each kernel and for each size of data.
        channels, side: Of the convolutions' images, one for each thread.
        matrix: Rows and columns, and rows for each thread, of the matrices.
        data_bytes: Sizes of data that bandwidth is measured with, smallest first.
    """

    seconds: float = Field(default=0.3, gt=0)
    channels: int = 128
    side: int = 28
    matrix: int = 512
    data_bytes: tuple[int, ...] = (4 * _MIB, 16 * _MIB, 64 * _MIB, 256 * _MIB)


class PeaksRequest(ObservedModel):
    """What to measure.

    Attributes:
        bf16: Whether the CPU computes in it.
        memory_bytes: That may be used for data.
    """

    threads: int = Field(ge=1)
    bf16: bool
    memory_bytes: Count | None = None
    effort: Effort = Effort()
