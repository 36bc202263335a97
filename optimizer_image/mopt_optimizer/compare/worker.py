"""Measures the strategy table of a model file in a process of its own, without credentials."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from mopt_api.base import ObservedModel
from mopt_api.enums import ModelFormat
from mopt_optimizer.data.arrays import local_arrays
from mopt_optimizer.data.fetching import ARRAYS, IMAGES
from mopt_optimizer.data.images import local_files, local_images
from mopt_optimizer.errors import DataError, DimensionError
from mopt_optimizer.formats.registry import format_of, source_format
from mopt_optimizer.opening.inputs import ModelInput
from mopt_optimizer.progress import Log
from mopt_optimizer.sandbox import serve

from .building import Sample
from .strategies import Options, compare_strategies
from .table import StrategyTable

if TYPE_CHECKING:
    import torch

# Random inputs are the same in each run.
_SEED = 0


class CompareRequest(ObservedModel):
    """What is to be compared; paths are local.

    inputs gives the shape of each input for random samples, where there is no evaluation folder.
    """

    path: str
    format: ModelFormat | None = None
    evaluation: str | None = None
    calibration: str | None = None
    samples: int
    inputs: dict[str, list[int]] = {}
    strategies: list[str] = []
    data_range: float
    seconds: float
    threads: int | None = None


class _Forward(logging.Handler):
    """Passes what comparing logs on as progress."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log("compare", record.getMessage())


def handle(payload: dict[str, Any], workdir: Path, log: Log) -> dict[str, Any]:
    """Return a StrategyTable.

    Raises:
        SpecError: An ONNX file: the table starts from PyTorch.
        ModelError, DataError, DimensionError.
    """
    request = CompareRequest.model_validate(payload)
    logger = logging.getLogger("mopt_optimizer.compare.strategies")
    logger.setLevel(logging.INFO)
    logger.addHandler(_Forward(log))
    log("compare", "opening the model")
    model, inputs = _opened(request, workdir)
    samples = _samples(request.evaluation, request, inputs)
    table = compare_strategies(
        model,
        samples,
        calibration=_samples(request.calibration, request, inputs) if request.calibration else None,
        options=Options(
            strategies=tuple(request.strategies),
            dynamic_axes=_dynamic_axes(inputs),
            data_range=request.data_range,
            min_duration_seconds=request.seconds,
            threads=request.threads,
        ),
    )
    document: dict[str, Any] = TypeAdapter(StrategyTable).dump_python(table, mode="json")
    return document


def _opened(request: CompareRequest, workdir: Path) -> tuple[torch.nn.Module, list[ModelInput]]:
    path = Path(request.path)
    ranks = {name: len(shape) for name, shape in request.inputs.items()}
    kind = request.format or format_of(path)
    return source_format(kind).torch_module(path, ranks, workdir)


def _dynamic_axes(inputs: list[ModelInput]) -> dict[str, dict[int, str]] | None:
    """Return the free axes of a program; None where all sizes are fixed or not told."""
    axes = {
        i.name: {n: a.symbol for n, a in enumerate(i.axes) if a.size is None and a.symbol}
        for i in inputs
    }
    return {name: found for name, found in axes.items() if found} or None


def _samples(folder: str | None, request: CompareRequest, inputs: list[ModelInput]) -> list[Sample]:
    if folder is None:
        return _random(request, inputs)
    names, _ = local_files(folder, (*IMAGES, *ARRAYS), None)
    if names[0].lower().endswith(IMAGES):
        if len(inputs) != 1:
            raise DataError(f"{folder}: images feed one input, the model has {len(inputs)}")
        return list(local_images(folder, inputs[0].name, limit=request.samples))
    return list(local_arrays(folder, inputs, limit=request.samples))


def _random(request: CompareRequest, inputs: list[ModelInput]) -> list[Sample]:
    known = [i.name for i in inputs]
    if unknown := [name for name in request.inputs if name not in known]:
        raise DimensionError(f"the model has no input {unknown[0]!r}; it has {', '.join(known)}")
    generator = np.random.default_rng(_SEED)
    samples: list[Sample] = []
    for _ in range(request.samples):
        sample: Sample = {}
        for one in inputs:
            fixed = [axis.size for axis in one.axes]
            shape = request.inputs.get(one.name) or [size for size in fixed if size is not None]
            if len(shape) != len(one.axes):
                raise DimensionError(
                    f"input {one.name} has free sizes: give --input {one.name}:1x3x128x128 with "
                    "its sizes, or real samples"
                )
            if one.dtype.startswith("float"):
                sample[one.name] = generator.random(shape).astype(one.dtype)
            else:
                # 0 and 1 are valid as indices, masks and flags alike.
                sample[one.name] = generator.integers(0, 2, shape).astype(one.dtype)
        samples.append(sample)
    return samples


if __name__ == "__main__":
    sys.exit(serve(handle))
