"""The order in which a binary is looked for; no network, no Go."""

from pathlib import Path

import pytest

from devcluster.errors import ToolError
from devcluster.resolving import binary, cached_path
from devcluster.tools import TOOLS


def script(folder: Path, name: str, output: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)


def test_assets_win_over_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assets = script(tmp_path / "assets", "kubelet", "Kubernetes v1.34.1")
    script(tmp_path / "path", "kubelet", "Kubernetes v1.34.4")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert binary("kubelet") == assets


def test_misfit_in_assets_gives_way_to_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script(tmp_path / "assets", "kubelet", "Kubernetes v1.31.0")
    on_path = script(tmp_path / "path", "kubelet", "Kubernetes v1.34.4")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert binary("kubelet") == on_path


def test_cache_is_used_when_path_does_not_fit(tmp_path: Path) -> None:
    script(tmp_path / "path", "kubelet", "Kubernetes v1.35.0")
    cached = cached_path(TOOLS["kubelet"])
    script(cached.parent, cached.name, "never asked")
    assert binary("kubelet") == cached


def test_cache_name_carries_the_version(tmp_path: Path) -> None:
    assert cached_path(TOOLS["etcd"]) == tmp_path / "cache/mopt/bin/etcd-3.6.16"


def test_foreign_program_called_pause_is_not_ours(tmp_path: Path) -> None:
    script(tmp_path / "path", "pause", "1.0.0")
    cached = cached_path(TOOLS["pause"])
    script(cached.parent, cached.name, "")
    assert binary("pause") == cached


def test_missing_go_is_said_plainly() -> None:
    with pytest.raises(ToolError, match="pause must be built and Go is not on PATH; install Go"):
        binary("pause")


def test_old_go_is_said_plainly(tmp_path: Path) -> None:
    script(tmp_path / "path", "go", "go1.15.2")
    with pytest.raises(ToolError, match=r"go1\.15\.2 is too old; install Go 1\.21 or newer"):
        binary("pause")
    assert not cached_path(TOOLS["pause"]).exists()
