"""What the layouts share: trees of files, and the files of an artifact. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mopt_api.artifacts import Artifact, artifact_files
from mopt_optimizer.errors import UnservableForm
from mopt_optimizer.serving.form import ServedForm

Tree = dict[str, bytes | str]
"""Files by their path, relative and with /: their content, or as text the digest (sha256:HEX) of
the stored object that lies there. In order of paths, so that the same form is the same tree."""

VERSION = "1"
"""Folder of the only version, in servers that have several."""


def digests(tree: Mapping[str, bytes | str]) -> dict[str, str]:
    """Return the digest of each stored object in a tree, by path."""
    return {path: content for path, content in tree.items() if isinstance(content, str)}


def ordered(tree: Mapping[str, bytes | str]) -> Tree:
    """Return a tree in order of paths."""
    return {path: tree[path] for path in sorted(tree)}


def laid_files(artifact: Artifact, name: str | None = None, folder: str = "") -> dict[str, str]:
    """Return the digests of an artifact's files, by path; first, what is opened.

    Args:
        name: As of artifact_files.
        folder: Where they lie.
    """
    prefix = f"{folder}/" if folder else ""
    return {f"{prefix}{file.name}": file.digest for file in artifact_files(artifact, name)}


def refuse_archive(form: ServedForm, server: str) -> None:
    """Refuse a tar of an ONNX file with its weights.

    Raises:
        UnservableForm
    """
    if form.archive:
        raise UnservableForm(
            f"{form.title} is a tar of an ONNX file and its weights, which {server} does not open: "
            "choose another variant, or take it with --as files and unpack it"
        )
