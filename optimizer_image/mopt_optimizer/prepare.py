"""The prepare stage: store I/O and decisions; the model itself is opened in a child process."""

from __future__ import annotations

import hashlib
import json
import platform
import signal
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from mopt_api.candidates import contenders
from mopt_api.plan import Credentials, PreparePlan
from mopt_api.result import (
    PreparedArtifact,
    PrepareResult,
)

from ._child import ChildDied, MemoryExceeded, run_child
from ._errors import DigestMismatch, ModelError, OptimizerError
from ._prepare_child import CalibrationFiles, PrepareAnswer, PrepareRequest
from ._progress import Log, Timings
from .artifacts import intact, put_model
from .assigning import assign, unfit
from .blobs import Blobs
from .forms import FP32, Form, form_of
from .hardware import System
from .images import Samples
from .samples import load_data
from .scratch import check_scratch
from .sources import MODEL_SUFFIXES
from .store import open_store
from .verifying import THREADS_VARIABLE

# Raised when the same plan would give another manifest.
_FORMAT = 5
_PACKAGES = (
    "mopt",
    "torch",
    "torchao",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnx-ir",
    "openvino",
    "nncf",
)
_CHILD = "mopt_optimizer._prepare_child"


def prepare(
    plan: PreparePlan, environ: Mapping[str, str], workdir: Path, log: Log
) -> tuple[PrepareResult, str]:
    """Make the forms of a model that measure Jobs start from, or find them in the store.

    Args:
        environ: Holds the store credentials; see open_store.
        workdir: Scratch space for several copies of the model.

    Returns:
        The manifest, and its digest in the output store.

    Raises:
        OptimizerError: Any of them, each with its condition reason.
    """
    timings = Timings(log)
    store, prefix = open_store(plan.output_uri, Credentials.OUTPUT, environ)
    blobs = Blobs(store, prefix)
    with TemporaryDirectory(dir=workdir, prefix="prepare-") as folder:
        scratch = Path(folder)
        with timings.step("fetch", f"fetching {plan.model.uri}"):
            model = _fetch_model(plan, environ, scratch)
        samples = None
        if plan.calibration and any(form.uses_samples for form in _forms(plan)):
            with timings.step("calibration-data", f"fetching samples of {plan.calibration.uri}"):
                samples = load_data(
                    plan.calibration,
                    Credentials.CALIBRATION,
                    plan.inputs,
                    plan.dimensions,
                    scratch,
                    environ,
                )
        software = software_versions()
        key = content_key(plan, samples.digest if samples else None, software)
        if found := _stored(blobs, key):
            log("prepare", "served from the store", digest=found[1])
            return found
        answer = _open_model(plan, model, samples, scratch, environ)
        timings.seconds |= answer.seconds
        with timings.step("upload", f"storing under {plan.output_uri}"):
            result = _upload(plan, answer, samples, blobs, scratch, software, timings)
            digest = blobs.put_bytes(manifest_bytes(result))
            blobs.index_put(key, digest)
    log("prepare", "done", digest=digest)
    return result, digest


def software_versions() -> dict[str, str]:
    """Return the versions that the result depends on, without importing the libraries."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        for distribution in (package, f"{package}-gpu"):
            try:
                found[package] = metadata.version(distribution)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


def content_key(
    plan: PreparePlan, calibration_digest: str | None, software: Mapping[str, str]
) -> str:
    """Return the index name of a plan's manifest: equal where everything that it depends on is.

    Where the model and the images lie does not matter, what they are does.
    """
    document = plan.to_api()
    del document["outputUri"], document["model"]["uri"]
    document.pop("calibration", None)
    document |= {
        "format": _FORMAT,
        "calibrationDigest": calibration_digest,
        "software": dict(software),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return f"prepare-{hashlib.sha256(text.encode()).hexdigest()}"


def manifest_bytes(result: PrepareResult) -> bytes:
    """Return a manifest as it is stored."""
    return json.dumps(result.to_api(), sort_keys=True, indent=1).encode()


def scratch_bytes(model_bytes: int, quantizations: int) -> int:
    """Return the least scratch space that preparing takes: the file, its ONNX form and a copy of
    that while it is rewritten; then, without the copy, INT8 forms and the weights they share."""
    return max(3 * model_bytes, 2 * model_bytes + (quantizations + 1) * model_bytes // 4)


def _fetch_model(plan: PreparePlan, environ: Mapping[str, str], scratch: Path) -> Path:
    store, key = open_store(plan.model.uri, Credentials.MODEL, environ)
    path = scratch / f"model{MODEL_SUFFIXES[plan.model.format]}"
    needed = scratch_bytes(store.size(key) or 0, len(_forms(plan)))
    check_scratch(needed, scratch, environ, f"preparing {plan.model.uri}")
    found = store.fetch(key, path)
    if found != plan.model.sha256:
        raise DigestMismatch(
            f"{plan.model.uri} has sha256 {found}, spec.model.sha256 is {plan.model.sha256}"
        )
    return path


def _stored(blobs: Blobs, key: str) -> tuple[PrepareResult, str] | None:
    """Return a manifest computed before, if it and all that it names are still there."""
    digest = blobs.index_get(key)
    if digest is None:
        return None
    try:
        result = PrepareResult.model_validate_json(blobs.read(digest))
    except ValidationError:
        return None  # written by another version: computed again
    whole = all(intact(blobs, prepared.artifact) for prepared in result.artifacts)
    return (result, digest) if whole else None


def _forms(plan: PreparePlan) -> list[Form]:
    """Return the forms that the variants run, each once."""
    wanted = (form_of(v) for v in plan.variants if unfit(v, plan.model.format) is None)
    return list({form.name(plan.quality): form for form in wanted if form}.values())


def _open_model(
    plan: PreparePlan,
    model: Path,
    samples: Samples | None,
    scratch: Path,
    environ: Mapping[str, str],
) -> PrepareAnswer:
    calibration = samples and CalibrationFiles(
        names=samples.names,
        files=[str(file) for file in samples.files],
        images=plan.calibration.images if plan.calibration else None,
    )
    request = PrepareRequest(
        model=plan.model,
        path=str(model),
        inputs=plan.inputs,
        dimensions=plan.dimensions,
        forms=[form for form in _forms(plan) if samples or not form.needs_samples],
        calibration=calibration,
        quality=plan.quality,
        search=plan.search,
    )
    threads = System().hardware(environ).threads or 1
    limited = {**environ, THREADS_VARIABLE: str(threads)}
    try:
        answer = run_child(_CHILD, request.to_api(), scratch, environ=limited)
    except ChildDied as error:
        raise death(error) from error
    return PrepareAnswer.model_validate(answer)


def death(error: ChildDied) -> OptimizerError:
    """Return what the end of the process that opens the model says about the model."""
    message = f"the process that opened the model {error.how()}"
    if error.returncode == -signal.SIGKILL:
        return MemoryExceeded(f"{message}: it needed more memory than the limit")
    return ModelError(message) if error.returncode < 0 else OptimizerError(message)


def _upload(
    plan: PreparePlan,
    answer: PrepareAnswer,
    samples: Samples | None,
    blobs: Blobs,
    scratch: Path,
    software: dict[str, str],
    timings: Timings,
) -> PrepareResult:
    """Store the files and return the manifest that names them."""
    files = {FP32: answer.file} | {q.name: q.file for q in answer.quantized if q.file}
    artifacts = [
        PreparedArtifact(name=name, artifact=put_model(blobs, scratch / file))
        for name, file in files.items()
    ]
    variants = plan.variants
    if plan.search is not None:
        facts = plan.search.model_copy(update={"operators": answer.operators})
        left = {variant.name for variant in contenders(facts)}
        variants = [variant for variant in variants if variant.name in left]
    mapping, skipped = assign(
        variants,
        plan.model.format,
        answer.quantized,
        calibrated=samples is not None,
        gates=plan.quality,
    )
    return PrepareResult(
        source=answer.source,
        artifacts=artifacts,
        variant_artifacts=mapping,
        skipped=skipped,
        verifications=answer.verifications,
        passes=answer.passes,
        operators=answer.operators,
        calibration_digest=samples.digest if samples else None,
        calibration_samples=len(samples.names) if samples else None,
        quantizations=[q.report for q in answer.quantized if q.report],
        software=software,
        seconds=dict(timings.seconds),
    )
