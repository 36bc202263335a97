"""The bill of materials: a CycloneDX ML-BOM of the facts that mopt has, and no others. Pure.

Written as plain JSON: cyclonedx-python-lib has no model cards yet. Its validator holds it to the
format in the tests.
"""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

from mopt_api.figures import QualityResult
from mopt_api.inputs import InputSpec
from mopt_api.jobs.gates import figure_name
from mopt_optimizer.digests import json_bytes

from .facts import Facts, hexadecimal

SPEC_VERSION = "1.6"
_MODEL, _SOURCE = "model", "source"


def bom(facts: Facts) -> bytes:
    """Return the bill of materials of an image, the same for the same facts.

    Raises:
        DataError: result.json is not that of the form, or cannot be read.
    """
    components = [_source(facts), *_data(facts), *_software(facts)]
    return json_bytes(
        {
            "bomFormat": "CycloneDX",
            "specVersion": SPEC_VERSION,
            "serialNumber": f"urn:uuid:{_serial(facts)}",
            "version": 1,
            "metadata": {
                **({"timestamp": at} if (at := facts.result.measured_at) else {}),
                "tools": {"components": [_tool(facts)]},
                "component": _model(facts),
            },
            "components": components,
            "dependencies": [
                {"ref": _MODEL, "dependsOn": [component["bom-ref"] for component in components]}
            ],
        }
    )


def _serial(facts: Facts) -> uuid.UUID:
    """Return a number of its own for each image and measurement; the same when made again."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{facts.repository}@{facts.subject}#{facts.form.result}")


def _model(facts: Facts) -> dict[str, Any]:
    variant = facts.variant
    files = [data.path for data in (variant.artifact and variant.artifact.external_data) or ()]
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": facts.resource.name,
        "version": facts.subject,
        "purl": _purl(facts),
        "hashes": [_hash(facts.form.artifact)],
        "modelCard": {
            "modelParameters": {
                "datasets": [{"ref": component["bom-ref"]} for component in _data(facts)],
                "inputs": [{"format": _shape(spec)} for spec in facts.inputs],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    metric for quality in variant.quality for metric in _metrics(quality)
                ]
            },
        },
        "pedigree": {"ancestors": [_source(facts) | {"bom-ref": "ancestor"}]},
        "properties": _properties(
            {
                "mopt:target": facts.form.target,
                "mopt:form": variant.name,
                "mopt:runtime": variant.runtime,
                "mopt:precision": variant.precision,
                "mopt:floatPrecision": variant.float_precision,
                "mopt:torchMode": variant.torch_mode,
                "mopt:files": " ".join(files) or None,
                "mopt:sizeBytes": variant.artifact and variant.artifact.size_bytes,
                "mopt:parameters": facts.result.source.parameters,
                "mopt:speedup": variant.speedup,
                "mopt:result": facts.form.result,
                "mopt:resource": f"{facts.resource.namespace}/{facts.resource.name}",
                "mopt:resourceUid": facts.resource.uid,
                "mopt:resourceGeneration": facts.resource.generation,
            }
        ),
    }


def _source(facts: Facts) -> dict[str, Any]:
    source = facts.result.source
    return {
        "type": "machine-learning-model",
        "bom-ref": _SOURCE,
        "name": f"source of {facts.resource.name}",
        "hashes": [_hash(f"sha256:{source.sha256}")],
        "properties": _properties(
            {"mopt:format": source.format, "mopt:sizeBytes": source.size_bytes}
        ),
    }


def _data(facts: Facts) -> list[dict[str, Any]]:
    result = facts.result
    digests = {
        "calibration": result.calibration_digest,
        "evaluation": result.evaluation_digest,
        "references": result.references_digest,
    }
    return [
        {
            "type": "data",
            "bom-ref": f"data-{name}",
            "name": name,
            "data": [_dataset(name, facts.uri(name))],
            # Over names, contents and what is done to them: no hash of a file.
            "properties": _properties({"mopt:dataDigest": digest}),
        }
        for name, digest in digests.items()
        if digest is not None
    ]


def _dataset(name: str, uri: str | None) -> dict[str, Any]:
    contents = {"contents": {"url": quote(uri, safe="/:@")}} if uri else {}
    return {"type": "dataset", "name": name, **contents}


def _software(facts: Facts) -> list[dict[str, Any]]:
    return [
        {"type": "library", "bom-ref": f"software-{name}", "name": name, "version": version}
        for name, version in sorted(facts.result.software.items())
        if name != "mopt"
    ]


def _tool(facts: Facts) -> dict[str, Any]:
    version = facts.result.software.get("mopt")
    return {"type": "application", "name": "mopt", **({"version": version} if version else {})}


def _purl(facts: Facts) -> str:
    """Return the image as package-url's type oci has it."""
    name = facts.repository.rpartition("/")[2]
    where = quote(facts.repository, safe="/")
    return f"pkg:oci/{name}@{quote(facts.subject, safe='')}?repository_url={where}"


def _shape(spec: InputSpec) -> str:
    return f"{spec.name}: {spec.dtype}[{', '.join(str(size) for size in spec.shape)}]"


def _metrics(quality: QualityResult) -> list[dict[str, str]]:
    name = figure_name(quality)
    values = {"worst sample": quality.worst, "mean of the samples": quality.mean}
    return [{"type": name, "value": repr(value), "slice": of} for of, value in values.items()]


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": hexadecimal(digest)}


def _properties(values: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"name": name, "value": str(value)} for name, value in values.items() if value is not None
    ]
