"""docs/optimizer/exporter.md runs as written; passes.md lists what the passes really do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import srvgg
import torch
from build import WEIGHTS, weights_directory
from torch import nn

from mopt_optimizer.export import ONNXExporter
from mopt_optimizer.passes import available_passes

from .conftest import Upscaler

pytestmark = pytest.mark.optimizer

DOCS = Path(__file__).parents[3] / "docs" / "optimizer"
AXES = {"input": {0: "batch", 2: "height", 3: "width"}}


def _super_resolution() -> nn.Module:
    folder = weights_directory()
    return srvgg.load(folder / f"{WEIGHTS}.param", folder / f"{WEIGHTS}.bin")


class Classifier(nn.Module):
    """An image classifier as they are written: Conv, BatchNorm, HardSwish, pooling, Linear."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.ZeroPad2d(1),
            nn.Conv2d(3, 8, 3, stride=2),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(16, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.features(image * 2 - 1).flatten(1))
        return scores


class Encoder(nn.Module):
    """One transformer layer, its layer normalization written out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))
        self.scale = nn.Parameter(torch.rand(32))
        self.offset = nn.Parameter(torch.rand(32))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        parts = (
            layer(states).unflatten(-1, (4, 8)) for layer in (self.query, self.key, self.value)
        )
        query, key, value = (part.transpose(1, 2) for part in parts)
        weights = (query @ key.transpose(-1, -2) / 8**0.5).softmax(-1)
        mixed = states + (weights @ value).transpose(1, 2).flatten(2)
        centred = mixed - mixed.mean(-1, keepdim=True)
        spread = (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        result: torch.Tensor = centred / spread * self.scale + self.offset
        return result


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    document = DOCS / "exporter.md"
    blocks = re.findall(r"^```python\n(.*?)^```", document.read_text(), re.S | re.M)
    assert len(blocks) >= 5
    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks), str(document), "exec"), names)  # noqa: S102
    assert names["metadata"]["verified"]


def test_passes_that_fire_are_listed(tmp_path: Path) -> None:
    """Shows the table to put into the document where it is another."""
    examples = {
        "super_resolution": (_super_resolution(), torch.rand(1, 3, 16, 20), AXES),
        "upscaler": (Upscaler(), torch.rand(1, 3, 8, 8), AXES),
        "classifier": (Classifier(), torch.rand(1, 3, 16, 16), {"input": {0: "batch"}}),
        "encoder": (Encoder(), torch.rand(1, 6, 32), {"input": {0: "batch", 1: "length"}}),
    }
    fired: dict[str, dict[str, str]] = {}
    totals = []
    for name, (model, example, axes) in examples.items():
        metadata = ONNXExporter().export(model, example, tmp_path / f"{name}.onnx", axes)
        totals.append(f"{metadata['nodes_before']} → {metadata['nodes_after']}")
        for report in metadata["passes"]:
            assert report["outcome"] != "RolledBack", report
            if report["outcome"] == "Kept":
                gone = report["nodes_before"] - report["nodes_after"]
                fired.setdefault(report["name"], {})[name] = f"-{gone}" if gone else "weights"
    lines = [f"| Pass | {' | '.join(examples)} |", f"|---|{'---:|' * len(examples)}"]
    for one in available_passes():
        if one in fired:
            cells = (fired[one].get(name, "") for name in examples)
            lines.append(f"| `{one}` | {' | '.join(cells)} |")
    lines.append(f"| All, nodes | {' | '.join(totals)} |")
    table = "\n".join(lines)
    assert table in (DOCS / "passes.md").read_text(), f"\n{table}\n"


def test_every_pass_is_described() -> None:
    listed = re.findall(r"^\| `(\w+)` \| \w.* \|$", (DOCS / "passes.md").read_text(), re.M)
    described = [name for name in listed if name in available_passes()]
    assert sorted({*described}) == sorted(available_passes())
