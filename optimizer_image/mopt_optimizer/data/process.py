"""Decodes data in a process of its own, in place of the one that holds the store's keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar, overload

from pydantic import ValidationError

from mopt_api.base import ObservedModel
from mopt_optimizer.errors import DataError
from mopt_optimizer.opening.inputs import ModelInput
from mopt_optimizer.quality import Array
from mopt_optimizer.sandbox import (
    Child,
    ChildDied,
    answered,
    made_file,
    open_made,
    remove,
    temporary_folder,
)

from .declared import check_arrays, declared_inputs
from .decoder import DecodedSamples, ReadReference
from .messages import (
    Arrays,
    Checked,
    ListArchive,
    Listed,
    Members,
    Read,
    ReferenceFiles,
    SampleFiles,
    UnpackArchive,
)
from .npy import array_in
from .samples import Inputs

_WORKER = "mopt_optimizer.data.worker"
# Of one answer: all files of a folder are read once for the first.
_SECONDS = 1800.0
# Of the list of an archive's members: their number is bounded, their names are short.
_MOST_LISTED = 64 * 1024 * 1024

AnswerT = TypeVar("AnswerT", bound=ObservedModel)


class DecodingProcess:
    """See Decoder. A context manager: the process is gone on exit.

    Attributes:
        data: The folder whose files it can read.

    Args:
        workdir: Exists; it and the process's own folder lie there.
        environ: Ours; credentials stay out of the process.
        watch: Called again and again while it works; what it raises ends it.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        stderr: IO[str] | None = None,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self._folder = workdir / "decoded"
        self._environ = environ
        self._stderr = stderr
        self._watch = watch
        self._child: Child | None = None
        self.data = workdir / "data"

    def start(self) -> None:
        """Start the process, unless it runs: it is ready by the time that files are there."""
        if self._child is not None:
            return
        self._folder.mkdir()
        self.data.mkdir(exist_ok=True)
        self._child = self._started(self._folder, self.data)

    def _started(self, folder: Path, read: Path) -> Child:
        return Child(
            _WORKER,
            folder,
            read=[read],
            environ=self._environ,
            stderr=self._stderr,
            watch=self._watch,
        )

    def samples(self, files: SampleFiles) -> DecodedSamples:
        checked = self._ask(files, Checked)
        if checked.statistics is None:
            raise DataError("the process that reads data answered what is no answer")
        declared = declared_inputs(files.inputs, files.dimensions)
        return DecodedSamples(
            _Samples(len(files.names), partial(self._inputs, files.names, declared)),
            checked.statistics,
            {name: self._array(file) for name, file in checked.patches.items()},
        )

    def references(self, files: ReferenceFiles) -> ReadReference:
        self._ask(files, Checked)
        return lambda index: self._arrays(Read(of="references", index=index))[1]

    def members(self, archive: Path) -> Members:
        with self._apart(archive) as (folder, child):
            listed = _answer(child, ListArchive(file=str(archive)), Listed)
            with open_made(folder, listed.file) as file:
                text = file.read(_MOST_LISTED + 1)
        try:
            if len(text) <= _MOST_LISTED:
                return Members.model_validate_json(text)
        except ValidationError:
            pass
        raise DataError("the process that reads an archive answered what is no answer")

    def unpack(self, archive: Path, names: Sequence[str], files: Sequence[Path]) -> None:
        with self._apart(archive) as (folder, child):
            _answer(child, UnpackArchive(file=str(archive), names=[*names]), Checked)
            # Ended: nobody writes to what it made any more.
            child.close()
            for index, file in enumerate(files):
                made_file(folder, str(index)).replace(file)

    @contextmanager
    def _apart(self, archive: Path) -> Iterator[tuple[Path, Child]]:
        """Give a process for an archive, which sees nothing else, and the folder it writes to."""
        with (
            temporary_folder(archive.parent, prefix="unpacked-") as folder,
            self._started(folder, archive) as child,
        ):
            yield folder, child

    def _inputs(self, names: Sequence[str], declared: Sequence[ModelInput], index: int) -> Inputs:
        answered, arrays = self._arrays(Read(of="samples", index=index))
        if {*answered} != {spec.name for spec in declared}:
            raise DataError(f"{names[index]} became arrays for {', '.join(answered) or 'no input'}")
        sample = dict(zip(answered, arrays, strict=True))
        check_arrays(names[index], sample, declared, values=False)
        return sample

    def _arrays(self, read: Read) -> tuple[list[str], list[Array]]:
        answer = self._ask(read, Arrays)
        if len(answer.names) != len(answer.files):
            raise DataError("the process that reads data answered what is no answer")
        return answer.names, [self._array(name) for name in answer.files]

    def _array(self, name: str) -> Array:
        with open_made(self._folder, name) as file:
            return array_in(file, name)

    def _ask(self, request: ObservedModel, kind: type[AnswerT]) -> AnswerT:
        self.start()
        assert self._child is not None  # noqa: S101
        return _answer(self._child, request, kind)

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.close()
            self._child = None
        remove(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _answer(child: Child, request: ObservedModel, kind: type[AnswerT]) -> AnswerT:
    try:
        return answered(kind, child.ask(request.to_api(), _SECONDS))
    except ChildDied as error:
        raise DataError(f"the process that reads data {error.how()}") from error


class _Samples(Sequence[Inputs]):
    """Samples that another process reads at each access."""

    def __init__(self, count: int, read: Callable[[int], Inputs]) -> None:
        self._count = count
        self._read = read

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Inputs: ...
    @overload
    def __getitem__(self, index: slice) -> list[Inputs]: ...
    def __getitem__(self, index: int | slice) -> Inputs | list[Inputs]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._read(index)

    def __iter__(self) -> Iterator[Inputs]:
        return (self[index] for index in range(self._count))
