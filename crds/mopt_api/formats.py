"""The formats that a model may come in, one row each."""

from __future__ import annotations

from dataclasses import dataclass

from .enums import ModelFormat, Runtime


@dataclass(frozen=True)
class FormatInfo:
    """One source format.

    Attributes:
        suffix: Of its files, as they are named here.
        others: Further suffixes that its files have elsewhere.
        baseline: What runs the source model.
        exported: Whether it becomes ONNX by torch's exporter.
    """

    suffix: str
    baseline: Runtime
    exported: bool
    others: tuple[str, ...] = ()


FORMATS: dict[ModelFormat, FormatInfo] = {
    ModelFormat.ONNX: FormatInfo(".onnx", Runtime.ONNX_RUNTIME, exported=False),
    ModelFormat.EXPORTED_PROGRAM: FormatInfo(".pt2", Runtime.PYTORCH, exported=True),
    ModelFormat.TORCH_SCRIPT: FormatInfo(
        ".ts", Runtime.PYTORCH, exported=True, others=(".pt", ".torchscript")
    ),
}


def format_by_suffix() -> dict[str, ModelFormat]:
    """Return the format that each suffix of a file stands for."""
    return {
        suffix: kind for kind, info in FORMATS.items() for suffix in (info.suffix, *info.others)
    }
