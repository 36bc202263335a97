"""The comparison with peers really runs: mopt beside ONNX Runtime's own tools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pieces import read

pytestmark = pytest.mark.optimizer

RUN = Path(__file__).parents[3] / "bench" / "optimizer" / "run.py"


def test_mopt_and_onnx_runtime_side_by_side(tmp_path: Path) -> None:
    record = tmp_path / "peers.jsonl"
    subprocess.run(
        [
            *(sys.executable, str(RUN), "--quick", "--tools", "mopt,ONNX Runtime"),
            *("--subjects", "super_resolution", "--gates", "forms", "--record", str(record)),
        ],
        check=True,
        timeout=900,
    )
    (line,) = read(record).values()
    rows = {(row["strategy"], row["tool"], row["detail"]): row for row in line["rows"]}
    assert {tool for _, tool, _ in rows} == {"mopt", "ONNX Runtime"}
    assert [row["error"] for row in rows.values() if row["error"]] == []
    assert all(row["speedup"]["median"] > 0 and row["seconds"] > 0 for row in rows.values())

    def psnr(strategy: str, tool: str) -> Any:
        return rows[strategy, tool, ""]["quality"]["Worst PSNR dB"]

    # The same ranges on the same photographs: what differs is only which nodes are quantized.
    assert psnr("Static INT8, MinMax", "mopt") == pytest.approx(
        psnr("Static INT8, MinMax", "ONNX Runtime"), abs=1.0
    )
    assert psnr("Graph passes", "mopt") > psnr("FP16", "mopt") > psnr("Dynamic INT8", "mopt")
    assert rows["Graph passes", "mopt", ""]["nodes"] < line["source"]["nodes"]
    assert rows["Static INT8, MinMax", "ONNX Runtime", ""]["against"]["size"] > 0
