"""Export options, validated on construction."""

from __future__ import annotations

from dataclasses import dataclass

from mopt_optimizer.errors import SpecError
from mopt_optimizer.onnx_files.opsets import OPSET

# Below 7 ONNX has other broadcasting rules; none of our exporters or runtimes writes it.
MIN_OPSET = 7


@dataclass(frozen=True, kw_only=True)
class ONNXExportConfig:
    """Options of ONNXExporter.

    Attributes:
        opset_version: Of the default ONNX domain. torch writes 18 and newer; an older one is
            converted, then verified.
        optimize: Run the graph passes; each is verified regardless of verify_export.
        verify_export: Compare the written file with PyTorch at several sizes.
        passes: Names of the passes to run, in the order of available_passes(); None runs all.
        exclude_passes: Names of passes to skip.
        input_names, output_names: Names in the ONNX file, one per tensor; None keeps those of
            forward's parameters, and gives "output", or "output_0" and so on.
        external_data: Store weights in a second file, PATH.data; None does so if one file cannot
            hold them.

    Raises:
        SpecError: Invalid opset, pass or name.
    """

    opset_version: int = OPSET
    optimize: bool = True
    verify_export: bool = True
    passes: tuple[str, ...] | None = None
    exclude_passes: tuple[str, ...] = ()
    input_names: tuple[str, ...] | None = None
    output_names: tuple[str, ...] | None = None
    external_data: bool | None = None

    def __post_init__(self) -> None:
        """Reject invalid options."""
        from onnx.defs import onnx_opset_version

        newest = onnx_opset_version()
        if not MIN_OPSET <= self.opset_version <= newest:
            raise SpecError(
                f"opset_version {self.opset_version} is not possible: {MIN_OPSET} to {newest} are, "
                f"{OPSET} without conversion"
            )
        from mopt_optimizer.passes import named_passes

        named_passes(self.passes, exclude=self.exclude_passes)
        for what, names in (("input", self.input_names), ("output", self.output_names)):
            if names is not None and (len(set(names)) != len(names) or not all(names)):
                raise SpecError(f"{what}_names {names} are empty or not unique")
        if both := set(self.input_names or ()) & set(self.output_names or ()):
            raise SpecError(f"{', '.join(sorted(both))} is an input's and an output's name")
