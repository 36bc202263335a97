"""Samples that are no images: .npz and .npy files, checked against the model's inputs.

One file is one sample, or one batch where the model's first axis allows. An .npz holds one array
per input, under the input's name; an .npy serves a model with one input. Nothing is ever
unpickled, and sizes are checked before memory is taken for them.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, overload

from numpy.typing import NDArray

from mopt_optimizer.errors import DataError
from mopt_optimizer.opening.inputs import ModelInput

from .declared import check_arrays
from .fetching import ARRAYS
from .images import local_files
from .npy import read_array

# Decompressed; several times what a batch of large images takes.
MAX_SAMPLE_BYTES = 1024 * 1024 * 1024

Sample = dict[str, NDArray[Any]]

# What zipfile and numpy's header parser let out on spoiled bytes (found by flipping them).
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    RuntimeError,
    tokenize.TokenError,
)


class ArrayFiles(Sequence[Sample]):
    """Samples read from local files at each access: one at a time is in memory."""

    def __init__(
        self, names: Sequence[str], files: Sequence[Path], inputs: Sequence[ModelInput]
    ) -> None:
        self._names = names
        self._files = files
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return read_sample(self._names[index], self._files[index], self._inputs)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


def local_arrays(
    folder: str | Path, inputs: Sequence[ModelInput], *, limit: int | None = None
) -> ArrayFiles:
    """Return a local folder's .npz and .npy files as samples, in order of their paths.

    Args:
        inputs: The model's, from dimensions.onnx_inputs, program_inputs or declared_inputs.
        limit: How many files to use at most.

    Raises:
        DataError: No such folder, or no such file in it. A wrong file is reported when it is read.
    """
    names, files = local_files(folder, ARRAYS, limit)
    return ArrayFiles(names, files, inputs)


def read_sample(name: str, path: Path, inputs: Sequence[ModelInput]) -> Sample:
    """Return a file's arrays, by input name and in the inputs' order.

    Args:
        name: What errors call the file; its suffix says how to read it.

    Raises:
        DataError: Damaged, pickled or too large; an array that is missing, unknown, of another
            type or rank, empty or not finite. The message names the file and the array.
        DimensionError: A size that the model or spec does not take.
    """
    single = PurePosixPath(name).suffix.lower() == ".npy"
    if single and len(inputs) != 1:
        raise DataError(
            f"{name}: an .npy holds one array, the model has {len(inputs)} inputs "
            f"({', '.join(i.name for i in inputs)}); save them in one .npz"
        )
    found = read_arrays(name, path)
    if single:
        found = {inputs[0].name: found[""]}
    wanted = [i.name for i in inputs]
    if missing := [n for n in wanted if n not in found]:
        raise DataError(
            f"{name}: no array {missing[0]!r}; it has {', '.join(found) or 'none'}, the model's "
            f"inputs are {', '.join(wanted)}"
        )
    if unknown := [n for n in found if n not in wanted]:
        raise DataError(
            f"{name}: array {unknown[0]!r} is no input of the model, which has {', '.join(wanted)}"
        )
    check_arrays(name, found, inputs)
    return {n: found[n] for n in wanted}


def read_arrays(name: str, path: Path) -> Sample:
    """Return a file's arrays by name, in the file's order; the name of an .npy's is empty.

    Args:
        name: What errors call the file; its suffix says how to read it.

    Raises:
        DataError: Damaged, pickled or too large.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in ARRAYS:
        raise DataError(f"{name}: not a {' or '.join(ARRAYS)} file")
    try:
        if suffix == ".npz":
            return _read_npz(name, path)
        with path.open("rb") as stream:
            size = path.stat().st_size
            return {"": read_array(name, stream, size, most_bytes=MAX_SAMPLE_BYTES)}
    except _DAMAGE as error:
        raise DataError(f"{name}: damaged {suffix} file: {error}") from error


def _read_npz(name: str, path: Path) -> Sample:
    arrays: Sample = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > MAX_SAMPLE_BYTES:
            raise DataError(f"{name}: {total} bytes unpacked, more than the {MAX_SAMPLE_BYTES}")
        for member in members:
            key = member.filename.removesuffix(".npy")
            if key in arrays:
                raise DataError(f"{name}: two arrays {key!r}")
            with archive.open(member) as stream:
                arrays[key] = read_array(
                    f"{name}: array {key!r}",
                    stream,
                    member.file_size,
                    most_bytes=MAX_SAMPLE_BYTES,
                )
    return arrays
