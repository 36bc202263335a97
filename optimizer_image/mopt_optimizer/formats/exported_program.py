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
from mopt_optimizer.errors import BaselineError, DimensionError, RuntimeFailure, first_line
from mopt_optimizer.export.program import exported_program
from mopt_optimizer.onnx_files.files import needs_other_file, save_graph
from mopt_optimizer.onnx_files.naming import rename_dimensions
from mopt_optimizer.onnx_files.opsets import OPSET
from mopt_optimizer.onnx_files.verify import Case, random_inputs, sizes_in_words
from mopt_optimizer.opening.guards import Guards
from mopt_optimizer.opening.inputs import Axis, ModelInput, check_inputs
from mopt_optimizer.opening.loading import archive_names, load_exported_program
from mopt_optimizer.opening.model_inputs import program_inputs
from mopt_optimizer.opening.sums import parse_sum

from .base import DescribedAxis, DescribedValue, ModelDescription, Source, described

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram


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
        cases = program_cases(program, source.inputs, source.dimensions)
    return program, names, cases


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
    guards = Guards(program)
    largest = with_derived({name: size.max for name, size in dimensions.items()}, dimensions)
    shapes = {i.name: i.shape for i in inputs}
    for sizes in [*(sizes for sizes, _ in generated), largest]:
        if (broken := guards.broken(shapes, sizes)) is not None:
            raise DimensionError(
                f"the program was not exported for {sizes_in_words(sizes)}: {broken}"
                + _instead(guards, shapes, dimensions)
            )
    module = guards.module
    cases = []
    for sizes, arrays in generated:
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        with torch.no_grad():
            try:
                result = module(*(tensors[i] for i in program.graph_signature.user_inputs))
            except (RuntimeError, AssertionError, ValueError, TypeError) as error:
                raise BaselineError(
                    f"the model fails at {sizes_in_words(sizes)}: {first_line(error)}"
                ) from error
        leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(result) if leaf is not None]
        cases.append(Case(sizes, arrays, tuple(map(_as_numpy, leaves))))
    return cases


def _run(module: torch.nn.Module, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the outputs of a program's module, called by position."""
    import torch

    try:
        with torch.no_grad():
            result = module(*map(torch.from_numpy, arrays))
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
        raise RuntimeFailure(first_line(error)) from error
    leaves = torch.utils._pytree.tree_leaves(result)
    return [_as_numpy(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _as_numpy(output: torch.Tensor) -> NDArray[Any]:
    """Return an output in its own type; one that numpy lacks as float32."""
    import torch

    array: NDArray[Any] = (output.float() if output.dtype is torch.bfloat16 else output).numpy()
    return array


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

    _drop_ranges_of_multiples(program)
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


def _drop_ranges_of_multiples(program: ExportedProgram) -> None:
    """Leave ranges to symbols alone: 4 * Dim("h") has one of its own, which torch cannot export.

    The range of the symbol in it says the same.
    """
    import torch

    sizes = (
        size
        for node in program.graph.find_nodes(op="placeholder")
        if isinstance(value := node.meta.get("val"), torch.Tensor)
        for size in value.shape
    )
    free: Any = next((size for size in sizes if isinstance(size, torch.SymInt)), None)
    ranges = [program.range_constraints]
    if free is not None:
        ranges.append(free.node.shape_env.var_to_range)
    for known in ranges:
        for expression in [e for e in known if not e.is_Symbol]:
            del known[expression]


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
