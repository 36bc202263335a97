"""A TorchScript module as ONNX, its dimensions named as in the spec, verified against eager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.errors import BaselineError
from mopt_optimizer.export.program import OPSET
from mopt_optimizer.export.tracing import arrays_of, trace_script
from mopt_optimizer.export.writing import write_traced
from mopt_optimizer.onnx_files.verify import Case, first_line, random_inputs
from mopt_optimizer.opening.inputs import Axis, ModelInput
from mopt_optimizer.opening.loading import script_parameters


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
) -> list[Case]:
    """Return inputs at each verified size with what PyTorch eager makes of them.

    Raises:
        BaselineError: The model does not run at a size that the spec declares.
        ExportError: It returns something else than tensors.
    """
    cases = []
    for sizes, arrays in random_inputs(inputs, dimensions):
        # Copies: a model may change its inputs in place.
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        try:
            with torch.no_grad():
                result = module(**tensors)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            where = ", ".join(f"{n} {s}" for n, s in sizes.items()) or "its fixed sizes"
            raise BaselineError(f"the model fails at {where}: {first_line(error)}") from error
        cases.append(Case(sizes, arrays, arrays_of(result)))
    return cases


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
