"""What people train: each form that passes is recomputed from its file by plain runtimes."""

from __future__ import annotations

from pathlib import Path

import pytest
from architectures import ARCHITECTURES

from .measured import recompute
from .prepared import forms_of

QUICK = ("tabular", "causal")


def check(name: str, folder: Path, forms: tuple[str, ...]) -> None:
    found = recompute(name, folder, forms)
    assert {one.variant for one in found} >= {"onnxruntime-fp32", "openvino-fp32"}
    assert not [one for one in found if one.wrong]
    assert not [one for one in found if "fp32" in one.variant and one.rejected]


@pytest.mark.optimizer
@pytest.mark.parametrize("name", QUICK)
def test_fp32_and_int8(name: str, tmp_path: Path) -> None:
    check(name, tmp_path, ("int8",))


@pytest.mark.conformance
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_form(name: str, tmp_path: Path) -> None:
    check(name, tmp_path, forms_of(name))
