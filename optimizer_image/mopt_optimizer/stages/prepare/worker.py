"""The part of prepare that opens the model: local files only, no credentials."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopt_api.enums import ModelFormat
from mopt_api.jobs.prepare_result import Verification
from mopt_api.reasons import MAX_MESSAGE
from mopt_optimizer.data.decoding import open_samples
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.errors import ExportError, QuantizationError
from mopt_optimizer.formats.base import Source
from mopt_optimizer.formats.registry import source_format
from mopt_optimizer.forms.checking import Beside
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.make import make
from mopt_optimizer.forms.material import Material
from mopt_optimizer.onnx_files.files import count_operators, gather_weights
from mopt_optimizer.onnx_files.fingerprint import graph_digest
from mopt_optimizer.onnx_files.first_layer import first_layers
from mopt_optimizer.onnx_files.fixed_sizes import fix_sizes
from mopt_optimizer.onnx_files.opsets import opset, parameters
from mopt_optimizer.onnx_files.verified_inputs import smallest_inputs
from mopt_optimizer.onnx_files.verify import Case, verify_export
from mopt_optimizer.opening.loading import open_onnx
from mopt_optimizer.passes import named_passes
from mopt_optimizer.progress import Log, Timings
from mopt_optimizer.sandbox import serve
from mopt_optimizer.store.writing import replacing

from .messages import FP32_FILE, Exported, PrepareAnswer, PrepareRequest, Quantized

if TYPE_CHECKING:
    import onnx


def handle(payload: dict[str, Any], workdir: Path, log: Log) -> dict[str, Any]:
    """Export, verify, optimize the graph, make forms of reduced precision: what is asked of it.

    Raises:
        ModelError, DimensionError, BaselineError, ExportError, DiskError.
    """
    request = PrepareRequest.model_validate(payload)
    timings = Timings(log)
    samples = _samples(request)
    source = Source(_path(request), request.inputs, request.dimensions, workdir, timings, samples)
    exported, cases = None, list[Case]()
    if request.export:
        exported, cases = _export(request.model.format, source, log)
    elif any(form.from_program for form in request.forms):
        cases = source_format(request.model.format).cases(source)
    material = Material(
        fp32=workdir / FP32_FILE,
        source=source.path,
        samples=samples if request.calibrated else (),
        gates=request.quality,
        cases=cases,
        beside=Beside(smallest_inputs(request.inputs, request.dimensions, samples), samples),
    )
    quantized = _make_forms(request.forms, material, workdir, timings)
    answer = PrepareAnswer(exported=exported, quantized=quantized, seconds=timings.seconds)
    return answer.to_api()


def _path(request: PrepareRequest) -> Path:
    """Return the model file; where there is none, a name that nothing opens."""
    return Path(request.path or "")


def _export(kind: ModelFormat, source: Source, log: Log) -> tuple[Exported, list[Case]]:
    timings, fp32 = source.timings, source.workdir / FP32_FILE
    fp32.parent.mkdir()
    model, cases, verifications = _to_onnx(kind, source, fp32)
    # Before the passes: they fold BatchNormalization.
    layers = first_layers(model, fp32.parent)
    with timings.step("passes", "optimizing the graph, verifying each pass"):
        from mopt_optimizer.passes.running import optimize

        passes = optimize(fp32, named_passes(), cases, log)
        gather_weights(fp32)
    exported = Exported(
        opset=opset(model),
        parameters=parameters(model),
        file=FP32_FILE,
        first_layers=layers,
        verifications=verifications,
        passes=passes,
        seconds=round(sum(timings.seconds.values()), 3),
        operators=count_operators(fp32),
        graph=graph_digest(fp32),
    )
    return exported, cases


def _to_onnx(
    kind: ModelFormat, source: Source, target: Path
) -> tuple[onnx.ModelProto, list[Case], list[Verification]]:
    """Write the model as ONNX, its dimensions named as in the spec, and verify it."""
    cases = source_format(kind).to_onnx(source, target)
    words = f"comparing the ONNX model on {len(cases)} sets of inputs"
    with source.timings.step("verify", words):
        verifications = _with_fixed_sizes(target, source, cases) or verify_export(target, cases)
    # Read again: what counts is what was written.
    return open_onnx(target), cases, verifications


def _with_fixed_sizes(
    path: Path, source: Source, cases: Sequence[Case]
) -> list[Verification] | None:
    """Fix the sizes that the spec gives as numbers, where the model computes the same so.

    Returns:
        How it was verified; None where the file stays as it is.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    if not fix_sizes(model, source.inputs, source.dimensions):
        return None
    try:
        with replacing(path) as candidate:
            onnx.save(model, candidate)
            return verify_export(candidate, cases)
    except ExportError:
        # What a file says of its values may be true of other sizes alone.
        return None


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


def _samples(request: PrepareRequest) -> Sequence[Inputs]:
    found = request.samples
    if found is None:
        return ()
    return open_samples(
        found.names,
        [Path(file) for file in found.files],
        request.inputs,
        request.dimensions,
        found.images,
    )


if __name__ == "__main__":
    sys.exit(serve(handle))
