"""A folder of data for a Job: images or arrays, distinguished by the files' suffixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.plan import Credentials, PlannedData
from mopt_optimizer.errors import DataError, SpecError

from . import arrays as array_samples
from . import images
from .arrays import ArrayFiles, declared_inputs, fetch_arrays
from .images import DecodedImages, list_folder, load_samples, no_files
from .samples import Inputs, Samples

SUFFIXES = (*images.SUFFIXES, *array_samples.SUFFIXES)


def is_data(name: str) -> bool:
    """Tell whether a file is an image or array file, by its suffix."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _is_array(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in array_samples.SUFFIXES


def hold_arrays(uri: str, keys: Sequence[str], transform: ImageTransform) -> bool:
    """Tell whether a folder's files are arrays; else they are images.

    Args:
        keys: Image and array files only, one at least.
        transform: Of the folder's images.

    Raises:
        SpecError: Both, or a transform of images for arrays.
    """
    arrays = [k for k in keys if _is_array(k)]
    if not arrays:
        return False
    if len(arrays) < len(keys):
        image = next(k for k in keys if not _is_array(k))
        raise SpecError(
            f"{uri} holds both arrays and images, such as {arrays[0]} and {image}; "
            "keep them under separate prefixes"
        )
    if transform != ImageTransform():
        raise SpecError(f"{uri} holds arrays, which are taken as they are; leave images out")
    return True


def load_data(
    data: PlannedData,
    credentials: Credentials,
    inputs: list[InputSpec],
    dimensions: dict[str, DimensionRange],
    workdir: Path,
    environ: Mapping[str, str],
) -> Samples:
    """Fetch a folder's samples and check that each can be an input of the model.

    Files of other suffixes are passed over. Every file is read once here, so that a damaged one
    is found before anything is built.

    Raises:
        SpecError: Images and arrays in one folder, a transform of images for arrays, or images
            for a model with several inputs or one that is not float32.
        DataError: No sample, or one that cannot be used; the message names the object.
        DimensionError: A size outside what the spec declares.
        StoreError, DiskError.
    """
    store, prefix, keys = list_folder(data.uri, credentials, environ)
    known = [k for k in keys if is_data(k)]
    if not known:
        raise DataError(no_files(store.uri(prefix), len(keys), SUFFIXES))
    if not hold_arrays(data.uri, known, data.images):
        return load_samples(data, credentials, inputs, dimensions, workdir, environ)
    declared = declared_inputs(inputs, dimensions)
    return fetch_arrays(data.uri, credentials, declared, data.samples, workdir, environ)


def open_samples(
    names: Sequence[str],
    files: Sequence[Path],
    inputs: Sequence[InputSpec],
    dimensions: Mapping[str, DimensionRange],
    transform: ImageTransform,
) -> Sequence[Inputs]:
    """Return what load_data fetched, read again from the local disk at each access."""
    if names and _is_array(names[0]):
        return ArrayFiles(names, files, declared_inputs(inputs, dimensions))
    return DecodedImages(inputs[0].name, names, files, transform)
