"""Calibration data of any usual kind as positional tensors, one sample at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mopt_api.inputs import ImageTransform
from mopt_optimizer.data.fetching import IMAGES
from mopt_optimizer.data.images import DecodedImages
from mopt_optimizer.errors import CalibrationError, DataError

Args = tuple[torch.Tensor, ...]


def positional(
    sample: Any, names: Sequence[str], what: str, error: type[DataError] = CalibrationError
) -> Args:
    """Return a sample as the tensors that the model takes, in order.

    Args:
        sample: A tensor or array, a tuple or list of them, or a mapping by input name. Of a longer
            tuple, such as (image, label) of a data set, the first ones are taken.
        names: The model's inputs.
        what: What errors call the sample.
        error: What to raise.

    Raises:
        DataError: Another kind, too few, or unknown or missing names.
    """
    if isinstance(sample, Mapping):
        if unknown := [name for name in sample if name not in names]:
            raise error(f"{what} names {unknown}; the inputs are {', '.join(names)}")
        given = [name for name in names if name in sample]
        if list(names[: len(given)]) != given:
            missing = next(name for name in names if name not in sample)
            raise error(f"{what} lacks the input {missing!r}")
        values = [sample[name] for name in given]
    elif isinstance(sample, (tuple, list)):
        values = list(sample[: len(names)])
    else:
        values = [sample]
    if not values:
        raise error(f"{what} is empty; the inputs are {', '.join(names)}")
    return tuple(
        _tensor(value, f"{what}, {name}", error) for name, value in zip(names, values, strict=False)
    )


def _tensor(value: object, what: str, error: type[DataError]) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, (np.ndarray, np.number)):
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            return torch.from_numpy(np.asarray(array, order="C"))
        raise error(f"{what} is an array of {array.dtype}; numbers are needed")
    raise error(
        f"{what} is a {type(value).__name__}; give tensors or arrays, tuples or dicts of them"
    )


def samples(
    data: Any,
    names: Sequence[str],
    images: ImageTransform,
    limit: int | None,
    *,
    required: int,
) -> Iterator[Args]:
    """Yield samples; the data is gone through once, nothing is kept.

    Args:
        data: An iterable of samples (a DataLoader, a generator, a list), one sample, or a folder
            of images.
        limit: At most this many.
        required: How many of the inputs have no default. A tuple gives these; inputs that have one
            are given by name only, so that a data set's label is not taken for one.

    Raises:
        CalibrationError: No sample, or one that is of no use; says its number.
        DataError: An image that cannot be used; names it.
    """
    found = islice(_each(data, names, images, required), limit)
    first = next(found, None)
    if first is None:
        raise CalibrationError(
            "no calibration samples: the data is empty (a generator that was already used up?); "
            "give at least one, better 100"
        )
    yield from chain([first], found)


def _each(data: Any, names: Sequence[str], images: ImageTransform, required: int) -> Iterator[Args]:
    if isinstance(data, (str, Path)):
        data = _folder(Path(data), names, images)
    elif isinstance(data, (torch.Tensor, np.ndarray, Mapping)):
        data = [data]
    if not isinstance(data, Iterable):
        raise CalibrationError(
            f"calibration data is a {type(data).__name__}; give an iterable of samples, a "
            "DataLoader, one tensor, or a folder of images"
        )
    for number, sample in enumerate(data):
        taken = names if isinstance(sample, Mapping) or not required else names[:required]
        yield positional(sample, taken, f"calibration sample {number}")


def _folder(folder: Path, names: Sequence[str], images: ImageTransform) -> DecodedImages:
    if not folder.is_dir():
        raise CalibrationError(f"{folder} is no folder of calibration images")
    if len(names) != 1:
        raise CalibrationError(
            f"images can feed one input, the model has {len(names)}: {', '.join(names)}"
        )
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGES and p.is_file())
    if not files:
        raise CalibrationError(f"no images under {folder}: none ends in {', '.join(IMAGES)}")
    return DecodedImages(names[0], [str(p.relative_to(folder)) for p in files], files, images)
