"""What goes in (modules, programs, TorchScript, shapes, opsets) and what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mopt_optimizer.errors import DimensionError, ExportError, SpecError
from mopt_optimizer.export import ONNXExportConfig, ONNXExporter, export_onnx, model_info
from mopt_optimizer.onnx_files.verify import OnnxSession

pytestmark = [
    pytest.mark.optimizer,
    # It says so each time it is used.
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning"),
]

AXES = {"image": {0: "batch", 2: "height", 3: "width"}}


def _shape(path: Path, *sizes: int) -> tuple[int, ...]:
    image = np.random.default_rng(1).random(sizes, dtype=np.float32)
    (name,) = model_info(path).inputs
    shape: tuple[int, ...] = OnnxSession(path).run({name: image})[0].shape
    return shape


def test_module_is_exported_as_in_the_readme(upscaler: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    exporter = ONNXExporter(ONNXExportConfig(optimize=True, verify_export=True))
    metadata = exporter.export(
        upscaler,
        torch.rand(1, 3, 24, 32),
        path,
        dynamic_axes={"input": {0: "batch", 2: "height", 3: "width"}, "output": {0: "batch"}},
    )
    assert metadata["verified"] is True
    assert metadata["opset"] == 18
    assert metadata["inputs"] == {"input": ["batch", 3, "height", "width"]}
    assert metadata["outputs"] == {"output": ["batch", 3, "2*height", "2*width"]}
    assert metadata["nodes_after"] < metadata["nodes_before"]
    assert metadata["size_bytes"] == path.stat().st_size
    assert metadata["external_data"] is None
    kept = {report["name"] for report in metadata["passes"] if report["outcome"] == "Kept"}
    assert {"fuse_bn_into_conv", "extract_constant_to_initializer"} <= kept
    (error,) = metadata["output_errors"]
    assert error["max_abs_error"] <= error["tolerance"]
    # Nothing else lies in the folder: neither parts nor scratch files.
    assert list(tmp_path.iterdir()) == [path]


def test_example_of_batch_one_does_not_specialize(upscaler: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    metadata = ONNXExporter().export(upscaler, torch.rand(1, 3, 1, 8), path, AXES)
    sizes = [v["dimensions"] for v in metadata["verifications"]]
    for name in ("batch", "height", "width"):
        assert len({s[name] for s in sizes}) >= 2
    assert sizes[0] == {"batch": 1, "height": 1, "width": 8}
    assert _shape(path, 5, 3, 7, 11) == (5, 3, 14, 22)


def test_one_line(upscaler: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    image = torch.rand(1, 3, 8, 8)
    metadata = export_onnx(upscaler, image, path, AXES, optimize=False, opset_version=20)
    assert (metadata["verified"], metadata["opset"], metadata["passes"]) == (True, 20, [])
    assert _shape(path, 2, 3, 10, 12) == (2, 3, 20, 24)
    with pytest.raises(TypeError, match="optimise"):
        export_onnx(upscaler, image, path, AXES, optimise=False)


def test_fixed_axes_stay_fixed(upscaler: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    metadata = ONNXExporter().export(upscaler, torch.rand(1, 3, 16, 16), path)
    assert metadata["inputs"] == {"image": [1, 3, 16, 16]}
    assert [v["dimensions"] for v in metadata["verifications"]] == [{}]


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_opsets_are_really_written(upscaler: nn.Module, tmp_path: Path, opset: int) -> None:
    path = tmp_path / "model.onnx"
    config = ONNXExportConfig(opset_version=opset)
    metadata = ONNXExporter(config).export(upscaler, torch.rand(1, 3, 8, 8), path, AXES)
    assert metadata["opset"] == opset
    assert onnx.load(path).opset_import[0].version == opset
    assert metadata["verified"]
    assert _shape(path, 2, 3, 9, 10) == (2, 3, 18, 20)


@pytest.mark.parametrize("opset", [0, 6, 1000])
def test_opset_that_cannot_be_says_what_can(opset: int) -> None:
    with pytest.raises(SpecError, match=rf"opset_version {opset} is not possible: 7 to \d+ are"):
        ONNXExportConfig(opset_version=opset)


def test_program_is_exported(upscaler: nn.Module, tmp_path: Path) -> None:
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        upscaler, (torch.rand(2, 3, 8, 8),), dynamic_shapes={"image": {0: dynamic}}
    )
    path = tmp_path / "model.onnx"
    metadata = ONNXExporter().export(program, None, path, {"image": {0: "n"}})
    assert metadata["inputs"] == {"image": ["n", 3, 8, 8]}
    assert _shape(path, 5, 3, 8, 8) == (5, 3, 16, 16)
    with pytest.raises(DimensionError, match="axis 2 of input image is to be dynamic, but the mod"):
        ONNXExporter().export(program, None, path, {"image": {2: "height"}})


class Scaled(nn.Module):
    """Combines a tensor with numbers that are computed from its sizes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        width = x.shape[1]
        places = torch.arange(width) * (2.0 / (width - 1)) - 1.0
        moved = x + width / 3 - (width - 1.0) / 2.0 + torch.add(x, width / 7, alpha=3)
        result: torch.Tensor = moved * (width / 8) / ((width - 1.0) / 2.0) + places
        return result


def test_numbers_that_are_computed_from_sizes_are_exported(tmp_path: Path) -> None:
    dynamic = torch.export.Dim.DYNAMIC
    module = Scaled()
    for dtype, close in ((torch.float32, 1e-5), (torch.float64, 1e-6)):
        example = torch.rand(2, 5, dtype=dtype)
        program = torch.export.export(module, (example,), dynamic_shapes={"x": {1: dynamic}})
        path = tmp_path / f"{dtype}.onnx"
        ONNXExporter().export(program, None, path, {"x": {1: "width"}})
        for width in (4, 9):
            x = torch.rand(2, width, dtype=dtype)
            (found,) = OnnxSession(path).run({"x": x.numpy()})
            assert np.allclose(found, module(x).numpy(), atol=close)


def test_what_cannot_be_translated_is_named(tmp_path: Path) -> None:
    class Unknown(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.special.bessel_j0(x)
            return result

    program = torch.export.export(Unknown(), (torch.rand(3),))
    with pytest.raises(ExportError, match=r"bessel_j0"):
        ONNXExporter().export(program, None, tmp_path / "model.onnx")


def test_torchscript_is_exported(upscaler: nn.Module, tmp_path: Path) -> None:
    script = torch.jit.trace(  # type: ignore[no-untyped-call]
        upscaler, torch.rand(2, 3, 8, 8)
    )
    path = tmp_path / "model.onnx"
    metadata = ONNXExporter().export(script, torch.rand(1, 3, 8, 8), path, AXES)
    assert metadata["verified"]
    assert metadata["inputs"] == {"image": ["batch", 3, "height", "width"]}
    assert _shape(path, 5, 3, 7, 9) == (5, 3, 14, 18)
