"""The examples in docs/optimizer/onnx-int8.md run, in order, as one program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytestmark = pytest.mark.optimizer

DOCUMENT = Path(__file__).parents[3] / "docs" / "optimizer" / "onnx-int8.md"


def test_examples(
    network: Path,
    samples: list[dict[str, NDArray[np.float32]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(network.parent)
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.S | re.M)
    names: dict[str, Any] = {"calibration": samples, "evaluation": samples[:1]}
    exec(compile("\n".join(blocks), str(DOCUMENT), "exec"), names)  # noqa: S102
    written = {path.name for path in network.parent.iterdir()}
    assert written == {
        "model.onnx",
        "int8.onnx",
        "gated.onnx",
        "dynamic.onnx",
        "weights.onnx",
        "fp16.onnx",
        "nncf.xml",
        "nncf.bin",
    }
    assert names["report"].verified_with == "ONNX Runtime"
