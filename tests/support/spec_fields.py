"""Fields of spec as the cases of its rules write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
# Fields of spec that are accepted, others that are rejected, and the words of the rejection.
Case = tuple[Json, Json, str]
IMAGES = {"uri": "s3://data/images/"}
MODEL = {"uri": "s3://models/sr.pt2", "sha256": "a" * 64, "format": "ONNX"}
WEB = "https://models.example.com:8443/v1.0/net.onnx"
CLAIM = "pvc://models/sr/v1.0/..data/sr.pt2"
STORE = {"credentialsSecretRef": {"name": "store"}}
DIGEST = {"sha256": "a" * 64}
ZIP = "https://data.example.com/v1.0/pictures.zip"


def dimension(**size: int) -> Json:
    return {
        "dimensions": {
            "batch": {"min": 1, "opt": 1, "max": 4},
            "height": {"min": 32, "opt": 128, "max": 256} | size,
            "width": {"min": 32, "opt": 128, "max": 256},
        }
    }


def images(**transform: object) -> Json:
    return {"data": {"evaluation": IMAGES | {"images": transform}}}


def calibration(uri: str, **fields: object) -> Json:
    return {"data": {"calibration": {"uri": uri} | fields, "evaluation": IMAGES}}


def references(uri: str, samples: str = "s3://data/images/", **fields: object) -> Json:
    return {"data": {"evaluation": {"uri": samples, "references": {"uri": uri}} | fields}}


def archives(uri: str, truth: str, **fields: object) -> Json:
    source = {"uri": uri} | DIGEST
    return {"data": {"evaluation": source | fields | {"references": {"uri": truth} | DIGEST}}}


def variant(**fields: object) -> Json:
    plain = {"name": "a", "runtime": "ONNXRuntime", "precision": "FP32"}
    return {"variants": [plain | fields]}


def gates(*each: Json) -> Json:
    return {"quality": list(each), "data": {"evaluation": IMAGES}}


def gate(metric: str, **bounds: float | str) -> Json:
    return gates({"metric": metric} | bounds)


def int8(runtime: str = "ONNXRuntime", **quantization: object) -> Json:
    return variant(runtime=runtime, precision="INT8", quantization=quantization)


def points(*sizes: Json) -> list[Json]:
    return [{"name": f"p{n}", "dimensions": size} for n, size in enumerate(sizes)]


def inputs(*shapes: Sequence[int | str]) -> Json:
    return {"inputs": [{"name": f"x{n}", "shape": shape} for n, shape in enumerate(shapes)]}


def oci(**fields: object) -> Json:
    return {"publish": {"oci": {"repository": "registry.example/team/sr"} | fields}}


def constraints(*each: Json) -> Json:
    return {"objective": {"constraints": list(each)}}


def bounded(metric: str, maximum: int | float | str) -> Json:
    return {"metric": metric, "maximum": maximum}


P99 = bounded("LatencyP99", "50ms")
MEMORY = bounded("PeakMemory", "2Gi")
