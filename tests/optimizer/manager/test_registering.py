"""What can be registered, and what is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mopt_optimizer.errors import (
    DataError,
    DiskError,
    ExportError,
    ModelError,
    ObjectNotFound,
    OptimizerError,
    SpecError,
    UnsafeModelError,
)
from mopt_optimizer.manager import Verdict

if TYPE_CHECKING:
    from .conftest import Manager, NetworkFiles

pytestmark = pytest.mark.optimizer


def test_torch_module_is_exported_and_serves_any_batch(manager: Manager) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Tanh())
    manager().register(
        "net",
        module,
        example=torch.rand(2, 4),
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
    )
    loaded = manager().load_optimized_model("net")
    for batch in (1, 7):
        x = torch.rand(batch, 4)
        assert torch.allclose(loaded(x), module(x), atol=1e-6)


def test_exported_program_is_taken_as_it_is(manager: Manager) -> None:
    import torch

    program = torch.export.export(torch.nn.ReLU().eval(), (torch.rand(2, 4),))
    manager().register("net", program)
    loaded = manager().load_optimized_model("net", "none")
    assert loaded(np.full((2, 4), -1, np.float32)).max() == 0


def test_module_needs_an_example_and_must_export(manager: Manager) -> None:
    import torch

    class Branching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(SpecError, match="example="):
        manager().register("net", torch.nn.ReLU())
    with pytest.raises(ExportError, match="torch cannot export"):
        manager().register("net", Branching(), example=torch.rand(2))
    assert manager().names() == []


def test_form_and_manifest_keep_what_is_said(filled: Manager, network: NetworkFiles) -> None:
    form = filled().add_form(
        "net",
        "int8",
        network.int8,
        runtime="ONNXRuntime",
        precision="INT8",
        verdict="Passed",
        speedup=3.0,
        quality={"PSNR": 44.5},
        selected=True,
    )
    manifest = filled().manifest("net")
    assert manifest.selected == "int8"
    assert manifest.form("int8") == form
    assert (form.verdict, form.speedup, form.quality) == (Verdict.PASSED, 3.0, {"PSNR": 44.5})
    assert [i.model_input().name for i in form.inputs] == ["x"]
    assert len(manifest.forms) == 5
    assert filled().load_optimized_model("net").form == form


def test_registering_again_starts_anew(filled: Manager, network: NetworkFiles) -> None:
    filled().register("net", network.onnx)
    assert [form.name for form in filled().manifest("net").forms] == ["baseline"]
    assert filled().manifest("net").baseline.runtime == "ONNXRuntime"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "baseline"}, "the name baseline is taken"),
        ({"form": "Not A Label"}, "form Not A Label: (.|\\n)*name"),
        ({"runtime": "CoreML"}, "'CoreML' is not a valid Runtime"),
        ({"precision": "INT3"}, "'INT3' is not a valid FormPrecision"),
        ({"verdict": "Fine"}, "verdict"),
        ({"speedup": 0.0}, "speedup"),
        ({"files": []}, "one file at least"),
    ],
)
def test_illegal_forms_are_refused(
    filled: Manager, network: NetworkFiles, changes: dict[str, Any], message: str
) -> None:
    before = filled().manifest("net")
    arguments: dict[str, Any] = {
        "form": "new",
        "files": network.onnx,
        "runtime": "OpenVINO",
        "precision": "FP32",
    }
    with pytest.raises(SpecError, match=message):
        filled().add_form("net", **(arguments | changes))
    assert filled().manifest("net") == before


@pytest.mark.parametrize("name", ["", "../net", "a/b", ".hidden", "x" * 101])
def test_names_that_lead_elsewhere_are_refused(
    manager: Manager, network: NetworkFiles, name: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="cannot name a model"):
        manager().register(name, network.onnx)
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.onnx", b"garbage", ModelError, "not an ONNX model"),
        ("a.onnx", b"", ModelError, "not an ONNX model"),
        ("a.pt2", b"garbage", ModelError, "archive"),
        ("a.pkl", b"\x80\x04N.", SpecError, r"a\.pkl: not a \.onnx or \.pt2"),
        ("a.pt2", None, ObjectNotFound, "does not exist"),
    ],
)
def test_files_that_are_no_models_are_refused(
    manager: Manager,
    tmp_path: Path,
    name: str,
    content: bytes | None,
    error: type[OptimizerError],
    message: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        manager().register("net", tmp_path / name)
    assert manager().names() == []


def test_pickled_checkpoints_are_refused(manager: Manager, tmp_path: Path) -> None:
    import torch

    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt2")
    with pytest.raises((UnsafeModelError, ModelError)) as caught:
        manager().register("net", tmp_path / "a.pt2")
    assert not caught.value.retryable


def external(
    folder: Path, save_graph: Callable[[Any, Path], None], location: str = "weights.bin"
) -> Path:
    """Write y = x + w, (8,), with w in another file."""
    import onnx

    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[8])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    values = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [8]) for n in ("x", "y")
    ]
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    save_graph(
        onnx.helper.make_graph([node], "g", values[:1], values[1:], [weight]), folder / "m.onnx"
    )
    (folder / "weights.bin").write_bytes(np.arange(8, dtype=np.float32).tobytes())
    return folder / "m.onnx"


def test_external_data_travels_with_its_form(
    filled: Manager, tmp_path: Path, save_graph: Callable[[Any, Path], None]
) -> None:
    path = external(tmp_path, save_graph)
    form = filled().add_form(
        "net",
        "big",
        [path, tmp_path / "weights.bin"],
        runtime="ONNXRuntime",
        precision="FP32",
        selected=True,
    )
    assert [file.name for file in form.files] == ["m.onnx", "weights.bin"]
    loaded = filled().load_optimized_model("net")
    assert loaded.form.name == "big"
    assert loaded(np.ones(8, np.float32)).tolist() == list(range(1, 9))


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "other.bin"])
def test_external_data_elsewhere_is_refused(
    filled: Manager, tmp_path: Path, save_graph: Callable[[Any, Path], None], location: str
) -> None:
    path = external(tmp_path, save_graph, location)
    with pytest.raises(ModelError, match="'w' lies in"):
        filled().add_form(
            "net",
            "big",
            [path, tmp_path / "weights.bin"],
            runtime="ONNXRuntime",
            precision="FP32",
        )


def test_full_disk_leaves_the_registry_as_it_was(
    filled: Manager, network: NetworkFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import shutil

    import onnx

    before = filled().manifest("net")
    # Other bytes than what is stored already.
    other = tmp_path / "other.onnx"
    model = onnx.load(network.onnx)
    model.doc_string = "other"
    onnx.save(model, other)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(DiskError) as caught:
        filled().add_form("net", "new", other, runtime="OpenVINO", precision="FP32")
    assert caught.value.retryable
    assert filled().manifest("net") == before


def test_quantized_program_is_registered_with_its_report(
    filled: Manager, tmp_path: Path, network: NetworkFiles
) -> None:
    import torch

    from mopt_optimizer.torch_quantization import Execution, quantize_model

    layer = torch.nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(network.weight.T.copy()))
        layer.bias.copy_(torch.from_numpy(network.bias))
    x = np.random.default_rng(1).random((5, 4), np.float32)
    module = torch.nn.Sequential(layer, torch.nn.ReLU()).eval()
    path = tmp_path / "int8.pt2"
    quantized = quantize_model(module, "dynamic", [torch.from_numpy(x)], execution=Execution.EAGER)
    quantized.save(path)
    files = [path, tmp_path / "int8.pt2.json"]
    options: dict[str, Any] = {"runtime": "PyTorch", "precision": "INT8", "verdict": "Passed"}
    filled().add_form("net", "torch-int8", files, **options)
    with pytest.raises(SpecError, match="holds its weights itself"):
        filled().add_form("net", "other", [path, network.onnx], **options)
    chosen = filled().load_optimized_model("net", "quantize")
    assert chosen.form.name == "torch-int8"
    assert [i.dtype for i in chosen.inputs] == ["float32"]
    with pytest.raises(DataError, match="fed input2"):
        chosen(input2=x)
    np.testing.assert_allclose(chosen(x), quantized(torch.from_numpy(x)).numpy(), atol=0.05)
