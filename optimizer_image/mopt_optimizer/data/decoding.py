"""Decodes data files, which are not trusted, and checks them against what the spec declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from mopt_api.enums import DType
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_optimizer.errors import ComparisonError, DataError, SpecError
from mopt_optimizer.quality.comparable import Array, check_finite
from mopt_optimizer.sandbox import temporary_folder

from . import archives
from .arrays import ArrayFiles, read_arrays
from .declared import declared_inputs
from .decoder import DecodedSamples, ReadReference
from .fetching import is_array
from .images import DecodedImages, check_fit, decode
from .messages import Members, ReferenceFiles, SampleFiles
from .preprocessing import Preprocessing
from .samples import Inputs
from .statistics import SetStatistics


class LocalDecoder:
    """Decodes in this process: in the child, in the library and in tests. See Decoder."""

    def samples(self, files: SampleFiles) -> DecodedSamples:
        found = open_samples(
            files.names,
            [Path(file) for file in files.files],
            files.inputs,
            files.dimensions,
            files.images,
        )
        images = isinstance(found, DecodedImages)
        if isinstance(found, DecodedImages):
            _check_images(files, found)
        statistics = SetStatistics(len(found), files.images if images else None)
        for sample in found:
            statistics.add(sample)
        return DecodedSamples(found, statistics.result(), statistics.patches())

    def references(self, files: ReferenceFiles) -> ReadReference:
        read = partial(read_reference, files)
        for index in range(len(files.names)):
            read(index)
        return read

    def members(self, archive: Path) -> Members:
        return archives.members(archive)

    def unpack(self, archive: Path, names: Sequence[str], files: Sequence[Path]) -> None:
        with temporary_folder(archive.parent, prefix="unpacked-") as folder:
            for made, file in zip(archives.unpack(archive, names, folder), files, strict=True):
                made.replace(file)


def read_reference(files: ReferenceFiles, index: int) -> list[Array]:
    """Return what the model's outputs should be for a sample.

    Raises:
        DataError: A damaged file, one without a value, or NaN or infinity in it.
    """
    name, path = files.names[index], Path(files.files[index])
    if files.images is not None:
        return [decode(name, path, files.images)]
    arrays = read_arrays(name, path)
    for key, array in arrays.items():
        try:
            check_finite(f"array {key!r}" if key else "its array", array)
        except ComparisonError as error:
            raise DataError(f"reference {name}: {error}") from error
    return list(arrays.values())


def open_samples(
    names: Sequence[str],
    files: Sequence[Path],
    inputs: Sequence[InputSpec],
    dimensions: Mapping[str, DimensionRange],
    transform: ImageTransform,
) -> Sequence[Inputs]:
    """Return local files as samples, read at each access."""
    if names and is_array(names[0]):
        return ArrayFiles(names, files, declared_inputs(inputs, dimensions))
    return DecodedImages(inputs[0].name, names, files, transform)


def _check_images(files: SampleFiles, images: DecodedImages) -> None:
    inputs = files.inputs
    if len(inputs) != 1:
        raise SpecError(
            f"images can feed one input, the model has {len(inputs)}: "
            + ", ".join(i.name for i in inputs)
            + "; give .npz files, one array per input"
        )
    if inputs[0].dtype is not DType.FLOAT32:
        raise SpecError(
            f"images become float32; input {inputs[0].name} takes {inputs[0].dtype}: "
            "give .npy files"
        )
    transform = Preprocessing.of(files.images)
    for index, name in enumerate(files.names):
        # Its size is in its first bytes: nothing is decoded that does not fit.
        check_fit(name, images.shape(index), inputs[0], files.dimensions, transform)
