"""A source format: ONNX as text, which its own parser reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import onnx

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import ModelFormat
from mopt_api.formats import FORMATS as ROWS
from mopt_api.formats import FormatInfo
from mopt_optimizer.errors import ModelError, SpecError, first_line
from mopt_optimizer.formats.base import ModelDescription, Source
from mopt_optimizer.formats.onnx import Onnx
from mopt_optimizer.formats.registry import FORMATS
from mopt_optimizer.onnx_files.verify import Case

from .reference import REFERENCE

TEXT = ModelFormat.add("OnnxText")
ArtifactFormat.add(TEXT.value)
ROWS[TEXT] = FormatInfo(".onnxtxt", REFERENCE, exported=False)


class OnnxText:
    """Files of ONNX's textual syntax. See SourceFormat."""

    def recognizes(self, path: Path) -> bool:
        return path.read_bytes()[:1] == b"<"

    def cases(self, source: Source) -> list[Case]:
        return Onnx().cases(_binary(source))

    def to_onnx(self, source: Source, target: Path) -> list[Case]:
        return Onnx().to_onnx(_binary(source), target)

    def describe(self, path: Path, sizes: Mapping[str, int], workdir: Path) -> ModelDescription:
        return Onnx().describe(_written(path, workdir), sizes, workdir)

    def dry_run(self, path: Path, description: ModelDescription, workdir: Path) -> ModelDescription:
        return Onnx().dry_run(_written(path, workdir), description, workdir)

    def torch_module(self, path: Path, ranks: Mapping[str, int], workdir: Path) -> NoReturn:  # noqa: ARG002
        raise SpecError(f"{path.name} is ONNX: give a .pt2 or TorchScript")


def _binary(source: Source) -> Source:
    path = _written(source.path, source.workdir)
    return replace(source, path=path)


def _written(path: Path, folder: Path) -> Path:
    try:
        model = onnx.parser.parse_model(path.read_text())
    except (onnx.parser.ParseError, UnicodeDecodeError) as error:
        raise ModelError(f"not ONNX as text: {first_line(error)}") from error
    written = folder / "parsed.onnx"
    onnx.save(model, written)
    return written


# Before ONNX, which takes any file for its own.
_others = dict(FORMATS)
FORMATS.clear()
FORMATS.update({TEXT: f"{__name__}:OnnxText", **_others})
