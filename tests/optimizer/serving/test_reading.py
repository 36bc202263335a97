"""The signature of real files, read in an enclosed child; files fetched by their digest."""

from __future__ import annotations

import json
import tarfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from served_forms import result

from mopt_api.artifacts import Artifact, ArtifactFormat, ExternalData
from mopt_api.enums import Runtime
from mopt_optimizer.digests import file_digest
from mopt_optimizer.errors import DamagedEngine, DigestMismatch, ModelError
from mopt_optimizer.serving import (
    Layout,
    Signature,
    SignatureRequest,
    read_signature,
    served_form,
    signature_request,
    tree_of,
)
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.files import fetch_files
from mopt_optimizer.store.folder import FileStore

pytestmark = pytest.mark.optimizer

Shape = list[int | str | None]


def save_network(path: Path, *, weights: str | None = None, output: Shape) -> None:
    """Write image (n, 3, h, 32) -> a channel's mean, with the output's shape as given."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.ones((4, 3, 1, 1), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "kernel"], ["scores"])],
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", 32])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    outside: dict[str, Any] = {}
    if weights is not None:
        outside = {"save_as_external_data": True, "location": weights, "size_threshold": 0}
    onnx.save(model, path, **outside)


def read(path: Path, kind: ArtifactFormat = ArtifactFormat.ONNX, **given: Any) -> Signature:
    return read_signature(SignatureRequest(path=str(path), format=kind, **given), path.parent)


def dims_of(found: Signature) -> list[tuple[str, str | None, Shape | None]]:
    return [(t.name, t.dtype, t.dims) for t in (*found.inputs, *found.outputs)]


IMAGE = ("image", "float32", ["n", 3, "h", 32])


def test_an_onnx_file_tells_it(tmp_path: Path) -> None:
    save_network(tmp_path / "model.onnx", output=["n", 4, "h", 32])
    found = read(tmp_path / "model.onnx")
    assert dims_of(found) == [IMAGE, ("scores", "float32", ["n", 4, "h", 32])]
    assert not found.archive


def test_weights_beside_the_file(tmp_path: Path) -> None:
    save_network(tmp_path / "model.onnx", weights="model.onnx.data", output=["n", 4, "h", 32])
    assert (tmp_path / "model.onnx.data").is_file()
    found = read(tmp_path / "model.onnx")
    assert dims_of(found)[0] == IMAGE
    assert not found.archive


def test_a_tar_is_an_archive(tmp_path: Path) -> None:
    save_network(tmp_path / "model.onnx", weights="model.onnx.data", output=["n", 4, "h", 32])
    (tmp_path / "alone").mkdir()
    with tarfile.open(tmp_path / "alone" / "model.onnx", "w") as archive:
        for name in ("model.onnx", "model.onnx.data"):
            archive.add(tmp_path / name, name)
    found = read(tmp_path / "alone" / "model.onnx")
    assert found.archive
    assert dims_of(found)[0] == IMAGE


def test_torchscript_tells_names_and_is_run_for_the_rest(tmp_path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so
        script = torch.jit.trace(torch.nn.Conv2d(3, 4, 1), torch.rand(1, 3, 8, 32))  # type: ignore[no-untyped-call]
        torch.jit.save(script, tmp_path / "model.ts")
    artifact = Artifact(
        digest=file_digest(tmp_path / "model.ts"), size_bytes=1, format=ArtifactFormat.TORCH_SCRIPT
    )
    inputs = [{"name": "input", "shape": ["batch", 3, "height", 32]}]
    measured = result(Runtime.PYTORCH, artifact=artifact, inputs=inputs)
    found = read_signature(signature_request(measured, artifact, tmp_path / "model.ts"), tmp_path)
    form = served_form(measured, None, found, name="net")
    assert form.inputs[0].dims == ("batch", 3, "height", 32)
    assert (form.outputs[0].dtype, form.outputs[0].dims) == ("float32", (None,) * 4)


def test_a_program_tells_it(tmp_path: Path) -> None:
    import torch

    class Scores(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.mean((2, 3))

    dynamic = {"image": {0: torch.export.Dim.DYNAMIC}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(Scores(), (torch.rand(2, 3, 24, 32),), dynamic_shapes=dynamic)
        torch.export.save(program, tmp_path / "model.pt2")
    found = read(tmp_path / "model.pt2", ArtifactFormat.EXPORTED_PROGRAM)
    (image, output) = dims_of(found)
    assert image[2] is not None
    assert image[2][1:] == [3, 24, 32]
    assert (output[1], len(output[2] or ())) == ("float32", 2)
    assert image[2][0] == (output[2] or [None])[0]


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """Bytes under the manifest of an engine, which is all that is read of one."""
    path = tmp_path / "model.engine"
    path.write_bytes(b"engine")
    tensor = {"name": "image", "dtype": "float16", "shape": [-1, 3, 32, 32]}
    profile = {key: [size, 3, 32, 32] for key, size in (("minimum", 1), ("optimum", 2))}
    manifest = {
        "digest": file_digest(path),
        "sizeBytes": 6,
        "backend": "tensorrt",
        "tensorrtVersion": "10.13.3",
        "precision": "FP16",
        "tf32": False,
        "inputs": [tensor | profile | {"maximum": [4, 3, 32, 32]}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [-1, 10]}],
        "sourceDigest": f"sha256:{'0' * 64}",
    }
    (tmp_path / "model.engine.json").write_text(json.dumps(manifest))
    return path


def test_an_engine_is_told_by_its_manifest(engine: Path) -> None:
    found = read(engine, ArtifactFormat.TENSORRT_ENGINE)
    assert dims_of(found) == [
        ("image", "float16", [None, 3, 32, 32]),
        ("scores", "float32", [None, 10]),
    ]
    assert found.engine is not None
    assert found.engine.profiles == {"image": ([1, 3, 32, 32], [4, 3, 32, 32])}


def test_an_engine_that_is_not_its_manifests_is_refused(engine: Path) -> None:
    engine.write_bytes(b"Engine")
    with pytest.raises(DigestMismatch):
        read(engine, ArtifactFormat.TENSORRT_ENGINE)
    engine.with_name("model.engine.json").unlink()
    with pytest.raises(DamagedEngine):
        read(engine, ArtifactFormat.TENSORRT_ENGINE)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError):
        read(tmp_path / "model.onnx")


def served_by_onnx_runtime(folder: Path, tree: Mapping[str, bytes | str], blobs: Blobs) -> Path:
    """Write a tree from its stored objects; return the ONNX file."""
    for path, content in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (folder / path).write_bytes(content)
        else:
            blobs.fetch(content, folder / path)
    return next(folder.rglob("model.onnx"))


@pytest.mark.parametrize("layout", [Layout.TRITON, Layout.KSERVE, Layout.FILES])
def test_weights_lie_where_the_file_looks_for_them(tmp_path: Path, layout: Layout) -> None:
    import numpy as np
    import onnxruntime

    save_network(tmp_path / "model.onnx", weights="model.onnx.data", output=["n", 4, "h", 32])
    blobs = Blobs(FileStore(tmp_path / "store"), "")
    weights = tmp_path / "model.onnx.data"
    artifact = Artifact(
        digest=blobs.put_file(tmp_path / "model.onnx"),
        size_bytes=1000,
        format=ArtifactFormat.ONNX,
        external_data=[
            ExternalData(
                path=weights.name, digest=blobs.put_file(weights), size_bytes=weights.stat().st_size
            )
        ],
    )
    (tmp_path / "fetched").mkdir()
    fetched = fetch_files(blobs, artifact, tmp_path / "fetched")
    assert [path.name for path in fetched.values()] == ["model.onnx", "model.onnx.data"]
    measured = result(artifact=artifact)
    found = read_signature(signature_request(measured, artifact, fetched[artifact.digest]))
    tree = tree_of(layout, served_form(measured, None, found, name="net"))
    served = served_by_onnx_runtime(tmp_path / "served", tree, blobs)
    session = onnxruntime.InferenceSession(str(served), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"image": np.ones((2, 3, 24, 32), np.float32)})
    assert scores.shape == (2, 4, 24, 32)
    assert np.all(scores == 3)
