"""`make dist` whole: two clones, the same digests; a signature that cosign verifies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devcluster.resolving import binaries
from mopt_api.version import VERSION
from release.errors import ReleaseError
from release.sums import SIGNATURE, SUMS, sign, write_sums

from .conftest import clone


def release(root: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / "hack" / "release", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "COSIGN_KEY"},
    )


@pytest.mark.cluster
def test_two_clones_give_the_same_digests(tmp_path: Path) -> None:
    sums = []
    for place in ("one", "another/place"):
        root = clone(tmp_path / place)
        done = release(root, "build")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith("not signed: no key")
        checked = ["sha256sum", "--check", "--strict", "--quiet", SUMS]
        subprocess.run(checked, cwd=root / "dist", check=True)
        sums.append((root / "dist" / SUMS).read_text())
    assert sums[0] == sums[1]
    assert {line.split()[1] for line in sums[0].splitlines()} == {
        f"mopt-{VERSION}-py3-none-any.whl",
        f"mopt-{VERSION}.tar.gz",
        f"mopt-{VERSION}.tgz",
        *(f"mopt-{name}-{VERSION}.cdx.json" for name in ("operator", "optimizer", "serve")),
    }
    helm = binaries(["helm"])["helm"]
    shown = [str(helm), "show", "chart", str(root / "dist" / f"mopt-{VERSION}.tgz")]
    chart = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    assert {f"version: {VERSION}", f"appVersion: {VERSION}"} <= set(chart.splitlines())


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    root = clone(tmp_path / "mopt")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("mine")
    done = release(root, "build", "--output", tmp_path / "home")
    assert done.returncode == 1
    assert done.stderr.endswith("home is not empty: name another folder\n")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter"]


def test_digests_are_as_sha256sum_checks_them(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"a")
    write_sums(tmp_path)
    again = write_sums(tmp_path).read_text()
    assert [line.split("  ")[1] for line in again.splitlines()] == ["a", "b"]
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=tmp_path, check=True)


@pytest.mark.gitops
def test_cosign_verifies_the_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cosign = binaries(["cosign"])["cosign"]
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    subprocess.run([cosign, "generate-key-pair"], cwd=tmp_path, check=True, capture_output=True)
    made = tmp_path / "made"
    made.mkdir()
    (made / "wheel").write_bytes(b"content")
    write_sums(made)
    with pytest.raises(ReleaseError, match="sign-blob"):
        sign(cosign, str(tmp_path / "nowhere.key"), made)
    sign(cosign, str(tmp_path / "cosign.key"), made)

    def verified() -> bool:
        key, bundle = tmp_path / "cosign.pub", made / SIGNATURE
        command: list[str | Path] = [cosign, "verify-blob", "--key", key, "--bundle", bundle]
        command += ["--insecure-ignore-tlog", made / SUMS]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    assert verified()
    (made / SUMS).write_text((made / SUMS).read_text().replace("wheel", "whale"))
    assert not verified()
