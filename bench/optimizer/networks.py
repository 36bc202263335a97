"""A subject's network as its author wrote it: for tools that take no exported program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from work import Work, library

ROOT = Path(__file__).resolve().parents[2]


def network_of(work: Work) -> Any:
    """Return the module.

    Raises:
        RefusedByTool: The subject comes as ONNX only.
    """
    _ = work.program
    name = work.facts["name"]
    sys.path.insert(0, str(ROOT))
    if name in _EXAMPLES:
        return _EXAMPLES[name]()
    return library("training").network_in(work.subject / "files")


def _srvgg() -> Any:
    sys.path.insert(0, str(ROOT / "examples" / "super_resolution"))
    build = library("build")
    folder = build.weights_directory()
    return library("srvgg").load(folder / f"{build.WEIGHTS}.param", folder / f"{build.WEIGHTS}.bin")


def _minilm() -> Any:
    folder = library("examples.text_embedding.build").model_directory()
    return library("examples.text_embedding.minilm").load(folder / "model.safetensors")


def _rife() -> Any:
    return library("examples.frame_interpolation.rife").load()


_EXAMPLES = {"super_resolution": _srvgg, "text_embedding": _minilm, "frame_interpolation": _rife}
