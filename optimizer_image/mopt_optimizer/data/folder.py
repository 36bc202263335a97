"""The samples of a Job: images or arrays, distinguished by the files' suffixes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mopt_api.inputs import AnyDimension, InputSpec
from mopt_api.jobs.plan import Credentials, PlannedData
from mopt_optimizer.errors import DataError

from .decoder import Decoder
from .fetching import SUFFIXES, hold_arrays, no_files
from .messages import SampleFiles
from .places import open_place
from .samples import Samples


def load_data(
    data: PlannedData,
    credentials: Credentials,
    inputs: list[InputSpec],
    dimensions: dict[str, AnyDimension],
    workdir: Path,
    environ: Mapping[str, str],
    decoder: Decoder,
) -> Samples:
    """Fetch a folder's samples, or an archive's, and check that each can be an input of the model.

    Files of other suffixes are passed over. Every file is read once here, so that a damaged one
    is found before anything is built.

    Args:
        workdir: Gets the files, in a folder of the credentials' name.

    Raises:
        SpecError: Images and arrays in one folder, a transform of images for arrays, or images
            for a model with several inputs or one that is not float32.
        DataError: No sample, or one that cannot be used; the message names the object.
        DimensionError: A size outside what the spec declares.
        StoreError, DiskError.
    """
    place = open_place(data, credentials, environ, workdir, decoder)
    if not place.names:
        raise DataError(no_files(place.where, place.others, SUFFIXES))
    arrays = hold_arrays(data.uri, place.names, data.images)
    folder = workdir / f"files-{credentials.value.lower()}"
    fetched = place.fetch(place.names[: data.samples], folder)
    found = decoder.samples(SampleFiles.of(fetched, inputs, dimensions, data.images))
    return Samples(
        names=fetched.names,
        digest=fetched.digest(None if arrays else data.images.to_api()),
        inputs=found.inputs,
        files=fetched.files,
        statistics=found.statistics,
        patches=found.patches,
    )
