"""The part of prepare that opens the model: local files only, no credentials."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopt_api.figures import SourceInfo
from mopt_api.jobs.prepare_result import PassReport, QuantizationReport, Verification

from mopt_api.base import ObservedModel
from mopt_api.enums import ModelFormat
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.plan import PlannedModel
from mopt_api.reasons import MAX_MESSAGE
from mopt_api.spec import QualityGate
from mopt_optimizer.data.folder import open_samples
from mopt_optimizer.data.images import Inputs
from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.export.program import (
    export_onnx,
    name_onnx_inputs,
    onnx_cases,
    opset,
    parameters,
    program_cases,
    upgraded,
    verify_export,
)
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.make import Material, make
from mopt_optimizer.onnx_files.files import (
    count_operators,
    gather_weights,
    needs_other_file,
    place_whole,
)
from mopt_optimizer.onnx_files.verify import Case
from mopt_optimizer.opening.inputs import check_inputs, onnx_inputs, program_inputs
from mopt_optimizer.opening.loading import (
    load_exported_program,
    load_onnx,
    load_torchscript,
    onnx_file,
    open_onnx,
)
from mopt_optimizer.progress import Log, Timings
from mopt_optimizer.sandbox import serve
from mopt_optimizer.stages.artifacts import ONNX_FILE

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# A folder for each form: the files that weights of large models lie in all have one name.
FP32_FILE = f"fp32/{ONNX_FILE}"


class CalibrationFiles(ObservedModel):
    """Calibration samples on the local disk; images says how those that are images are read."""

    names: list[str]
    files: list[str]
    images: ImageTransform


class PrepareRequest(ObservedModel):
    """What the child is asked: paths are local.

    Attributes:
        path: The model as it came; opened to export it, and for forms made from it. None where
            there is neither.
        export: Whether to make FP32_FILE in the folder. It is there already otherwise, where a
            form is made from it.
    """

    model: PlannedModel
    path: str | None = None
    export: bool = True
    inputs: list[InputSpec]
    dimensions: dict[str, DimensionRange]
    forms: list[Form]
    calibration: CalibrationFiles | None = None
    quality: list[QualityGate] = []


class Exported(ObservedModel):
    """The FP32 file in the folder, and how it came about."""

    source: SourceInfo
    file: str
    verifications: list[Verification]
    passes: list[PassReport]
    operators: dict[str, int]
    seconds: float


class Quantized(ObservedModel):
    """One form of reduced precision: a file in the folder, or why there is none."""

    name: str
    file: str | None = None
    error: str | None = None
    report: QuantizationReport | None = None
    seconds: float = 0.0


class PrepareAnswer(ObservedModel):
    """What the child made; files are in its folder."""

    exported: Exported | None = None
    quantized: list[Quantized]
    seconds: dict[str, float]


def handle(payload: dict[str, Any], workdir: Path, log: Log) -> dict[str, Any]:
    """Export, verify, optimize the graph, make forms of reduced precision: what is asked of it.

    Raises:
        ModelError, DimensionError, BaselineError, ExportError, DiskError.
    """
    request = PrepareRequest.model_validate(payload)
    timings = Timings(log)
    exported, cases = None, list[Case]()
    if request.export:
        exported, cases = _export(request, workdir, timings, log)
    elif any(form.of_torch for form in request.forms):
        _, _, cases = _open_program(request, workdir, timings)
    material = Material(
        fp32=workdir / FP32_FILE,
        source=_source(request),
        samples=_calibration(request),
        gates=request.quality,
        cases=cases,
    )
    quantized = _make_forms(request.forms, material, workdir, timings)
    answer = PrepareAnswer(exported=exported, quantized=quantized, seconds=timings.seconds)
    return answer.to_api()


def _source(request: PrepareRequest) -> Path:
    """Return the model file; where there is none, a name that nothing opens."""
    return Path(request.path or "")


def _export(
    request: PrepareRequest, workdir: Path, timings: Timings, log: Log
) -> tuple[Exported, list[Case]]:
    fp32 = workdir / FP32_FILE
    fp32.parent.mkdir()
    source, cases, verifications = _to_onnx(request, fp32, workdir, timings)
    with timings.step("passes", "optimizing the graph, verifying each pass"):
        from mopt_optimizer.passes import PASSES, optimize

        passes = optimize(fp32, PASSES, cases, log)
        gather_weights(fp32)
    exported = Exported(
        source=source,
        file=FP32_FILE,
        verifications=verifications,
        passes=passes,
        seconds=round(sum(timings.seconds.values()), 3),
        operators=count_operators(fp32),
    )
    return exported, cases


def _to_onnx(
    request: PrepareRequest, target: Path, workdir: Path, timings: Timings
) -> tuple[SourceInfo, list[Case], list[Verification]]:
    """Write the model as ONNX, its dimensions named as in the spec, and verify it."""
    if request.model.format is ModelFormat.EXPORTED_PROGRAM:
        cases = _export_program(request, target, workdir, timings)
    elif request.model.format is ModelFormat.TORCH_SCRIPT:
        cases = _export_script(request, target, workdir, timings)
    else:
        cases = _rewrite_onnx(request, target, workdir, timings)
    with timings.step("verify", f"comparing the ONNX model at {len(cases)} sets of sizes"):
        verifications = verify_export(target, cases)
    # Read again: what counts is what was written.
    model = open_onnx(target)
    source = SourceInfo(
        sha256=request.model.sha256,
        format=request.model.format,
        size_bytes=_source(request).stat().st_size,
        opset=opset(model),
        parameters=parameters(model),
    )
    return source, cases, verifications


def _open_program(
    request: PrepareRequest, workdir: Path, timings: Timings
) -> tuple[ExportedProgram, dict[str, str], list[Case]]:
    """Return a program, the spec's name of each of its symbols, and what it computes."""
    with timings.step("load", "inspecting and opening the program"):
        program = load_exported_program(_source(request), workdir)
        names = check_inputs(program_inputs(program), request.inputs, request.dimensions)
    with timings.step("reference", "running PyTorch eager at each set of sizes"):
        cases = program_cases(program, request.inputs, request.dimensions)
    return program, names, cases


def _export_program(
    request: PrepareRequest, target: Path, workdir: Path, timings: Timings
) -> list[Case]:
    program, names, cases = _open_program(request, workdir, timings)
    with timings.step("export", "exporting to ONNX"):
        export_onnx(program, target, names)
    return cases


def _export_script(
    request: PrepareRequest, target: Path, workdir: Path, timings: Timings
) -> list[Case]:
    from mopt_optimizer.formats.torchscript import export_script, script_cases, script_inputs

    with timings.step("load", "inspecting and opening the TorchScript module"):
        module = load_torchscript(_source(request), workdir)
        declared = request.inputs
        check_inputs(script_inputs(module, declared), declared, request.dimensions)
    with timings.step("reference", "running PyTorch eager at each set of sizes"):
        cases = script_cases(module, declared, request.dimensions)
    with timings.step("export", "exporting to ONNX"):
        export_script(module, target, declared, cases)
    return cases


def _rewrite_onnx(
    request: PrepareRequest, target: Path, workdir: Path, timings: Timings
) -> list[Case]:
    import onnx
    import onnx_ir as ir

    unpacked = workdir / "unpacked"
    with timings.step("load", "checking and opening the ONNX model"):
        path = onnx_file(_source(request), unpacked)
        # Beside other files only what an archive held: a single file refers to nothing.
        model = open_onnx(path) if unpacked.exists() else load_onnx(path)
        check_inputs(onnx_inputs(model), request.inputs, request.dimensions)
    with timings.step("reference", "running ONNX Runtime, unoptimized, at each set of sizes"):
        cases = onnx_cases(path, request.inputs, request.dimensions)
    with timings.step("export", "naming the dimensions"):
        model = upgraded(model)
        name_onnx_inputs(model, request.inputs)
        if unpacked.exists() or needs_other_file(ir.serde.deserialize_model(model)):
            place_whole(model, path.parent, target)
        else:
            onnx.save(model, target)
    shutil.rmtree(unpacked, ignore_errors=True)
    return cases


def _make_forms(
    forms: Sequence[Form], material: Material, workdir: Path, timings: Timings
) -> list[Quantized]:
    """Return one result per form; a failure is that form's alone."""
    results = []
    for form in forms:
        name = form.name(material.gates)
        file = f"{name}/model{form.suffix}"
        words = f"making {name}"
        if form.needs_samples:
            words = f"calibrating on {len(material.samples)} samples and quantizing"
        (workdir / file).parent.mkdir()
        with timings.step(name, words):
            result = _made(name, file, form, material, workdir)
        results.append(result.model_copy(update={"seconds": timings.seconds[name]}))
    return results


def _made(name: str, file: str, form: Form, material: Material, workdir: Path) -> Quantized:
    try:
        report = make(form, material, workdir / file)
    except QuantizationError as error:
        return Quantized(name=name, error=str(error)[:MAX_MESSAGE])
    return Quantized(name=name, file=file, report=report)


def _calibration(request: PrepareRequest) -> Sequence[Inputs]:
    calibration = request.calibration
    if calibration is None:
        return []
    return open_samples(
        calibration.names,
        [Path(file) for file in calibration.files],
        request.inputs,
        request.dimensions,
        calibration.images,
    )


if __name__ == "__main__":
    sys.exit(serve(handle))
