"""Writes the folder that a server loads, from the files of a form in a store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ._errors import CliError, ExitCode, work_failed
from .export_sources import Source

if TYPE_CHECKING:
    from mopt_optimizer.serving import Layout, ServedForm, Tree


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        paths: The files, in order.
    """

    form: ServedForm
    paths: list[Path]


def export(
    source: Source, variant: str | None, layout: Layout, folder: Path, name: str | None
) -> Exported:
    """Write a form as a folder: beside it first, then renamed, so that it is whole or not there.

    Args:
        variant: The form's name; None is what the source serves.
        folder: Must not exist, or be empty.
        name: What clients call the model; None is the source's name.

    Raises:
        CliError: The folder is in use, the form cannot be served so, or its files are not there.
    """
    from mopt_optimizer.errors import OptimizerError, UnservableForm
    from mopt_optimizer.sandbox import hide_environment, report_of
    from mopt_optimizer.serving import (
        declared_signature,
        read_signature,
        served_form,
        served_variant,
        signature_request,
        tree_of,
    )
    from mopt_optimizer.store.files import fetch_files

    from .interrupting import interruptible

    _check_free(folder)
    # What opens the model must not find the store's keys in our memory.
    hide_environment()
    try:
        with interruptible(), _beside(folder) as aside:
            entry = served_variant(source.result, variant or source.variant)
            if entry.artifact is None:  # served_variant has checked it.
                raise CliError(f"variant {entry.name} has no file")
            name = name or source.name
            # Refuses what needs no file to be refused.
            tree_of(
                layout,
                served_form(
                    source.result, entry.name, declared_signature(source.result), name=name
                ),
            )
            fetched = fetch_files(source.blobs_of(entry.artifact), entry.artifact, aside / "files")
            opened = fetched[entry.artifact.digest]
            signature = read_signature(signature_request(source.result, entry.artifact, opened))
            form = served_form(source.result, entry.name, signature, name=name)
            tree = tree_of(layout, form)
            _write(tree, fetched, aside / "tree")
            (aside / "tree").replace(folder)
            return Exported(form, [folder / path for path in tree])
    except UnservableForm as error:
        raise CliError(str(error)) from error
    except OptimizerError as error:
        raise work_failed(report_of(error)) from error
    except OSError as error:
        raise CliError(f"{folder} cannot be written: {error}", ExitCode.FAILED) from error


def _check_free(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if os.path.lexists(folder):
        raise CliError(f"{folder} exists: remove it, or name another folder with -o")


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder on the same disk."""
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{folder.name}.") as aside:
        for part in ("files", "tree"):
            (Path(aside) / part).mkdir()
        yield Path(aside)


def _write(tree: Tree, fetched: dict[str, Path], folder: Path) -> None:
    """Write a tree; the files that were fetched are moved there."""
    for path, content in tree.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            fetched[content].replace(place)
