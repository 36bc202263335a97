"""Image names, what is sent, and what a build sees of this machine."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from devcluster import base_image, engines, oci
from devcluster.engines import Build
from devcluster.oci import Image

BUILD = Build("mopt/x:dev", Path("/c/Dockerfile"), Path("/c"), {"A": "1"}, "final")


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("mopt/optimizer:dev", "docker.io/mopt/optimizer:dev"),
        ("mopt/optimizer", "docker.io/mopt/optimizer:latest"),
        ("busybox", "docker.io/library/busybox:latest"),
        ("docker.io/busybox:1", "docker.io/library/busybox:1"),
        ("localhost/a:1", "localhost/a:1"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
        ("ghcr.io/a/b@sha256:00", "ghcr.io/a/b@sha256:00"),
    ],
)
def test_name_as_containerd_has_it(reference: str, name: str) -> None:
    assert oci.normalize(reference) == name


def image(*layers: str) -> Image:
    manifest = {"config": {"digest": "c"}, "layers": [{"digest": layer} for layer in layers]}
    return Image({"digest": "m", "size": 3}, manifest)


@pytest.mark.parametrize(
    ("layers", "present", "sent"),
    [
        (("base", "top"), [], ["m", "c", "base", "top"]),
        (("base", "top"), ["base"], ["m", "c", "top"]),
        (("base", "top"), ["base", "top", "m", "c"], ["m", "c"]),
        (("same", "same"), [], ["m", "c", "same"]),
        ((), [], ["m", "c"]),
    ],
)
def test_only_missing_layers_are_sent(
    layers: tuple[str, ...], present: list[str], sent: list[str]
) -> None:
    assert oci.blobs_to_send(image(*layers), present) == sent


def test_pause_archive_is_complete_and_reproducible(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    layer = oci.single_file_layer(program, "pause")
    archive = oci.one_layer_image(layer, "localhost/pause:1", "/pause", "amd64")
    assert archive == oci.one_layer_image(layer, "localhost/pause:1", "/pause", "amd64")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {m.name: f.read() for m in tar.getmembers() if (f := tar.extractfile(m))}
    index = json.loads(files["index.json"])["manifests"][0]
    assert index["annotations"]["io.containerd.image.name"] == "localhost/pause:1"
    manifest = json.loads(files[oci.blob_path(index["digest"])])
    config = json.loads(files[oci.blob_path(manifest["config"]["digest"])])
    assert config["rootfs"]["diff_ids"] == [oci.digest_of(layer)]
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name == oci.blob_path(oci.digest_of(data))
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert tar.getmember("pause").mode == 0o755


def test_buildah_mounts_read_only_and_passes_nothing_into_the_image() -> None:
    certificates = Path("/etc/ssl/certs")
    command = engines.buildah_command(BUILD, [(certificates, certificates)])
    assert command == [
        *("buildah", "bud", "--isolation", "chroot", "--layers", "--network", "host"),
        *("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro", "--build-arg", "A=1"),
        *("--target", "final", "-t", "mopt/x:dev", "-f", "/c/Dockerfile", "/c"),
    ]


def test_docker_command() -> None:
    command = engines.docker_command(Build("x", Path("/c/D"), Path("/c")))
    assert command == ["docker", "build", "--network", "host", "-t", "x", "-f", "/c/D", "/c"]


@pytest.mark.parametrize(
    ("environment", "system", "expected"),
    [
        ({}, "", ""),
        ({"PIP_FIND_LINKS": "/opt/wheels", "PIP_DEFAULT_TIMEOUT": "9"}, "", ""),
        ({}, "[global]\ncert = /x.pem\n", ""),
        ({}, "not an ini file", ""),
        (
            {"PIP_INDEX_URL": "https://mirror/simple"},
            "[global]\nindex-url = https://other\ntrusted-host = a\n b\n",
            "[global]\nindex-url = https://mirror/simple\ntrusted-host = a\n    b\n"
            "cert = /etc/ssl/certs/ca-certificates.crt\n",
        ),
    ],
    ids=["nothing", "only local options", "only a certificate", "broken file", "mirror"],
)
def test_pip_conf(environment: dict[str, str], system: str, expected: str) -> None:
    assert engines.pip_conf(environment, system) == expected


def test_uv_toml() -> None:
    assert engines.uv_toml({"UV_FIND_LINKS": "/opt/wheels"}) == ""
    assert 'url = "https://mirror"' in engines.uv_toml({"UV_DEFAULT_INDEX": "https://mirror"})


@pytest.mark.parametrize(
    ("text", "declares"),
    [
        ("ARG BASE_IMAGE=python:3.11\nFROM ${BASE_IMAGE}\n", True),
        ("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n", True),
        ("FROM python:3.11\n# ARG BASE_IMAGE\n", False),
        ("ARG OTHER_BASE_IMAGE\n", False),
        ("", False),
    ],
)
def test_base_is_chosen_only_where_the_dockerfile_asks(
    tmp_path: Path, text: str, declares: bool
) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(text)
    assert base_image.declares_base(file) is declares
    assert not base_image.declares_base(tmp_path / "absent")
