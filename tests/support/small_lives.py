"""Specs of lives that are small enough to be tried in every way."""

from __future__ import annotations

from typing import Any

SHORTEST: dict[str, Any] = {
    "model": {"uri": "s3://models/m.onnx", "format": "ONNX", "sha256": "0" * 64},
    "inputs": [{"name": "x", "shape": [1, 3, 8, 8]}],
    "output": {"uri": "s3://out/m"},
}
TWO_TARGETS: dict[str, Any] = {
    **SHORTEST,
    "data": {"evaluation": {"uri": "s3://data/e/"}},
    "quality": [{"metric": "PSNR", "minimum": 40}],
    "benchmark": {"points": [{"name": "one"}, {"name": "four"}]},
    "targets": [{"name": "a"}, {"name": "b"}],
}
PUBLISH = {"oci": {"repository": "registry.test/m"}}
