"""The keys of the steps of prepare and of engines: what each result depends on. Pure."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Collection, Mapping
from typing import Any

from mopt_api.enums import ModelFormat, Precision, TargetKind
from mopt_api.jobs.plan import PreparePlan, fallback_gates
from mopt_api.spec import QualityGate
from mopt_optimizer.forms.form import FP32, Form
from mopt_optimizer.forms.registry import MAKERS
from mopt_optimizer.machine.versions import PRODUCT, installed_version, product_version
from mopt_optimizer.passes import available_passes

from .parts import Part, never_run

REQUESTED_AT_VARIABLE = "MOPT_REQUESTED_AT"
"""The mopt.dev/requestedAt annotation in a Job's environment; part of every key."""

# Raised where what lies under a key is written otherwise; see docs/optimizer/cache.md.
_FORMAT = 9
# These bear on everything, and mopt itself by a digest of the files that a step runs.
_ALWAYS = ("python", "machine", "numpy")
_EXPORT = ("onnx", "onnx-ir", "onnxscript", "onnxruntime")
_PROGRAM = ("torch",)
_SAMPLES, _SEARCH = "pillow", "scikit-image"


def software_versions() -> dict[str, str]:
    """Return the versions that the result depends on, without importing the libraries."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    made_by = {tool for maker in MAKERS.values() for tool in maker.tools}
    found |= {part.value: product_version(never_run(part)) for part in Part}
    for package in sorted(
        {PRODUCT, *_ALWAYS, *_EXPORT, *_PROGRAM, _SAMPLES, _SEARCH, *made_by} - {*found}
    ):
        if (version := installed_version(package, f"{package}-gpu")) is not None:
            found[package] = version
    return found


def manifest_key(
    plan: PreparePlan,
    calibration_digest: str | None,
    software: Mapping[str, str],
    requested_at: str | None = None,
    *,
    warm: bool = False,
) -> str:
    """Return the index name of a plan's manifest: equal where everything that it depends on is.

    Where the model and the images lie does not matter, what they are does.

    Args:
        warm: It was made by what other weights answered to the plan's question. Others answer every
            question.
    """
    document = plan.to_api()
    del document["outputUri"], document["model"]["uri"]
    if not warm:
        document.pop("question", None)
    for data in ("calibration", "evaluation"):
        document.pop(data, None)
    document |= {"calibrationDigest": calibration_digest, "software": dict(software)}
    return _name("prepare", document, requested_at)


def history_key(graph: str, question: str, kind: TargetKind, software: Mapping[str, str]) -> str:
    """Return the beginning of the index names of a graph's measurements; see history.

    Args:
        graph: Its digest; see onnx_files.fingerprint.
        question: See mopt_api.jobs.question.
        software: Of the prepare Job.
    """
    document = {"graph": graph, "question": question, "kind": kind, "software": dict(software)}
    return _name("history", document, None)


def export_key(
    plan: PreparePlan,
    software: Mapping[str, str],
    requested_at: str | None = None,
    *,
    samples: str | None = None,
) -> str:
    """Return the index name of the FP32 file of a plan's model.

    Args:
        samples: The digest of those that it is verified on; None where there are none.
    """
    tools = _EXPORT if plan.model.format is ModelFormat.ONNX else (*_EXPORT, *_PROGRAM)
    document = {**_model(plan), "passes": available_passes(), "samples": samples}
    if samples:
        tools = (*tools, _SAMPLES)
    return _name(f"step-{FP32}", document | _tools(Part.EXPORT, tools, software), requested_at)


def form_key(
    form: Form,
    plan: PreparePlan,
    *,
    fp32: str | None,
    samples: str | None,
    software: Mapping[str, str],
    requested_at: str | None = None,
) -> str:
    """Return the index name of a form.

    Args:
        fp32: What identifies the FP32 file, which forms of ONNX are made from.
        samples: The digest of those that it is made from and tried on; None where there are none.
    """
    gates = form_gates(form, plan.quality)
    tools = list(form.maker.tools)
    if samples:
        tools.append(_SAMPLES)
    if gates:
        tools.append(_SEARCH)
    document: dict[str, Any] = {
        "kind": form.kind,
        "name": form.name(plan.quality),
        "exclude": sorted(set(form.quantization.exclude)),
        "gates": [gate.to_api() for gate in gates],
        "samples": samples,
    }
    if form.aims:
        document["aims"] = [aim.to_api() for aim in form.aims]
    if form.start and gates:
        document["start"] = form.start
    if form.from_program:
        document |= _model(plan)
    else:
        # A form is tried at the smallest sizes before it is stored.
        document |= {"fp32": fp32, "tried": {n: size.min for n, size in plan.dimensions.items()}}
    part = Part.PROGRAM_FORMS if form.from_program else Part.ONNX_FORMS
    return _name("step-form", document | _tools(part, tools, software), requested_at)


def engine_key(
    onnx: str,
    *,
    precision: Precision,
    shapes: Mapping[str, Any],
    compute_capabilities: Collection[str],
    tensorrt: str,
    software: Mapping[str, str],
    requested_at: str | None = None,
) -> str:
    """Return the index name of an engine.

    Args:
        onnx: What identifies the typed file that it is built from: the model, the data and the
            variant's options are in it.
        shapes: As TensorRT takes them.
        compute_capabilities: GPUs that it is built for.
        tensorrt: Which one builds, with its version.
    """
    document = {
        "onnx": onnx,
        "precision": precision,
        "shapes": {name: [list(shape) for shape in shapes[name]] for name in shapes},
        "computeCapabilities": sorted(compute_capabilities),
        "tensorrt": tensorrt,
    }
    return _name("step-engine", document | _tools(Part.ENGINES, ("onnx",), software), requested_at)


def form_gates(form: Form, gates: list[QualityGate]) -> list[QualityGate]:
    """Return the gates that affect a form: other gates would give another file."""
    return fallback_gates(form.quantization, gates) if form.gated else []


def _model(plan: PreparePlan) -> dict[str, Any]:
    """Return what identifies the model as it is served: its bytes, inputs and sizes."""
    document = plan.to_api()
    model = {name: document["model"][name] for name in ("sha256", "format")}
    return {"model": model, "inputs": document["inputs"], "dimensions": document["dimensions"]}


def _tools(part: Part, names: Collection[str], software: Mapping[str, str]) -> dict[str, Any]:
    return {"software": {name: software.get(name) for name in (part.value, *_ALWAYS, *names)}}


def _name(kind: str, document: Mapping[str, Any], requested_at: str | None) -> str:
    # Whoever asks anew is served nothing that was made before.
    asked = {"requestedAt": requested_at} if requested_at else {}
    parts = {"format": _FORMAT, **document, **asked}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()}"
