"""Which of mopt's own files a step's result depends on: all but what it never runs. Pure.

A new package bears on every step until it is listed here. That nothing is listed which a step runs
is held by tests/optimizer/stages/test_parts.py, which follows the imports.
"""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """The code of a step, as `software` names it beside mopt's whole."""

    EXPORT = "mopt-export"
    PROGRAM_FORMS = "mopt-program-forms"
    ONNX_FORMS = "mopt-onnx-forms"
    ENGINES = "mopt-engines"


_NEITHER = frozenset(
    {
        *("compare", "manager", "proofs", "publishing", "serving"),
        *("stages.measure", "stages.publish", "stages.report"),
    }
)
# Of quality, verifying takes the rule of what can be compared alone.
_METRICS = (
    *("channels", "comparison", "detections", "distance", "evaluating", "figure", "gating"),
    *("images", "metrics", "parts", "profile"),
)
_NEVER_RUN: dict[Part, frozenset[str]] = {
    Part.EXPORT: _NEITHER
    | {f"quality.{name}" for name in _METRICS}
    | {"forms", "onnx_quantization", "runtimes", "stages.engines", "timing"}
    | {"torch_quantization"},
    Part.PROGRAM_FORMS: _NEITHER | {"passes", "stages.engines"},
    Part.ONNX_FORMS: _NEITHER | {"export", "formats", "passes", "stages.engines"},
    Part.ENGINES: _NEITHER
    | {"export", "formats", "forms", "passes", "timing", "torch_quantization"},
}


def never_run(part: Part) -> frozenset[str]:
    """Return the packages and modules that a step never runs, as imported."""
    return frozenset(f"mopt_optimizer.{name}" for name in _NEVER_RUN[part])
