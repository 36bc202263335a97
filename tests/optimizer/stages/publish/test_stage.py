"""What the stage publishes is whole, reproducible, and what others read."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from published_forms import publish_plan, stored_form, write_model
from registry import Registry, running_registry

from mopt_api.enums import Precision, Runtime
from mopt_api.jobs.plan import PublishPlan
from mopt_api.jobs.publishing import REGISTRY_AUTH_VARIABLE, PublishedForm
from mopt_api.jobs.termination import PublishSummary
from mopt_api.publishing import PublishLayout
from mopt_optimizer.errors import (
    DataError,
    DigestMismatch,
    RegistryRefused,
    RegistryUnreachable,
    UnservableForm,
)
from mopt_optimizer.publishing.manifests import MODEL_CONFIG, MODEL_MANIFEST
from mopt_optimizer.stages.publish.stage import publish
from mopt_optimizer.store.blobs import Blobs

pytestmark = pytest.mark.optimizer

Publish = Callable[[PublishPlan], PublishSummary]


@pytest.fixture
def said() -> list[dict[str, Any]]:
    """What the stage logs."""
    return []


@pytest.fixture
def published(tmp_path: Path, said: list[dict[str, Any]]) -> Publish:
    """Run the stage in a folder of its own."""
    environ = os.environ | {REGISTRY_AUTH_VARIABLE: str(tmp_path / "none" / "config.json")}
    runs = iter(range(100))

    def log(step: str, message: str, **fields: object) -> None:
        said.append({"step": step, "message": message} | fields)

    def run(plan: PublishPlan) -> PublishSummary:
        folder = tmp_path / "work" / str(next(runs))
        folder.mkdir(parents=True)
        return publish(plan, environ, folder, log)

    return run


def files_of(exported: bytes) -> dict[str, bytes]:
    """Return the files of what crane export prints."""
    with tarfile.open(fileobj=io.BytesIO(exported)) as opened:
        members = [member for member in opened.getmembers() if member.isfile()]
        found = {member.name: opened.extractfile(member) for member in members}
        return {name: file.read() for name, file in found.items() if file is not None}


def test_the_model_repository_of_triton_is_under_models(
    registry: Registry, blobs: Blobs, output_uri: str, model: Path, published: Publish
) -> None:
    repository = registry.repository("team/linear")
    summary = published(publish_plan([stored_form(blobs, model)], repository, output_uri))
    files = files_of(registry.crane("export", f"{repository}:latest", "-"))
    assert set(files) == {
        "models/mopt.json",
        "models/linear/config.pbtxt",
        "models/linear/1/model.onnx",
        "models/linear/1/model.onnx.data",
    }
    assert files["models/linear/1/model.onnx"] == model.read_bytes()
    assert files["models/linear/1/model.onnx.data"] == (
        model.with_name("model.onnx.data").read_bytes()
    )
    assert b'backend: "onnxruntime"' in files["models/linear/config.pbtxt"]
    assert registry.crane("digest", f"{repository}:latest").decode().strip() == summary.index
    assert not summary.signed
    config = json.loads(registry.crane("config", f"{repository}:latest"))
    manifest = registry.manifest(f"{repository}@{summary.images[0].digest}")
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert (config["os"], config["architecture"]) == ("linux", "amd64")


def test_openvino_s_folder(
    registry: Registry, blobs: Blobs, output_uri: str, model: Path, published: Publish
) -> None:
    form = stored_form(blobs, model, runtime=Runtime.OPENVINO)
    published(publish_plan([form], registry.repository("linear"), output_uri))
    files = files_of(registry.crane("export", f"{registry.repository('linear')}:latest", "-"))
    assert set(files) == {
        "models/mopt.json",
        "models/config.json",
        "models/1/model.onnx",
        "models/1/model.onnx.data",
    }


def test_the_files_alone(
    registry: Registry, blobs: Blobs, output_uri: str, model: Path, published: Publish
) -> None:
    plan = publish_plan(
        [stored_form(blobs, model)], registry.repository(), output_uri, layout=PublishLayout.FILES
    )
    published(plan)
    files = files_of(registry.crane("export", f"{registry.repository()}:latest", "-"))
    assert set(files) == {"models/model.onnx", "models/model.onnx.data", "models/mopt.json"}


def test_a_model_pack_is_pulled_by_another_client(
    registry: Registry,
    blobs: Blobs,
    output_uri: str,
    model: Path,
    published: Publish,
    tmp_path: Path,
) -> None:
    """modelpack-client holds config and manifest to the specification's JSON schema."""
    from modelpack_client import ModelPackClient

    plan = publish_plan(
        [stored_form(blobs, model, precision=Precision.INT8)],
        registry.repository(),
        output_uri,
        layout=PublishLayout.MODEL_PACK,
    )
    summary = published(plan)
    reference = f"{registry.repository()}@{summary.images[0].digest}"
    pulled = ModelPackClient(insecure=True).pull(reference, tmp_path / "pulled")
    found = {path.name: path.read_bytes() for path in pulled.files}
    assert json.loads(found.pop("mopt.json"))["precision"] == "INT8"
    assert found == {
        "model.onnx": model.read_bytes(),
        "model.onnx.data": model.with_name("model.onnx.data").read_bytes(),
    }
    assert pulled.config["config"] == {"format": "onnx", "precision": "int8"}
    manifest = registry.manifest(reference)
    assert (manifest["artifactType"], manifest["config"]["mediaType"]) == (
        MODEL_MANIFEST,
        MODEL_CONFIG,
    )
    entry = registry.manifest(f"{registry.repository()}:latest")["manifests"][0]
    assert entry["artifactType"] == MODEL_MANIFEST


def test_the_same_form_has_the_same_digest_and_is_not_pushed_again(
    registry: Registry,
    blobs: Blobs,
    output_uri: str,
    model: Path,
    published: Publish,
    said: list[dict[str, Any]],
) -> None:
    """Though measured at another time, for another generation of another resource."""
    first = published(publish_plan([stored_form(blobs, model)], registry.repository(), output_uri))
    before = registry.uploads()
    later = stored_form(blobs, model, measured_at="2027-01-01T00:00:00Z")
    again = published(
        publish_plan([later], registry.repository(), output_uri, generation=7, name="other")
    )
    assert again == first
    # What is attached tells of the measurement: bill of materials and two statements.
    assert said[-1]["blobs"] == 3
    after = registry.uploads()
    assert not any("/manifests/latest" in request.path for request in after[len(before) :])
    other = publish_plan([later], registry.repository(), output_uri, generation=7, name="other")
    assert published(other) == first
    assert registry.uploads() == after
    assert (said[-1]["blobs"], said[-1]["manifests"], said[-1]["bytes"]) == (0, 0, 0)


def test_another_form_moves_the_tags_and_keeps_what_was_published(
    registry: Registry,
    blobs: Blobs,
    output_uri: str,
    model: Path,
    published: Publish,
    tmp_path: Path,
) -> None:
    repository = registry.repository()
    tags = ("latest", "stable")
    first = published(publish_plan([stored_form(blobs, model)], repository, output_uri, tags=tags))
    other = stored_form(blobs, write_model(tmp_path / "other" / "model.onnx", seed=1))
    second = published(publish_plan([other], repository, output_uri, tags=tags))
    assert second.index != first.index
    for tag in tags:
        assert registry.crane("digest", f"{repository}:{tag}").decode().strip() == second.index
    assert registry.manifest(f"{repository}@{first.index}")["manifests"]


def test_two_targets_are_one_index_and_share_their_weights(
    registry: Registry,
    blobs: Blobs,
    output_uri: str,
    model: Path,
    published: Publish,
    said: list[dict[str, Any]],
) -> None:
    forms = [
        stored_form(blobs, model, target="arm", architecture="aarch64"),
        stored_form(
            blobs, model, target="native", precision=Precision.BF16, runtime=Runtime.OPENVINO
        ),
        stored_form(
            blobs,
            model,
            target="vnni",
            precision=Precision.INT8,
            cpu_features=("avx2", "avx512_vnni"),
        ),
        stored_form(blobs, model, target="any"),
        stored_form(blobs, model, target="avx2", precision=Precision.INT8),
    ]
    plan = publish_plan(forms, registry.repository(), output_uri, layout=PublishLayout.FILES)
    summary = published(plan)
    index = registry.manifest(f"{registry.repository()}@{summary.index}")
    entries = [
        (
            entry["annotations"]["dev.mopt.target"],
            entry["platform"]["architecture"],
            entry["annotations"]["dev.mopt.precision"],
            entry["annotations"].get("dev.mopt.cpu-features"),
        )
        for entry in index["manifests"]
    ]
    assert entries == [
        ("any", "amd64", "FP32", None),
        ("arm", "arm64", "FP32", None),
        ("avx2", "amd64", "INT8", None),
        ("native", "amd64", "BF16", "amx_bf16,avx512_bf16"),
        ("vnni", "amd64", "INT8", "amx_int8,avx512_vnni,avx_vnni"),
    ]
    assert [each.target for each in summary.images] == ["arm", "native", "vnni", "any", "avx2"]
    first = registry.manifest(f"{plan.oci.repository}@{summary.images[0].digest}")
    sent = [request.path for request in registry.uploads() if request.method == "PUT"]
    for layer in first["layers"]:
        hexadecimal = layer["digest"].partition(":")[2]
        assert len([path for path in sent if hexadecimal in path]) == 1
    arm = registry.crane(
        "export", "--platform", "linux/arm64", f"{plan.oci.repository}:latest", "-"
    )
    assert "models/model.onnx" in files_of(arm)


def shell_image(registry: Registry, folder: Path, repository: str) -> str:
    """Push an image with a file /bin/sh by crane, and return its reference by digest."""
    folder.mkdir()
    layer = folder / "layer.tar"
    with tarfile.open(layer, "w") as opened:
        member = tarfile.TarInfo("bin/sh")
        member.size, member.mode = 5, 0o755
        opened.addfile(member, io.BytesIO(b"shell"))
    name = f"{registry.repository(repository)}:1"
    registry.crane("append", "--new_layer", str(layer), "--new_tag", name)
    digest = registry.crane("digest", name).decode().strip()
    return f"{registry.repository(repository)}@{digest}"


def with_platform(registry: Registry, reference: str, repository: str) -> str:
    """Give an image a platform, by crane."""
    name = f"{registry.repository(repository)}:2"
    registry.crane("mutate", reference, "--set-platform", "linux/amd64", "--tag", name)
    digest = registry.crane("digest", name).decode().strip()
    return f"{registry.repository(repository)}@{digest}"


def test_a_base_image_s_layers_come_first_and_are_mounted(
    registry: Registry,
    blobs: Blobs,
    output_uri: str,
    model: Path,
    published: Publish,
    said: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    base = with_platform(registry, shell_image(registry, tmp_path / "base", "shell"), "shell")
    plan = publish_plan(
        [stored_form(blobs, model)], registry.repository(), output_uri, base_image=base
    )
    summary = published(plan)
    files = files_of(registry.crane("export", f"{registry.repository()}:latest", "-"))
    assert files["bin/sh"] == b"shell"
    assert "models/test/1/model.onnx" in files
    manifest = registry.manifest(f"{registry.repository()}@{summary.images[0].digest}")
    base_manifest = registry.manifest(base)
    assert manifest["layers"][0]["digest"] == base_manifest["layers"][0]["digest"]
    assert manifest["annotations"]["org.opencontainers.image.base.digest"] in base
    assert said[-1]["mounted"] == 1


def test_a_base_image_of_another_platform_is_refused(
    registry: Registry,
    blobs: Blobs,
    output_uri: str,
    model: Path,
    published: Publish,
    tmp_path: Path,
) -> None:
    base = with_platform(registry, shell_image(registry, tmp_path / "base", "shell"), "shell")
    form = stored_form(blobs, model, architecture="aarch64")
    with pytest.raises(RegistryRefused, match="is not for linux/arm64"):
        published(publish_plan([form], registry.repository(), output_uri, base_image=base))


def test_a_file_that_was_damaged_in_the_store_is_not_published(
    registry: Registry, blobs: Blobs, output_uri: str, model: Path, published: Publish
) -> None:
    form = stored_form(blobs, model)
    stored = Path(form.uri.removeprefix("file://"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"\0")
    with pytest.raises(DigestMismatch, match=form.artifact):
        published(publish_plan([form], registry.repository(), output_uri))
    assert registry.uploads() == []


def test_a_result_that_does_not_have_the_form_is_refused(
    registry: Registry,
    blobs: Blobs,
    output_uri: str,
    model: Path,
    published: Publish,
    tmp_path: Path,
) -> None:
    form = stored_form(blobs, model)
    other = stored_form(blobs, write_model(tmp_path / "other" / "model.onnx", seed=1))
    mixed = form.model_copy(update={"result": other.result})
    with pytest.raises(DataError, match="does not have"):
        published(publish_plan([mixed], registry.repository(), output_uri))
    assert registry.uploads() == []


def test_the_source_model_is_read_from_where_it_lies(
    registry: Registry,
    blobs: Blobs,
    output_uri: str,
    published: Publish,
    tmp_path: Path,
) -> None:
    model = write_model(tmp_path / "source" / "mine.onnx")
    form = stored_form(blobs, model)
    kept = form.model_copy(update={"variant": "baseline", "uri": f"file://{model}"})
    plan = publish_plan([kept], registry.repository(), output_uri, layout=PublishLayout.FILES)
    published(plan)
    files = files_of(registry.crane("export", f"{registry.repository()}:latest", "-"))
    assert set(files) == {"models/model.onnx", "models/mopt.json"}
    assert files["models/model.onnx"] == model.read_bytes()


def test_a_form_that_no_server_loads_is_refused_before_anything_is_pushed(
    registry: Registry, blobs: Blobs, output_uri: str, model: Path, published: Publish
) -> None:
    form = unservable(blobs, model)
    with pytest.raises(UnservableForm):
        published(publish_plan([form], registry.repository(), output_uri))
    assert registry.uploads() == []


def unservable(blobs: Blobs, model: Path) -> PublishedForm:
    """Store a result whose plan is gone, as of an older version."""
    form = stored_form(blobs, model)
    document = json.loads(blobs.read(form.result))
    del document["plan"]
    stripped = blobs.put_bytes(json.dumps(document).encode())
    return form.model_copy(update={"result": stripped})


def test_once_the_registry_is_there_again_all_is_published(
    blobs: Blobs, output_uri: str, model: Path, published: Publish, tmp_path: Path
) -> None:
    with running_registry(tmp_path / "late") as late:
        plan = publish_plan([stored_form(blobs, model)], late.repository(), output_uri)
        late.stop()
        with pytest.raises(RegistryUnreachable):
            published(plan)
        late.start(read_only=True)
        with pytest.raises(RegistryRefused):
            published(plan)
        late.restart()
        summary = published(plan)
        assert late.crane("digest", f"{late.repository()}:latest").decode().strip() == summary.index
