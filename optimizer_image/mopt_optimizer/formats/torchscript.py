"""TorchScript files as sources: inspected, opened, exported with named dimensions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from mopt_api.enums import ModelFormat
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.errors import (
    DimensionError,
    ModelError,
    RuntimeFailure,
    first_line,
)
from mopt_optimizer.export.scripts import trace_script
from mopt_optimizer.export.state import written_buffers
from mopt_optimizer.export.tracing import arrays_of
from mopt_optimizer.export.writing import write_traced
from mopt_optimizer.onnx_files.opsets import OPSET
from mopt_optimizer.onnx_files.reference_cases import reference_cases
from mopt_optimizer.onnx_files.verified_inputs import verified_inputs
from mopt_optimizer.onnx_files.verify import Arrays, Case
from mopt_optimizer.opening.inputs import Axis, ModelInput, check_inputs
from mopt_optimizer.opening.loading import (
    archive_names,
    load_torchscript,
    script_parameters,
)

from .base import DescribedValue, ModelDescription, Source

# What a module's own code may raise.
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError)


class TorchScript:
    """Files that torch.jit.save wrote. See SourceFormat."""

    def recognizes(self, path: Path) -> bool:
        return any("/code/" in name for name in archive_names(path) or ())

    def cases(self, source: Source) -> list[Case]:
        _, cases = _opened(source)
        return cases

    def to_onnx(self, source: Source, target: Path) -> list[Case]:
        module, cases = _opened(source)
        with source.timings.step("export", "exporting to ONNX"):
            export_script(module, target, source.inputs, cases)
        return cases

    def describe(self, path: Path, sizes: Mapping[str, int], workdir: Path) -> ModelDescription:
        if sizes:
            raise DimensionError("a TorchScript file names no dimensions")
        module = load_torchscript(path, workdir)
        _check_tensors(module)
        operators = Counter(node.kind() for node in module.inlined_graph.nodes())
        needed = [name for name, given in script_parameters(module).items() if given]
        return ModelDescription(
            format=ModelFormat.TORCH_SCRIPT,
            size_bytes=path.stat().st_size,
            # The file names its inputs and says nothing of their types and sizes.
            inputs=[DescribedValue(name=name) for name in needed],
            parameters=sum(p.numel() for p in module.parameters()),
            nodes=operators.total(),
            operators=dict(sorted(operators.items())),
        )

    def dry_run(self, path: Path, description: ModelDescription, workdir: Path) -> ModelDescription:
        from .dry_run import dry_run

        module = load_torchscript(path, workdir)
        return dry_run(description, lambda arrays: _run(module, arrays))

    def torch_module(
        self, path: Path, ranks: Mapping[str, int], workdir: Path
    ) -> tuple[torch.nn.Module, list[ModelInput]]:
        module = load_torchscript(path, workdir)
        inputs = [
            # Images are what most such files take.
            ModelInput(name, "float32", (Axis(),) * ranks.get(name, 4))
            for name, needed in script_parameters(module).items()
            if needed
        ]
        return module, inputs


def _opened(source: Source) -> tuple[torch.jit.ScriptModule, list[Case]]:
    with source.timings.step("load", "inspecting and opening the TorchScript module"):
        module = load_torchscript(source.path, source.workdir)
        _check_tensors(module)
        check_inputs(script_inputs(module, source.inputs), source.inputs, source.dimensions)
    with source.timings.step("reference", "running PyTorch eager at each set of sizes"):
        cases = script_cases(module, source.inputs, source.dimensions, source.samples)
    return module, cases


def _check_tensors(module: torch.nn.Module) -> None:
    """Refuse inputs that are no tensors, such as dicts of them.

    Raises:
        ModelError: Names the input and its type.
    """
    for argument in module.forward.schema.arguments[1:]:  # type: ignore[attr-defined]
        kind = argument.type.annotation_str
        if not argument.has_default_value() and kind not in ("Tensor", "Optional[Tensor]"):
            raise ModelError(
                f"input {argument.name} is a {kind}, and a TorchScript file's inputs must be "
                "tensors: trace a module that takes them one by one, or use torch.export.save"
            )


def script_inputs(module: torch.nn.Module, declared: Sequence[InputSpec]) -> list[ModelInput]:
    """Return the module's inputs: it knows their names; types and ranks are as declared.

    Parameters with a default are inputs only where they are declared.
    """
    by_name = {i.name: i for i in declared}
    found = []
    for name, needed in script_parameters(module).items():
        if spec := by_name.get(name):
            found.append(ModelInput(name, spec.dtype.value, (Axis(),) * len(spec.shape)))
        elif needed:
            found.append(ModelInput(name, "of unknown type", ()))
    return found


def script_cases(
    module: torch.nn.Module,
    inputs: Sequence[InputSpec],
    dimensions: Mapping[str, DimensionRange],
    samples: Sequence[Inputs] = (),
) -> list[Case]:
    """Return verified_inputs with what PyTorch eager makes of them.

    Raises:
        BaselineError: The model does not run at a size that the spec declares, or on a sample.
        ExportError: It returns something else than tensors.
        ModelError: It keeps state between calls.
    """
    return reference_cases(
        verified_inputs(inputs, dimensions, samples),
        samples,
        lambda arrays, _: _run(module, arrays),
        hint=lambda _: _hint(module, inputs),
        written=written_buffers(module),
        ends="prim::Loop" not in _code(module),
    )


def _run(module: torch.nn.Module, arrays: Arrays) -> tuple[NDArray[Any], ...]:
    """Return a module's outputs.

    Raises:
        RuntimeFailure: It fails.
        ExportError: It returns something else than tensors.
    """
    # Copies: a model may change its inputs in place.
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    try:
        with torch.no_grad():
            result = module(**tensors)
    except _FAILURES as error:
        raise RuntimeFailure(_cause(error)) from error
    return arrays_of(result)


def _cause(error: Exception) -> str:
    """Return what went wrong: after TorchScript's traceback, which says only that something did."""
    said = re.findall(r"^\s*\w*(?:Error|Exception): (.+)$", str(error), re.M)
    return said[-1] if said else first_line(error)


def _code(module: torch.nn.Module) -> str:
    return str(module.inlined_graph) if isinstance(module, torch.jit.ScriptModule) else ""


def _hint(module: torch.nn.Module, inputs: Sequence[InputSpec]) -> str:
    """Return what of a device or element type may be the reason, and the remedy; else nothing."""
    graph = _code(module)
    if device := re.search(r'"(cuda(?::\d+)?)"', graph):
        return f"; its code names the device {device[1]}: trace it anew from model.cpu()"
    kinds = {str(p.dtype).removeprefix("torch.") for p in module.parameters()}
    narrow = kinds & {"float16", "bfloat16"}
    if narrow and narrow.isdisjoint(i.dtype.value for i in inputs):
        return f"; its weights are {min(narrow)}: trace it anew from model.float()"
    return ""


def export_script(
    module: torch.nn.Module, path: Path, inputs: Sequence[InputSpec], cases: Sequence[Case]
) -> None:
    """Write a module as ONNX of opset OPSET.

    Args:
        cases: The export follows the second, or the only one.

    Raises:
        ExportError: An operator that ONNX or the exporter does not have.
    """
    example = cases[:2][-1].inputs
    traced = trace_script(
        module,  # type: ignore[arg-type]
        (),
        {name: torch.from_numpy(array.copy()) for name, array in example.items()},
        dynamic_axes={
            i.name: {axis: size for axis, size in enumerate(i.shape) if isinstance(size, str)}
            for i in inputs
        },
        input_names=None,
        output_names=(),
    )
    write_traced(traced, path, None, OPSET)
