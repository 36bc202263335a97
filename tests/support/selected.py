"""ModelOptimizations with something to serve, as the API server shows them."""

from __future__ import annotations

from typing import Any

REPOSITORY = "registry.example/team/sr"
OUTPUT = "s3://bucket/out"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def uri(number: int, output: str = OUTPUT) -> str:
    return f"{output}/blobs/sha256/{number:064x}"


def artifact(number: int, **fields: Any) -> dict[str, Any]:
    """Return what to serve, as status has it."""
    return {
        "digest": digest(number),
        "sizeBytes": 10,
        "format": "ONNX",
        "uri": uri(number),
        "variant": f"variant-{number}",
        "runtime": "ONNXRuntime",
        "precision": "INT8",
        "report": digest(900),
        "generation": 4,
        "time": "2026-11-20T10:00:00Z",
    } | fields


def published(number: int) -> dict[str, Any]:
    """Return what was published of a form."""
    return {
        "reference": f"{REPOSITORY}@{digest(500 + number)}",
        "index": f"{REPOSITORY}@{digest(700)}",
        "tags": ["latest"],
        "signed": False,
        "artifact": digest(number),
        "key": "k",
        "time": "2026-11-20T10:05:00Z",
    }


def record(number: int, target: str = "default", **fields: Any) -> dict[str, Any]:
    """Return a selection in status.history."""
    return {
        "target": target,
        "selected": f"variant-{number}",
        "artifact": digest(number),
        "uri": uri(number),
        "published": f"{REPOSITORY}@{digest(500 + number)}",
        "report": digest(800 + number),
        "generation": number,
        "time": f"2026-11-{number:02}T10:00:00Z",
    } | fields


def target(name: str = "default", **fields: Any) -> dict[str, Any]:
    """Return a target's status."""
    return {
        "name": name,
        "hardware": {"cpu": "Test CPU", "threads": 2},
        "report": {"digest": digest(900), "uri": uri(900)},
    } | fields


def resource(
    *targets: dict[str, Any],
    name: str = "sr",
    history: list[dict[str, Any]] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Return a resource that is done."""
    return {
        "apiVersion": "mopt.dev/v1alpha1",
        "kind": "ModelOptimization",
        "metadata": {"name": name, "namespace": "team", "generation": 4, "uid": f"uid-{name}"},
        "spec": {"output": {"uri": OUTPUT}},
        "status": {
            "observedGeneration": 4,
            "targets": list(targets),
            "history": history or [],
        },
    } | fields
