"""Wheel and sdist: the same bytes from the same commit, all of the product and nothing else."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata

from mopt_api.version import VERSION
from release.wheels import build

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
PACKAGES = {
    "crds": "mopt_api",
    "operator": "mopt_operator",
    "optimizer_image": "mopt_optimizer",
    "cli": "mopt_cli",
}


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if not path.name.startswith(".")
    }


def committed() -> set[str]:
    """Return the packages' files, as a wheel calls them."""
    folders = [f"{folder}/{package}" for folder, package in PACKAGES.items()]
    command = ["git", "ls-tree", "-r", "-z", "--name-only", "HEAD", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {path.partition("/")[2] for path in listed.split("\0") if path}


@pytest.fixture
def wheel(builds: tuple[Path, Path]) -> Path:
    (found,) = builds[0].glob("*.whl")
    return found


@pytest.fixture
def sdist(builds: tuple[Path, Path]) -> Path:
    (found,) = builds[0].glob("*.tar.gz")
    return found


def test_two_clones_give_the_same_bytes(builds: tuple[Path, Path]) -> None:
    one, other = map(digests, builds)
    assert set(one) == {f"mopt-{VERSION}-py3-none-any.whl", f"mopt-{VERSION}.tar.gz"}
    assert one == other


def test_the_sdist_gives_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(wheel) as archive,
        tarfile.open(sdist) as packed,
    ):
        epoch = packed.getmembers()[0].mtime
        packed.extractall(tmp_path, filter="data")
        assert archive.testzip() is None
    build(tmp_path / f"mopt-{VERSION}", tmp_path / "made", int(epoch))
    assert digests(tmp_path / "made")[wheel.name] == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == committed()
    assert {name.split("/")[0] for name in names} == set(PACKAGES.values())


def test_the_sdist_holds_what_the_wheel_is_built_from(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}
    assert {name.split("/")[0] for name in names} == files | set(PACKAGES)


def test_its_metadata_is_valid(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"mopt-{VERSION}.dist-info/METADATA")
    metadata = Metadata.from_email(text, validate=True)
    assert (metadata.name, str(metadata.version)) == ("mopt", VERSION)
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.description_content_type == "text/markdown"
    assert {"cli", "operator", "optimizer-cpu"} <= set(metadata.provides_extra or ())


def test_it_installs_without_anything_else(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    install = ("pip", "install", "-q", "--offline", "--no-deps", "--python", str(venv), str(wheel))
    for command in (("venv", "-q", "--python", sys.executable, str(venv)), install):
        subprocess.run([UV, *command], check=True, capture_output=True)
    program = f"import {', '.join(PACKAGES.values())}\n"
    program += "from importlib.metadata import version\nfrom mopt_api.version import VERSION\n"
    program += "print(version('mopt'), VERSION)"
    python = [str(venv / "bin" / "python"), "-I", "-c", program]
    done = subprocess.run(python, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [VERSION, VERSION], done.stderr
    for script in ("mopt", "kubectl-mopt"):
        done = subprocess.run(
            [venv / "bin" / script], capture_output=True, text=True, check=False, env={}
        )
        # Without its libraries it says what to install.
        assert done.stderr == "mopt: typer is not installed: pip install 'mopt[cli]'\n"
