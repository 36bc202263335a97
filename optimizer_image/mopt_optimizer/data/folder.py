"""A folder of data for a Job: images or arrays, distinguished by the files' suffixes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mopt_api.inputs import AnyDimension, InputSpec
from mopt_api.jobs.plan import Credentials, PlannedData
from mopt_optimizer.errors import DataError

from .decoder import Decoder
from .fetching import SUFFIXES, fetch_objects, hold_arrays, is_data, list_folder, no_files
from .messages import SampleFiles
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
    """Fetch a folder's samples and check that each can be an input of the model.

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
    store, prefix, keys = list_folder(data.uri, credentials, environ)
    known = [k for k in keys if is_data(k)]
    if not known:
        raise DataError(no_files(store.uri(prefix), len(keys), SUFFIXES))
    arrays = hold_arrays(data.uri, known, data.images)
    folder = workdir / f"files-{credentials.value.lower()}"
    fetched = fetch_objects(store, prefix, known[: data.samples], folder)
    found = decoder.samples(SampleFiles.of(fetched, inputs, dimensions, data.images))
    return Samples(
        names=fetched.names,
        digest=fetched.digest(None if arrays else data.images.to_api()),
        inputs=found.inputs,
        files=fetched.files,
        statistics=found.statistics,
        patches=found.patches,
    )
