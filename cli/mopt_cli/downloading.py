"""`mopt fetch`: a model's files, from the store to the disk, each verified."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from mopt_api.artifacts import Artifact, artifact_files, blob_key
from mopt_api.jobs.plan import Credentials
from mopt_api.text import one_line, plain

from ._errors import CliError, ExitCode, store_failed
from .output import note
from .progress import draws

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class RemoteFile:
    """An object of a store, and what it is called on the disk."""

    name: str
    uri: str
    digest: str
    size: int


def files_of(artifact: Artifact, name: str | None = None) -> list[RemoteFile]:
    """Return an artifact's files, the one that is opened last. Pure.

    Args:
        name: Of that one; omitted, as its format is usually called. Weights that an ONNX file
            names keep theirs; an engine's manifest is named after it.

    Raises:
        CliError: It names no location, or none that the files beside it follow from.
    """
    if artifact.uri is None:
        raise CliError("the selected file has no location in the status", ExitCode.FAILED)
    root = artifact.uri.removesuffix(blob_key(artifact.digest))
    if artifact.external_data and root == artifact.uri:
        raise CliError(
            f"{artifact.uri} does not end in its digest: the files beside it cannot be found",
            ExitCode.FAILED,
        )
    main, *others = (
        RemoteFile(file.name, f"{root}{blob_key(file.digest)}", file.digest, file.size_bytes)
        for file in artifact_files(artifact, name)
    )
    if len({main.name, *(file.name for file in others)}) <= len(others):
        raise CliError(f"{main.name} is the name of a file beside it: give another with -o")
    return [*others, replace(main, uri=artifact.uri)]


def destination(output: str | None, name: str) -> tuple[Path, str | None]:
    """Return the folder and the file's name, if one was given, of -o FILE|DIR.

    Args:
        name: Of what is fetched: the folder where output is omitted.
    """
    if output is None:
        # A file may say any name.
        return Path(name if _FOLDER.fullmatch(name) else "model"), None
    if output.endswith("/") or Path(output).is_dir():
        return Path(output), None
    return Path(output).parent, Path(output).name


def download(files: Sequence[RemoteFile], folder: Path, environ: Mapping[str, str]) -> Path:
    """Bring files into a folder, all or none; return the path of the last.

    Those that are there already, with the right digest, are left as they are.

    Raises:
        CliError: The store refuses, holds other bytes, or the disk is full.
    """
    from mopt_optimizer.errors import OptimizerError
    from mopt_optimizer.sandbox import report_of

    main = folder / files[-1].name
    try:
        missing = [file for file in files if not _there(folder / file.name, file)]
        if not missing:
            note(f"{main} is there, verified: {files[-1].digest}")
            return main
        folder.mkdir(parents=True, exist_ok=True)
        with _arriving(folder) as arriving:
            size = sum(file.size for file in missing)
            note(f"fetching {size / 2**20:.2f} MiB from {missing[-1].uri}")
            with _progress(arriving, size):
                for file in missing:
                    _fetch(file, arriving / file.name, environ)
            for file in missing:
                (arriving / file.name).replace(folder / file.name)
    except OptimizerError as error:
        raise store_failed(report_of(error)) from error
    except OSError as error:
        raise CliError(
            f"{folder} cannot be written: {plain(str(error))}", ExitCode.FAILED
        ) from error
    note(f"{main}: verified: {files[-1].digest}")
    return main


def _there(path: Path, file: RemoteFile) -> bool:
    from mopt_optimizer.digests import file_digest

    return path.is_file() and path.stat().st_size == file.size and file_digest(path) == file.digest


def _fetch(file: RemoteFile, path: Path, environ: Mapping[str, str]) -> None:
    from mopt_optimizer.errors import DigestMismatch, ObjectNotFound
    from mopt_optimizer.store.registry import open_store

    store, key = open_store(file.uri, Credentials.OUTPUT, environ)
    size = store.size(key)
    if size is None:
        raise ObjectNotFound(f"{file.uri} does not exist")
    if size != file.size:
        raise DigestMismatch(f"{file.uri} has {size} bytes instead of {file.size}")
    found = f"sha256:{store.fetch(key, path)}"
    if found != file.digest:
        raise DigestMismatch(f"{file.uri} has {found} instead of {file.digest}")


@contextmanager
def _arriving(folder: Path) -> Iterator[Path]:
    """Give a folder, on the same disk, for files that are not complete."""
    path = Path(tempfile.mkdtemp(dir=folder, prefix=".mopt-fetch-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _progress(folder: Path, size: int) -> Iterator[None]:
    """Show on a terminal how much of the files has arrived in a folder."""
    console = Console(stderr=True)
    if not draws(console):
        yield
        return
    columns = (TextColumn("fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    ended = threading.Event()
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("fetching", total=size)

        def look() -> None:
            while not ended.wait(_LOOK_SECONDS):
                shown.update(task, completed=_arrived(folder))

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        try:
            yield
        finally:
            ended.set()
            looking.join()


def _arrived(folder: Path) -> int:
    """Return the bytes in a folder, of files that may be renamed meanwhile."""
    total = 0
    for entry in os.scandir(folder):
        try:
            total += entry.stat().st_size
        except FileNotFoundError:
            continue
    return total


def said(path: Path) -> str:
    """Return a path as it is printed."""
    return one_line(str(path))
