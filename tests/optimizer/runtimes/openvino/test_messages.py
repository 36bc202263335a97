"""OpenVINO's reports as one line about the model."""

from __future__ import annotations

import pytest

from mopt_optimizer.runtimes.openvino.messages import essence

UNCONVERTED = """Check 'false' failed at src/frontends/common_translators/src/report.cpp:151:
FrontEnd API failed with OpConversionFailure:
Model wasn't fully converted.
Summary:
-- No conversion rule found for operations: ai.onnx.ml.LabelEncoder
"""
UNSUPPORTED = """Exception from src/inference/src/cpp/core.cpp:131:
Exception from src/plugins/intel_cpu/src/nodes/interpolate.cpp:2513:
[CPU] Interpolate node with name 'up' only supports resize on spatial dimensions
"""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            UNCONVERTED,
            "Model wasn't fully converted. No conversion rule found for operations: "
            "ai.onnx.ml.LabelEncoder",
        ),
        (
            UNSUPPORTED,
            "[CPU] Interpolate node with name 'up' only supports resize on spatial dimensions",
        ),
        ("Exception from a.cpp:1: short", "short"),
        ("", "RuntimeError"),
    ],
)
def test_one_line_about_the_model(message: str, expected: str) -> None:
    assert essence(RuntimeError(message)) == expected
