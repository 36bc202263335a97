"""What the tests of Jobs' manifests make Jobs of, and what they read in them."""

from __future__ import annotations

import json
from typing import Any

from mopt_api.spec import ModelOptimizationSpec, Output
from mopt_operator.config.settings import Settings, parse_settings
from mopt_operator.objects import Resource

RESOURCE = Resource("team", "sr", "uid-1", 3, "7", {}, {}, requested_at="2026-11-01")
PREPARED = f"sha256:{'b' * 64}"
SECRET_KEYS = {
    "AWS_ACCESS_KEY_ID": False,
    "AWS_SECRET_ACCESS_KEY": False,
    "AWS_SESSION_TOKEN": True,
    "AWS_ENDPOINT_URL": True,
    "AWS_REGION": True,
    "ca.crt": True,
}


def spec(**fields: object) -> ModelOptimizationSpec:
    return ModelOptimizationSpec.model_validate(
        {
            "model": {"uri": "s3://models/m.onnx", "sha256": "a" * 64, "format": "ONNX"},
            "inputs": [{"name": "x", "shape": [1, 3, 8, 8]}],
            "data": {
                "calibration": {
                    "uri": "s3://data/c/",
                    "credentialsSecretRef": {"name": "calibration"},
                },
                "evaluation": {"uri": "s3://data/e/"},
            },
        }
        | fields
    )


def output(named: str | None = "store") -> Output:
    reference = {"credentialsSecretRef": {"name": named}} if named else {}
    return Output.model_validate({"uri": "s3://out/sr"} | reference)


def gpu_settings() -> Settings:
    """Return settings with a profile that sets all that a Pod can have of it."""
    profile = {
        "nodeSelector": {"kind": "gpu", "zone": "a"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "resources": {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": 1}},
        "serviceAccountName": "jobs",
        "runtimeClassName": "nvidia",
        "priorityClassName": "low",
        "scratchSize": "20Gi",
    }
    return parse_settings(
        json.dumps(
            {
                "optimizerImage": "mopt/optimizer:1",
                "imagePullSecrets": [{"name": "registry"}],
                "profiles": {"default": {}, "gpu": profile},
            }
        )
    )


def variables(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in container["env"]}
