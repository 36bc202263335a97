"""`mopt verify` on images in a folder, as a process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_process import Mopt
from proved_image import EVALUATION, Folder, Keys, make_keys, publish

from mopt_cli._errors import CliError
from mopt_cli.images import ImageName


@dataclass(frozen=True)
class Proved:
    folder: Folder
    digest: str
    keys: Keys

    @property
    def reference(self) -> str:
        return f"oci:{self.folder.path}@{self.digest}"


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> Proved:
    scratch = tmp_path_factory.mktemp("proved")
    keys, folder = make_keys(scratch / "keys"), Folder(scratch / "layout")
    return Proved(folder, publish(folder, scratch / "files", keys.private), keys)


def test_what_was_published_holds(mopt: Mopt, proved: Proved) -> None:
    key = ("--key", proved.keys.public)
    wanted = ("--gate", "PSNR>=35", "--gate", "mean SSIM >= 0.97", "--data", EVALUATION)
    done = mopt("verify", proved.reference, *key, *wanted)
    assert done.returncode == 0, done.stderr
    assert "REFUSED" not in done.stdout
    assert "small/1/model.onnx is ov-int8, as it was measured" in done.stdout
    assert "not measured: an interval of the speedup" in done.stdout


def test_the_tag_of_an_index_stands_for_all_its_images(mopt: Mopt, proved: Proved) -> None:
    layout = f"oci:{proved.folder.path}:latest"
    done = mopt("verify", layout, "--key", proved.keys.public, "-o", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["holds"] is True
    assert [len(each["checks"]) for each in found["manifests"]] == [1, 11]
    assert found["manifests"][1]["quality"][0]["form"]["name"] == "ov-int8"


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        pytest.param(("--gate", "PSNR>=60"), "wanted PSNR>=60", id="a gate that is missed"),
        pytest.param(("--gate", "Cosine>=0.5"), "wanted Cosine>=0.5", id="a figure that is none"),
        pytest.param(
            ("--data", f"sha256:{'7' * 64}"), f"wanted data sha256:{'7' * 64}", id="other data"
        ),
    ],
)
def test_what_does_not_hold_is_named(
    mopt: Mopt, proved: Proved, wanted: tuple[str, str], named: str
) -> None:
    done = mopt("verify", proved.reference, "--key", proved.keys.public, *wanted)
    assert done.returncode == 1
    assert done.stderr.strip() == f"mopt: {proved.reference} is refused: {named}"


def test_another_key_is_refused(mopt: Mopt, proved: Proved, tmp_path: Path) -> None:
    other = make_keys(tmp_path / "other")
    done = mopt("verify", proved.reference, "--key", other.public, "-o", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["holds"] is False
    assert "it was made with another key" in done.stdout


@pytest.mark.parametrize(
    ("reference", "key", "code", "message"),
    [
        pytest.param("oci:nowhere", "pub", 2, "is no OCI image layout", id="no folder"),
        pytest.param("small", "pub", 2, "is no HOST/PATH:TAG", id="no reference"),
        pytest.param("LAYOUT:other", "pub", 1, "there is no manifest other", id="no such tag"),
        pytest.param("LAYOUT", "private", 1, "holds no public key", id="the private key"),
    ],
)
def test_mistakes_are_said(
    mopt: Mopt, proved: Proved, reference: str, key: str, code: int, message: str
) -> None:
    path = proved.keys.public if key == "pub" else proved.keys.private
    named = reference.replace("LAYOUT", f"oci:{proved.folder.path}")
    done = mopt("verify", named, "--key", path)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_gate_that_is_none_is_said(mopt: Mopt, proved: Proved) -> None:
    done = mopt("verify", proved.reference, "--key", proved.keys.public, "--gate", "PSNR")
    assert done.returncode == 2
    assert "write it as PSNR>=35" in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "registry.example/a/b:v1", ImageName("registry.example/a/b", "v1"), id="a tag"
        ),
        pytest.param(
            "localhost:5000/a", ImageName("localhost:5000/a", "latest"), id="a port is no tag"
        ),
        pytest.param(
            f"localhost:5000/a:v1@sha256:{'8' * 64}",
            ImageName("localhost:5000/a", f"sha256:{'8' * 64}"),
            id="a digest goes before a tag",
        ),
        pytest.param("oci:a/b:v1", ImageName("a/b", "v1", is_layout=True), id="a layout's tag"),
        pytest.param("oci:/a.b", ImageName("/a.b", "latest", is_layout=True), id="a layout"),
    ],
)
def test_references_are_read(text: str, expected: ImageName) -> None:
    assert ImageName.parse(text) == expected


@pytest.mark.parametrize("text", ["", "small", "a/b@sha256:12", "localhost:5000/A", "oci:"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(CliError):
        ImageName.parse(text)
