"""Programs of torch.export (.pt2) as sources: inspected, opened, exported with named dimensions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mopt_api.enums import ModelFormat
from mopt_api.inputs import DerivedRange, DimensionRange, InputSpec, with_derived
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.errors import DimensionError, RuntimeFailure, first_line
from mopt_optimizer.export.program import exported_program
from mopt_optimizer.export.state import written_buffers
from mopt_optimizer.export.tracing import arrays_of
from mopt_optimizer.onnx_files.files import needs_other_file, save_graph
from mopt_optimizer.onnx_files.naming import rename_dimensions
from mopt_optimizer.onnx_files.opsets import OPSET
from mopt_optimizer.onnx_files.reference_cases import reference_cases
from mopt_optimizer.onnx_files.verified_inputs import verified_inputs
from mopt_optimizer.onnx_files.verify import Case, sizes_in_words
from mopt_optimizer.opening.guards import Guards
from mopt_optimizer.opening.inputs import Axis, ModelInput, check_inputs
from mopt_optimizer.opening.loading import archive_names, load_exported_program
from mopt_optimizer.opening.model_inputs import program_inputs
from mopt_optimizer.opening.sums import parse_sum

from .base import DescribedAxis, DescribedValue, ModelDescription, Source, described

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

# What a program's own operators may raise.
_FAILURES = (RuntimeError, AssertionError, ValueError, TypeError, IndexError)


class ExportedPrograms:
    """Files that torch.export.save wrote. See SourceFormat."""

    def recognizes(self, path: Path) -> bool:
        return archive_names(path) is not None

    def cases(self, source: Source) -> list[Case]:
        _, _, cases = _opened(source)
        return cases

    def to_onnx(self, source: Source, target: Path) -> list[Case]:
        program, names, cases = _opened(source)
        with source.timings.step("export", "exporting to ONNX"):
            export_onnx(program, target, names)
        return cases

    def describe(self, path: Path, sizes: Mapping[str, int], workdir: Path) -> ModelDescription:
        program = load_exported_program(path, workdir)
        inputs = _narrowed(program, program_inputs(program))
        operators = Counter(
            str(node.target) for node in program.graph.nodes if node.op == "call_function"
        )
        return ModelDescription(
            format=ModelFormat.EXPORTED_PROGRAM,
            size_bytes=path.stat().st_size,
            inputs=[described(i) for i in inputs],
            outputs=_program_outputs(program),
            parameters=sum(p.numel() for p in program.parameters()),
            nodes=operators.total(),
            operators=dict(sorted(operators.items())),
            dimensions=dict(sizes),
            flops=_program_flops(program, inputs, sizes),
        )

    def dry_run(self, path: Path, description: ModelDescription, workdir: Path) -> ModelDescription:
        from .dry_run import axis_key, dry_run

        program = load_exported_program(path, workdir)
        guards = Guards(program)
        shapes = {
            value.name: [
                axis.size if axis.size is not None else axis_key(value, number, axis)
                for number, axis in enumerate(value.axes or ())
            ]
            for value in description.inputs
        }
        names = [value.name for value in description.inputs]
        return dry_run(
            description,
            lambda arrays: _run(guards.module, [arrays[name] for name in names]),
            known=lambda sizes: guards.broken(shapes, sizes) is None,
        )

    def torch_module(
        self,
        path: Path,
        ranks: Mapping[str, int],  # noqa: ARG002 - of formats that do not say
        workdir: Path,
    ) -> tuple[torch.nn.Module, list[ModelInput]]:
        program = load_exported_program(path, workdir)
        return program.module(), program_inputs(program)


def _opened(source: Source) -> tuple[ExportedProgram, dict[str, str], list[Case]]:
    """Return a program, the spec's name of each of its symbols, and what it computes."""
    with source.timings.step("load", "inspecting and opening the program"):
        program = load_exported_program(source.path, source.workdir)
        names = check_inputs(program_inputs(program), source.inputs, source.dimensions)
    with source.timings.step("reference", "running PyTorch eager at each set of sizes"):
        cases = program_cases(program, source.inputs, source.dimensions, source.samples)
    return program, names, cases


def program_cases(
    program: ExportedProgram,
    inputs: Sequence[InputSpec],
    dimensions: Mapping[str, DimensionRange],
    samples: Sequence[Inputs] = (),
) -> list[Case]:
    """Return verified_inputs with what PyTorch eager makes of them.

    Raises:
        DimensionError: The program was exported for other sizes than the spec declares.
        BaselineError: The model does not run at a size that the spec declares, or on a sample.
        ExportError: It returns something other than tensors.
        ModelError: It keeps state between calls.
    """
    verified = verified_inputs(inputs, dimensions, samples)
    guards = Guards(program)
    largest = with_derived({name: size.max for name, size in dimensions.items()}, dimensions)
    shapes = {i.name: i.shape for i in inputs}
    for sizes in [*(one.sizes for one in verified), largest]:
        if (broken := guards.broken(shapes, sizes)) is not None:
            raise DimensionError(
                f"the program was not exported for {sizes_in_words(sizes)}: {broken}"
                + _instead(guards, shapes, dimensions)
            )
    names = [str(name) for name in program.graph_signature.user_inputs]

    return reference_cases(
        verified,
        samples,
        lambda arrays, _: _run(guards.module, [arrays[name] for name in names]),
        written=written_buffers(guards.module),
        ends=not _loops(program),
    )


def _loops(program: ExportedProgram) -> bool:
    """Return whether a value says how long the program runs."""
    return any("while_loop" in str(node.target) for node in program.graph.nodes)


def _run(module: torch.nn.Module, arrays: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Return the outputs of a program's module, called by position.

    Raises:
        RuntimeFailure: It fails.
        ExportError: It returns something other than tensors.
    """
    import torch

    try:
        with torch.no_grad():
            # Copies: a model may change its inputs in place.
            result = module(*(torch.from_numpy(array.copy()) for array in arrays))
    except _FAILURES as error:
        raise RuntimeFailure(first_line(error)) from error
    return arrays_of(result)


def _instead(
    guards: Guards,
    shapes: Mapping[str, Sequence[int | str]],
    dimensions: Mapping[str, DimensionRange],
) -> str:
    """Return the ranges that the program takes, as an addition to a message; empty if unknown."""
    free = {n: size for n, size in dimensions.items() if not isinstance(size, DerivedRange)}
    found = guards.ranges(
        shapes,
        {name: (size.min, size.max) for name, size in free.items()},
        lambda sizes: with_derived(sizes, dimensions),
    )
    narrowed = {
        name: taken
        for name, taken in found.items()
        if not taken.covers(dimensions[name].min, dimensions[name].multiple_of or 1)
    }
    if not narrowed:
        return ""
    said = "; ".join(f"{name} {taken}" for name, taken in narrowed.items())
    return f"; it takes, in spec.dimensions: {said}"


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
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in names:
                axis.dim_param = names[axis.dim_param]
    rename_dimensions(model, names)
    for node in model.graph.node:
        # Stack traces of whoever exported the program: paths of their machine.
        del node.metadata_props[:]
    onnx.save(model, path)


def _narrowed(program: ExportedProgram, inputs: list[ModelInput]) -> list[ModelInput]:
    """Return inputs with the bounds that the program's guards imply beside those that it says."""
    shapes = {
        i.name: [axis.size if axis.size is not None else axis.symbol or "" for axis in i.axes]
        for i in inputs
    }
    axes = {a.symbol: a for i in inputs for a in i.axes if a.size is None and a.symbol}
    sums = {symbol: total for symbol in axes if (total := parse_sum(symbol)) is not None}
    sums = {symbol: total for symbol, total in sums.items() if axes.keys() >= set(total.names)}
    limits = {n: (axis.minimum or 1, axis.maximum) for n, axis in axes.items() if n not in sums}
    found = Guards(program).ranges(
        shapes,
        limits,
        lambda sizes: {**sizes, **{name: total.of(sizes) for name, total in sums.items()}},
    )

    def narrowed(axis: Axis) -> Axis:
        taken = found.get(axis.symbol or "")
        return axis if taken is None or axis.size is not None else taken.applied(axis)

    return [replace(i, axes=tuple(map(narrowed, i.axes))) for i in inputs]


def _program_outputs(program: ExportedProgram) -> list[DescribedValue]:
    import torch

    nodes = {node.name: node for node in program.graph.nodes}
    found = []
    for name in program.graph_signature.user_outputs:
        value: Any = nodes[name].meta.get("val") if name in nodes else None
        if not isinstance(value, torch.Tensor):
            continue  # A constant, or an output that is no tensor.
        axes = [
            DescribedAxis(symbol=str(s)) if isinstance(s, torch.SymInt) else DescribedAxis(size=s)
            for s in value.shape
        ]
        dtype = str(value.dtype).removeprefix("torch.")
        found.append(DescribedValue(name=name, dtype=dtype, axes=axes))
    return found


def _program_flops(
    program: ExportedProgram, inputs: list[ModelInput], sizes: Mapping[str, int]
) -> int | None:
    """Return what torch counts in one run at these sizes; None where one is not given."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    symbols = {a.symbol for i in inputs for a in i.axes if a.size is None and a.symbol}
    if unknown := set(sizes) - symbols:
        raise DimensionError(
            f"the model has no dimension {', '.join(sorted(unknown))}; it has "
            + (", ".join(sorted(symbols)) or "none")
        )
    if symbols - set(sizes):
        return None
    arguments = [
        torch.zeros([_size(a, sizes) for a in i.axes], dtype=getattr(torch, i.dtype))
        for i in inputs
    ]
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            program.module()(*arguments)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        reason = first_line(error)
        raise DimensionError(f"the model does not run at these sizes: {reason}") from error
    return int(counter.get_total_flops())


def _size(axis: Axis, sizes: Mapping[str, int]) -> int:
    return axis.size if axis.size is not None else sizes[axis.symbol or ""]
