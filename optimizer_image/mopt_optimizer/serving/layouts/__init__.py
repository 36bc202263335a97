"""The layouts: one row and one module each. A layout is a pure function from a form to a tree."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from mopt_optimizer.serving.description import DESCRIPTION, description_of
from mopt_optimizer.serving.form import ServedForm

from .base import Tree, digests, ordered
from .files import files
from .kserve import kserve
from .ovms import ovms
from .triton import triton


class Layout(StrEnum):
    """What a folder is laid out for."""

    TRITON = "triton"
    OVMS = "ovms"
    KSERVE = "kserve"
    FILES = "files"


LAYOUTS: dict[Layout, Callable[[ServedForm], Tree]] = {
    Layout.TRITON: triton,
    Layout.OVMS: ovms,
    Layout.KSERVE: kserve,
    Layout.FILES: files,
}


def tree_of(layout: Layout, form: ServedForm) -> Tree:
    """Return the files of a layout, with the description that `mopt serve` reads.

    Raises:
        UnservableForm: The server cannot load the form as it was measured; says what serves it.
    """
    tree = LAYOUTS[layout](form)
    described = description_of(form, digests(tree))
    return ordered({**tree, DESCRIPTION: described.written()})


__all__ = ["LAYOUTS", "Layout", "Tree", "digests", "tree_of"]
