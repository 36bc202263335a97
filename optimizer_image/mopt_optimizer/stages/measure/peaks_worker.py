"""Measures in a process of its own what the machine reaches at most. It opens no file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mopt_api.enums import Precision
from mopt_api.jobs.limits import Peaks
from mopt_optimizer.machine.bandwidth import bandwidths
from mopt_optimizer.progress import Log
from mopt_optimizer.runtimes.openvino.peaks import Kernels, products_per_second
from mopt_optimizer.sandbox import serve

from .peaks_request import PeaksRequest


def handle(payload: dict[str, Any], _workdir: Path, _log: Log) -> dict[str, Any]:
    """Return Peaks.

    Raises:
        RuntimeFailure: OpenVINO cannot be used.
    """
    request = PeaksRequest.model_validate(payload)
    effort, threads = request.effort, request.threads
    kernels = Kernels(effort.channels, effort.side, effort.matrix)
    precisions = [Precision.FP32, *([Precision.BF16] if request.bf16 else []), Precision.INT8]
    products = {
        precision.value: rate
        for precision in precisions
        if (rate := products_per_second(kernels, precision, threads, effort.seconds)) is not None
    }
    largest = request.memory_bytes or max(effort.data_bytes)
    sizes = [size for size in effort.data_bytes if size <= largest] or [min(effort.data_bytes)]
    return Peaks(products=products, bandwidths=bandwidths(threads, sizes, effort.seconds)).to_api()


if __name__ == "__main__":
    sys.exit(serve(handle))
