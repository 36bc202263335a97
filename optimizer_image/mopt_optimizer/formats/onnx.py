"""ONNX files as sources: checked, run by ONNX Runtime, their dimensions named as in the spec."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

from mopt_api.enums import ModelFormat
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.errors import (
    BaselineError,
    ExportError,
    RuntimeFailure,
    RunTimeout,
    SpecError,
)
from mopt_optimizer.onnx_files.files import needs_other_file, place_whole
from mopt_optimizer.onnx_files.naming import name_onnx_inputs, rename_dimensions
from mopt_optimizer.onnx_files.opsets import upgraded
from mopt_optimizer.onnx_files.reference_cases import reference_cases
from mopt_optimizer.onnx_files.verified_inputs import verified_inputs
from mopt_optimizer.onnx_files.verify import Case, OnnxSession, compare
from mopt_optimizer.opening.free_axes import with_free_axes
from mopt_optimizer.opening.inputs import check_inputs
from mopt_optimizer.opening.loading import load_onnx, onnx_file, open_onnx
from mopt_optimizer.opening.model_inputs import onnx_inputs
from mopt_optimizer.opening.onnx_graphs import graphs_of

from .base import DescribedAxis, DescribedValue, ModelDescription, Source, described

if TYPE_CHECKING:
    import onnx


class Onnx:
    """ONNX files, and archives of one with the files that its weights lie in. See SourceFormat."""

    def recognizes(self, path: Path) -> bool:
        return path.is_file()  # It has no magic number; the others are recognized before it.

    def cases(self, source: Source) -> list[Case]:
        unpacked = _unpacked(source)
        path, _, _ = _opened(source, unpacked)
        cases = _timed_cases(path, source)
        shutil.rmtree(unpacked, ignore_errors=True)
        return cases

    def to_onnx(self, source: Source, target: Path) -> list[Case]:
        import onnx
        import onnx_ir as ir

        unpacked = _unpacked(source)
        path, model, names = _opened(source, unpacked)
        cases = _timed_cases(path, source)
        with source.timings.step("export", "naming the dimensions"):
            model = _in_newer_opset(model, cases)
            _rename(model, names, source)
            if unpacked.exists() or needs_other_file(ir.serde.deserialize_model(model)):
                place_whole(model, path.parent, target)
            else:
                onnx.save(model, target)
        shutil.rmtree(unpacked, ignore_errors=True)
        return cases

    def describe(self, path: Path, sizes: Mapping[str, int], workdir: Path) -> ModelDescription:
        from mopt_optimizer.onnx_files.info import model_info

        path = onnx_file(path, workdir / "unpacked")
        info, model = model_info(path, sizes), open_onnx(path)
        return ModelDescription(
            format=ModelFormat.ONNX,
            size_bytes=info.size_bytes,
            inputs=[described(i) for i in onnx_inputs(model)],
            outputs=[_output(value) for value in model.graph.output],
            parameters=info.parameters,
            nodes=info.nodes,
            operators=info.operators,
            opset=info.opset,
            dimensions=dict(sizes),
            flops=info.flops,
            external_data=info.external_data,
        )

    def dry_run(self, path: Path, description: ModelDescription, workdir: Path) -> ModelDescription:
        from .dry_run import dry_run

        with TemporaryDirectory(dir=workdir) as folder:
            file = onnx_file(path, Path(folder) / "unpacked")
            try:
                session = OnnxSession(with_free_axes(file), optimized=False, folder=file.parent)
            except RuntimeFailure as error:
                return description.model_copy(update={"failure": str(error)})
            return dry_run(description, session.run)

    def torch_module(
        self,
        path: Path,
        ranks: Mapping[str, int],  # noqa: ARG002 - of formats that do not say
        workdir: Path,  # noqa: ARG002 - likewise
    ) -> NoReturn:
        raise SpecError(f"{path.name} is ONNX: give a .pt2 or TorchScript")


def _output(value: onnx.ValueInfoProto) -> DescribedValue:
    """Return an output as the file describes it, which need not tell its type or its rank."""
    import onnx

    tensor = value.type.tensor_type
    dtype = None
    if tensor.elem_type:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    axes = None
    if tensor.HasField("shape"):
        axes = [
            DescribedAxis(size=d.dim_value)
            if d.HasField("dim_value")
            else DescribedAxis(symbol=d.dim_param or None)
            for d in tensor.shape.dim
        ]
    return DescribedValue(name=value.name, dtype=dtype, axes=axes)


def _in_newer_opset(model: onnx.ModelProto, cases: Sequence[Case]) -> onnx.ModelProto:
    """Return the model in an opset that quantizing needs, if it computes the same there.

    onnx converts some operators wrongly or not at all, such as Resize of opset 10 and Scan of 8.
    FP32 needs no conversion: the model then keeps its opset, and INT8 is refused by its own.
    """
    try:
        newer = upgraded(model)
        if newer is model:
            return model
        session = OnnxSession(newer.SerializeToString())
        same = all(d.passed for case in cases for d in compare(session, case))
    except (ExportError, RuntimeFailure):
        return model
    return newer if same else model


def _unpacked(source: Source) -> Path:
    return source.workdir / "unpacked"


def _opened(source: Source, unpacked: Path) -> tuple[Path, onnx.ModelProto, dict[str, str]]:
    """Return the file, the model, and the spec's name of each of its symbols."""
    with source.timings.step("load", "checking and opening the ONNX model"):
        path = onnx_file(source.path, unpacked)
        # Beside other files only what an archive held: a single file refers to nothing.
        model = open_onnx(path) if unpacked.exists() else load_onnx(path)
        names = check_inputs(onnx_inputs(model), source.inputs, source.dimensions)
    return path, model, names


def _rename(model: onnx.ModelProto, names: Mapping[str, str], source: Source) -> None:
    """Name the dimensions as in the spec; none keeps a name that is now another's."""
    graph = model.graph
    for value in (*graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in source.dimensions and axis.dim_param not in names:
                axis.Clear()
    rename_dimensions(model, names)
    name_onnx_inputs(model, source.inputs)


def _timed_cases(path: Path, source: Source) -> list[Case]:
    words = "running ONNX Runtime, unoptimized, at each set of sizes"
    with source.timings.step("reference", words):
        return onnx_cases(path, source.inputs, source.dimensions, source.samples)


def onnx_cases(
    path: Path,
    inputs: Sequence[InputSpec],
    dimensions: Mapping[str, DimensionRange],
    samples: Sequence[Inputs] = (),
) -> list[Case]:
    """Return verified_inputs with what ONNX Runtime makes of them, unoptimized.

    Raises:
        BaselineError: The model does not load, or not run at a size that the spec declares, or on
            a sample, or does not end.
        ModelError: It draws random numbers.
    """
    try:
        session = OnnxSession(with_free_axes(path), optimized=False, folder=path.parent)
    except RuntimeFailure as error:
        raise BaselineError(f"the model does not load: {error}") from error
    return reference_cases(
        verified_inputs(inputs, dimensions, samples),
        samples,
        lambda arrays, seconds: tuple(session.run(arrays, seconds)),
        hint=lambda error: _loops(path) if isinstance(error, RunTimeout) else "",
    )


def _loops(path: Path) -> str:
    """Return which nodes may go on without end, as an addition to a message."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    nodes = (node for graph in graphs_of(model) for node in graph.node)
    loops = [node.name or node.output[0] for node in nodes if node.op_type == "Loop"]
    if not loops:
        return ""
    return f"; a value says when Loop {', '.join(loops)} ends"
