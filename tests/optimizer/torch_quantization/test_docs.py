"""The examples in docs/optimizer/quantizer.md run, in order, as one program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.optimizer

DOCUMENT = Path(__file__).parents[3] / "docs" / "optimizer" / "quantizer.md"


def test_examples() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.S | re.M)
    assert len(blocks) >= 9
    program = compile("\n".join(blocks), str(DOCUMENT), "exec")
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102
    assert names["static"].compiled
    assert names["static"].report.quantized == ("0", "5", "7")
    assert names["result"].size_reduction_percent != 0
