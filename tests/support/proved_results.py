"""Measurements that a policy for good models refuses; arguments of `proved_image.publish`."""

from __future__ import annotations

import json
from typing import Any

from proved_image import measured


def with_plan(**changed: Any) -> dict[str, Any]:
    plan = measured().plan
    assert plan is not None
    return {"result": measured(plan=plan | changed)}


def other_data() -> dict[str, Any]:
    return {"result": measured(evaluationDigest=f"sha256:{'9' * 64}")}


def missed_gate() -> dict[str, Any]:
    return with_plan(quality=[{"metric": "PSNR", "minimum": 80}])


def no_gates() -> dict[str, Any]:
    return with_plan(quality=[])


def too_far_from_it() -> dict[str, Any]:
    """Its gate holds, but not the limit that the policy adds."""
    document = json.loads(json.dumps(measured().to_api()))
    for variant in document["variants"]:
        for quality in variant["quality"]:
            if quality["metric"] == "PSNR":
                quality |= {"worst": 34.5, "mean": 36.0}
    document["plan"]["quality"] = [{"metric": "PSNR", "minimum": 30}]
    return {"result": measured(**document)}
