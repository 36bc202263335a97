"""ONNXExporter: exports a PyTorch model to an ONNX file with the same results at every size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from mopt_api.jobs.prepare_result import Verification
from mopt_optimizer.errors import ExportError, OpsetError, SpecError
from mopt_optimizer.onnx_files.files import place_model
from mopt_optimizer.onnx_files.info import model_info
from mopt_optimizer.onnx_files.reference_cases import with_made_up
from mopt_optimizer.onnx_files.verify import Case, OnnxSession, compare, verify_export
from mopt_optimizer.passes import named_passes
from mopt_optimizer.passes.running import PassRecord, count_nodes, optimize
from mopt_optimizer.progress import Log

from .config import ONNXExportConfig
from .divergence import explain
from .scripts import trace_script
from .signatures import DynamicAxes
from .sizes import Refused, verification_cases
from .tracing import Traced, evaluating, flat_arguments, trace_module, trace_program
from .writing import convert_opset, scripted, write_traced

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram


class OutputError(TypedDict):
    """Largest difference of one output from PyTorch, over all verified sizes."""

    output: str
    max_abs_error: float
    tolerance: float


class ExportMetadata(TypedDict):
    """Result of an export.

    verified says whether the file was compared with PyTorch (False only if verify_export is off: a
    difference is an error). Sizes are in bytes; node counts include subgraphs.
    """

    path: str
    verified: bool
    opset: int
    nodes_before: int
    nodes_after: int
    passes: list[dict[str, Any]]
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    parameters: int
    size_bytes: int
    external_data: str | None
    verifications: list[dict[str, Any]]
    output_errors: list[OutputError]


class _Made(NamedTuple):
    verifications: list[Verification]
    passes: list[PassRecord]
    nodes_before: int


def _silent(step: str, message: str, **fields: object) -> None:
    """Log nothing."""


class ONNXExporter:
    """Exports a module, an ExportedProgram or a TorchScript module.

    Args:
        log: Called for each step and pass; silent by default.
    """

    def __init__(self, config: ONNXExportConfig | None = None, log: Log = _silent) -> None:
        self.config = config or ONNXExportConfig()
        self._log = log

    def export(
        self,
        model: torch.nn.Module | ExportedProgram | torch.jit.ScriptModule,
        dummy_input: Any,
        path: str | Path,
        dynamic_axes: DynamicAxes | None = None,
        *,
        dynamic_shapes: Any = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> ExportMetadata:
        """Export a model to ONNX; the file appears only once it is complete and verified.

        Args:
            dummy_input: A tensor, a tuple of arguments, or a dict of keyword arguments. Any sizes:
                a dynamic axis of size 1 is enlarged, so that nothing specializes on it. None uses
                the example inputs of an ExportedProgram.
            dynamic_axes: {input: {axis: name}} or {input: [axis]}.
            dynamic_shapes: The alternative, as in torch.export; strings also name sizes.
            kwargs: More arguments of forward.

        Raises:
            SpecError: Arguments that contradict each other.
            DimensionError: An axis that does not exist, or that the model accepts at one size only.
            BaselineError: The model does not run on dummy_input.
            ExportError: ONNX cannot express it, or the results differ; names the output, the error,
                and the first node that differs.
            DiskError: The disk is full.
        """
        import torch

        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if dynamic_axes is not None and dynamic_shapes is not None:
            raise SpecError("give dynamic_axes or dynamic_shapes, not both")
        if isinstance(model, torch.nn.Module):
            with evaluating(model):
                traced = self._trace(model, dummy_input, dynamic_axes, dynamic_shapes, kwargs)
                return self._write(traced, target)
        traced = self._trace(model, dummy_input, dynamic_axes, dynamic_shapes, kwargs)
        return self._write(traced, target)

    def _trace(
        self,
        model: Any,
        dummy_input: Any,
        dynamic_axes: DynamicAxes | None,
        dynamic_shapes: Any,
        kwargs: Mapping[str, Any] | None,
    ) -> Traced:
        import torch

        args, keywords = flat_arguments(dummy_input, kwargs)
        outputs = self._output_names(dynamic_axes)
        names = self.config.input_names
        self._log("trace", type(model).__name__)
        if isinstance(model, torch.export.ExportedProgram):
            if dynamic_shapes is not None:
                raise SpecError("an ExportedProgram was exported with its dynamic shapes already")
            return trace_program(
                model,
                None if dummy_input is None else args,
                keywords,
                dynamic_axes=dynamic_axes,
                input_names=names,
                output_names=outputs,
            )
        if isinstance(model, torch.jit.ScriptModule):
            if dynamic_shapes is not None:
                raise SpecError("for TorchScript give dynamic_axes")
            return trace_script(
                model,
                args,
                keywords,
                dynamic_axes=dynamic_axes,
                input_names=names,
                output_names=outputs,
            )
        if not isinstance(model, torch.nn.Module):
            raise SpecError(
                f"a {type(model).__name__} cannot be exported: pass a torch.nn.Module, an "
                "ExportedProgram or a TorchScript module"
            )
        return trace_module(
            model,
            args,
            keywords,
            dynamic_axes=dynamic_axes,
            dynamic_shapes=dynamic_shapes,
            input_names=names,
            output_names=outputs,
        )

    def _output_names(self, dynamic_axes: DynamicAxes | None) -> tuple[str, ...]:
        """Return the output names that dynamic_axes may use."""
        if self.config.output_names is not None:
            return self.config.output_names
        return tuple(n for n in dynamic_axes or {} if n == "output" or n.startswith("output_"))

    def _write(self, traced: Traced, target: Path) -> ExportMetadata:
        config = self.config
        cases = verification_cases(traced.inputs, traced.bounds, traced.reference)
        cases = with_made_up(cases, traced.reference, (Refused,))
        cases = [_with_names(case, traced.names) for case in cases]
        with TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
            work = Path(folder) / "model.onnx"
            try:
                made = self._build(traced, work, cases)
            except OpsetError:
                if (older := scripted(traced)) is None:
                    raise
                self._log("export", "through TorchScript, whose exporter writes older opsets")
                made = self._build(older, work, cases)
            place_model(work, target, external=config.external_data)
        return _metadata(target, cases, made)

    def _build(self, traced: Traced, work: Path, cases: list[Case]) -> _Made:
        """Write, verify, optimize and convert a model in a scratch folder."""
        import onnx_ir as ir

        config = self.config
        self._log("export", f"opset {config.opset_version}")
        write_traced(traced, work, config.output_names, config.opset_version)
        nodes = count_nodes(ir.load(work))
        verifications = self._verify(work, cases, traced)
        reports: list[PassRecord] = []
        if config.optimize:
            chosen = named_passes(config.passes, exclude=config.exclude_passes)
            reports = optimize(work, chosen, cases, self._log)
        if convert_opset(work, config.opset_version):
            verifications = self._verify(work, cases, traced)
        return _Made(verifications, reports, nodes)

    def _verify(self, path: Path, cases: list[Case], traced: Traced) -> list[Verification]:
        if not self.config.verify_export:
            return []
        self._log("verify", f"at {len(cases)} sets of sizes")
        try:
            return verify_export(path, cases)
        except ExportError as error:
            where = explain(path, cases, traced.model)
            raise ExportError(f"{error}{where}") from error


def export_onnx(
    model: torch.nn.Module | ExportedProgram | torch.jit.ScriptModule,
    dummy_input: Any,
    path: str | Path,
    dynamic_axes: DynamicAxes | None = None,
    **options: Any,
) -> ExportMetadata:
    """Export a model in one call: `ONNXExporter(ONNXExportConfig(**options)).export(...)`.

    Raises:
        TypeError: An option that ONNXExportConfig lacks.
        OptimizerError: As ONNXExporter.export.
    """
    exporter = ONNXExporter(ONNXExportConfig(**options))
    return exporter.export(model, dummy_input, path, dynamic_axes)


def _with_names(case: Case, names: Mapping[str, str]) -> Case:
    """Return a case with the caller's names of its sizes."""
    return replace(case, sizes={names.get(key, key): size for key, size in case.sizes.items()})


def _metadata(path: Path, cases: list[Case], made: _Made) -> ExportMetadata:
    info = model_info(path)
    return ExportMetadata(
        path=str(path),
        verified=bool(made.verifications),
        opset=info.opset,
        nodes_before=made.nodes_before,
        nodes_after=info.nodes,
        passes=[report.model_dump() for report in made.passes],
        inputs=info.inputs,
        outputs=info.outputs,
        parameters=info.parameters,
        size_bytes=info.size_bytes,
        external_data=info.external_data[0] if info.external_data else None,
        verifications=[v.model_dump() for v in made.verifications],
        output_errors=_output_errors(path, cases) if made.verifications else [],
    )


def _output_errors(path: Path, cases: list[Case]) -> list[OutputError]:
    """Return each output's worst difference in the finished file."""
    session = OnnxSession(path)
    worst: dict[str, OutputError] = {}
    for case in cases:
        for found in compare(session, case):
            if not found.passed:
                raise ExportError(f"the finished file computes something else: {found.message}")
            before = worst.get(found.output)
            if before is None or found.max_abs_error > before["max_abs_error"]:
                worst[found.output] = OutputError(
                    output=found.output,
                    max_abs_error=found.max_abs_error,
                    tolerance=found.tolerance,
                )
    return list(worst.values())
