"""Which CPUs the server opens a form on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_files import ModelFiles
from served_folders import write_folder

from mopt_api.auto.int8 import CpuClass
from mopt_api.enums import Precision, Runtime
from mopt_optimizer.errors import UnservableForm
from mopt_optimizer.server import opening
from mopt_optimizer.server.reading import Folder, described_in

pytestmark = pytest.mark.optimizer


@pytest.fixture
def folder(served_files: ModelFiles, tmp_path: Path) -> Folder:
    """INT8 that was made for a CPU with VNNI."""
    path = write_folder(tmp_path, served_files.int8, Runtime.ONNX_RUNTIME, Precision.INT8)
    described = json.loads((path / "mopt.json").read_text())
    described["options"]["wideSums"] = True
    (path / "mopt.json").write_text(json.dumps(described))
    return described_in(path)


def test_int8_that_would_overflow_is_refused(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "own_cpu_class", lambda: CpuClass.NARROW_X86)
    with pytest.raises(UnservableForm, match="this one adds them in 16, where they overflow"):
        opening.open_instances(folder, folder.serving(1, 1, 1), tmp_path)


@pytest.mark.parametrize("own", [CpuClass.WIDE_X86, CpuClass.OTHER])
def test_and_opened_on_cpus_that_add_in_32_bits(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: CpuClass
) -> None:
    monkeypatch.setattr(opening, "own_cpu_class", lambda: own)
    instances = opening.open_instances(folder, folder.serving(1, 1, 1), tmp_path)
    assert len(instances) == 1
