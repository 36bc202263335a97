"""The files of a form alone. Pure."""

from __future__ import annotations

from mopt_optimizer.serving.form import ServedForm

from .base import Tree, laid_files, ordered

_ARCHIVE = "model.tar"


def files(form: ServedForm) -> Tree:
    """Return the artifact's files, under the names that mopt gives them."""
    return ordered(laid_files(form.artifact, _ARCHIVE if form.archive else None))
