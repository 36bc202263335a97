"""Every YAML of the pages and examples is what the API server takes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import ROOT, SPEC_FIELDS, Block, blocks, is_chart_values

from mopt_api.spec import ModelOptimizationSpec
from mopt_cli.field_problems import problems

Json = dict[str, Any]

KIND = "ModelOptimization"
# What a part of a spec is put into.
BASE: Json = {
    "model": {"uri": "s3://models/m.onnx", "sha256": "0" * 64, "format": "ONNX"},
    "inputs": [{"name": "image", "shape": [1, 3, 64, 64]}],
    "data": {"evaluation": {"uri": "s3://data/evaluation/"}},
    "output": {"uri": "s3://optimized/m", "credentialsSecretRef": {"name": "store"}},
}


def specs(text: str) -> list[Json]:
    """Return the specs in a YAML text: of whole resources, and parts of one completed by BASE."""
    found = []
    for document in yaml.safe_load_all(text):
        if document.get("kind") == KIND:
            found.append(document["spec"])
        elif set(document) == {"spec"}:
            found.append(copy.deepcopy(BASE) | document["spec"])
        elif set(document) <= SPEC_FIELDS:
            found.append(copy.deepcopy(BASE) | document)
    return found


WRITTEN = [b for b in blocks("yaml") if not b.excerpt and specs(b.text)]
EXAMPLES = [
    path
    for path in sorted((ROOT / "examples").rglob("*.yaml"))
    if f"\nkind: {KIND}\n" in path.read_text()
]


@pytest.mark.parametrize("block", WRITTEN, ids=str)
def test_specs_of_the_pages_are_valid(block: Block) -> None:
    for spec in specs(block.text):
        assert problems(spec) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_are_valid(path: Path) -> None:
    found = specs(path.read_text())
    assert found
    for spec in found:
        assert problems(spec) == []
        parsed = ModelOptimizationSpec.model_validate(spec)
        assert parsed.targets or parsed.quality


def test_a_wrong_field_is_found() -> None:
    (spec,) = specs("quality:\n  - {metric: PSNR, minium: 40}\n")
    assert problems(spec)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_each_block_is_of_a_kind_that_is_tested(block: Block) -> None:
    """Specs here, the chart's values in tests/chart; else Kubernetes' own, or excerpts."""
    for document in yaml.safe_load_all(block.text):
        kubernetes = {"apiVersion", "kind"} <= set(document) or set(document) == {"rules"}
        assert block.excerpt or kubernetes or specs(block.text) or is_chart_values(document)
