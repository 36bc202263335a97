"""An ExportedProgram as ONNX, its dimensions named as in the spec, verified against eager."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mopt_api.jobs.prepare_result import Verification

from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.errors import BaselineError, DimensionError, ExportError
from mopt_optimizer.onnx_files.files import needs_external_data, needs_other_file, save_graph
from mopt_optimizer.onnx_files.verify import (
    Arrays,
    Case,
    OnnxSession,
    RuntimeFailure,
    first_line,
    random_inputs,
    verify,
)
from mopt_optimizer.opening.inputs import input_shape

if TYPE_CHECKING:
    import onnx
    import torch
    import torch.onnx
    from torch.export import ExportedProgram

# torch's exporter is written for 18; every runtime of ours takes it.
OPSET = 18
# The first in which QuantizeLinear has an axis.
OLDEST_OPSET = 13
_SYMBOL = re.compile(r"[A-Za-z_]\w*")


def program_cases(
    program: ExportedProgram,
    inputs: Sequence[InputSpec],
    dimensions: Mapping[str, DimensionRange],
) -> list[Case]:
    """Return inputs at each verified size with what PyTorch eager makes of them.

    Raises:
        DimensionError: The program was exported for other sizes than the spec declares.
        BaselineError: The model does not run at a size that the spec declares.
    """
    import torch

    generated = random_inputs(inputs, dimensions)
    module = _guarded_module(program, [arrays for _, arrays in generated])
    largest = {name: size.max for name, size in dimensions.items()}
    for sizes in [*(sizes for sizes, _ in generated), largest]:
        _check_guards(module, program, inputs, sizes)
    cases = []
    for sizes, arrays in generated:
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        with torch.no_grad():
            try:
                result = module(*(tensors[i] for i in program.graph_signature.user_inputs))
            except (RuntimeError, AssertionError, ValueError, TypeError) as error:
                raise BaselineError(
                    f"the model fails at {_sizes(sizes)}: {first_line(error)}"
                ) from error
        leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(result) if leaf is not None]
        cases.append(Case(sizes, arrays, tuple(leaf.float().numpy() for leaf in leaves)))
    return cases


def _guarded_module(program: ExportedProgram, arrays: Sequence[Arrays]) -> torch.nn.Module:
    """Return what runs the program, with its guards: conditions on sizes it was traced under."""
    import torch

    in_spec = program.call_spec.in_spec
    by_position = in_spec is not None and not in_spec.child(1).num_children
    if by_position:
        # torch leaves the guards out of a program without example inputs, which ours drop.
        user_inputs = program.graph_signature.user_inputs
        example = tuple(torch.from_numpy(arrays[0][str(name)]) for name in user_inputs)
        program.example_inputs = (example, {})
    return program.module()


def _check_guards(
    module: torch.nn.Module,
    program: ExportedProgram,
    inputs: Sequence[InputSpec],
    sizes: Mapping[str, int],
) -> None:
    import torch

    guards = getattr(module, "_guards_fn", None)
    if guards is None:
        return
    shapes = {i.name: input_shape(i, sizes) for i in inputs}
    user_inputs = program.graph_signature.user_inputs
    try:
        guards(*(torch.empty(shapes[str(name)], device="meta") for name in user_inputs))
    except AssertionError as error:
        raise DimensionError(
            f"the program was not exported for {_sizes(sizes)}: {_root_message(error)}"
        ) from error


def onnx_cases(
    path: Path, inputs: Sequence[InputSpec], dimensions: Mapping[str, DimensionRange]
) -> list[Case]:
    """Return inputs at each verified size with what ONNX Runtime makes of them, unoptimized.

    Raises:
        BaselineError: The model does not load, or not run at a size that the spec declares.
    """
    sizes: dict[str, int] = {}
    try:
        session = OnnxSession(path, optimized=False)
        cases = []
        for sizes, arrays in random_inputs(inputs, dimensions):
            cases.append(Case(sizes, arrays, tuple(session.run(arrays))))
    except RuntimeFailure as error:
        raise BaselineError(f"the model fails at {_sizes(sizes)}: {error}") from error
    return cases


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "its fixed sizes"


def exported_program(program: ExportedProgram, opset_version: int) -> torch.onnx.ONNXProgram:
    """Return a program as ONNX, in memory, its weights shared with the program's.

    Raises:
        ExportError: An operator that ONNX or the exporter does not have, or an opset that it
            cannot write.
    """
    import torch
    from torch.onnx.errors import OnnxExporterError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        try:
            # Its optimizer is left out: our passes do the same, each verified.
            exported = torch.onnx.export(
                program, dynamo=True, opset_version=opset_version, optimize=False, verbose=False
            )
        except OnnxExporterError as error:
            raise ExportError(f"the model cannot be exported: {_root_message(error)}") from error
    if exported is None:
        raise ExportError("the model cannot be exported: the exporter gave no model")
    # Where it cannot convert its own form it leaves another opset, and only logs that.
    written = exported.model.opset_imports.get("")
    if written != opset_version:
        raise ExportError(f"torch.onnx wrote opset {written}, and cannot write {opset_version}")
    return exported


def export_onnx(program: ExportedProgram, path: Path, names: Mapping[str, str]) -> None:
    """Write a program as ONNX of opset OPSET; weights in PATH.data where one file is too small.

    Args:
        names: The spec's name of each symbol of the program's.

    Raises:
        ExportError: An operator that ONNX or the exporter does not have.
    """
    import onnx

    exported = exported_program(program, OPSET)
    if needs_other_file(exported.model):
        save_graph(exported.model, path)
        model = onnx.load(path, load_external_data=False)
    else:
        model = exported.model_proto
    rename_dimensions(model, names)
    for node in model.graph.node:
        # Stack traces of whoever exported the program: paths of their machine.
        del node.metadata_props[:]
    onnx.save(model, path)


def _root_message(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def rename_dimensions(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Give symbolic sizes the spec's names, in expressions such as 4*s53 too."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.HasField("dim_param"):
                dimension.dim_param = _SYMBOL.sub(
                    lambda match: names.get(match[0], match[0]), dimension.dim_param
                )


def upgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an ONNX model in an opset that Q/DQ per channel can be written in.

    Raises:
        ExportError: onnx has no conversion for one of its operators, or for any where weights lie
            in other files.
    """
    import onnx

    if opset(model) >= OLDEST_OPSET:
        return model
    if any(needs_external_data(tensor) for tensor in model.graph.initializer):
        raise ExportError(
            f"opset {opset(model)} cannot be converted where weights lie in another file: export "
            f"the model with opset {OLDEST_OPSET} at least"
        )
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError) as error:
        raise ExportError(
            f"opset {opset(model)} cannot be converted to {OPSET}: {_root_message(error)}"
        ) from error


def opset(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def name_onnx_inputs(model: onnx.ModelProto, inputs: Sequence[InputSpec]) -> None:
    """Write the spec's names to the dynamic sizes of the inputs."""
    by_name = {i.name: i for i in inputs}
    for value in model.graph.input:
        if spec := by_name.get(value.name):
            for size, dimension in zip(spec.shape, value.type.tensor_type.shape.dim, strict=True):
                if isinstance(size, str) and not dimension.HasField("dim_value"):
                    dimension.dim_param = size


def verify_export(path: Path, cases: Sequence[Case]) -> list[Verification]:
    """Compare an exported model with eager at every case.

    Raises:
        ExportError: It does not run, or an output is not the same; names the output and the error.
    """
    try:
        verifications, failure = verify(path, cases)
    except RuntimeFailure as error:
        raise ExportError(f"the exported model does not run: {error}") from error
    if failure:
        raise ExportError(f"the exported model computes something else: {failure}")
    return verifications


def parameters(model: onnx.ModelProto) -> int:
    """Return the number of trained values: elements of floating-point initializers."""
    import onnx

    return sum(
        int(np.prod(tensor.dims, dtype=np.int64))
        for tensor in model.graph.initializer
        if onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).kind == "f"
    )
