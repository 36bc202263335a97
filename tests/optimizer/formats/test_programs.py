"""Programs as people export them: keywords, several outputs, derived dimensions, state, halves."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mopt_api.enums import DType, Precision, Runtime
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.errors import DimensionError, ModelError
from mopt_optimizer.formats.base import Source
from mopt_optimizer.formats.exported_program import ExportedPrograms
from mopt_optimizer.onnx_files.verify import verify_export
from mopt_optimizer.progress import Timings
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.registry import open_runner

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.optimizer

IMAGE = InputSpec(name="image", shape=["batch", 3, "height", "width"])
IDS = [
    InputSpec(name=name, dtype=DType.INT64, shape=["batch", "length"])
    for name in ("input_ids", "attention_mask")
]
LENGTHS = {
    "batch": DimensionRange(min=1, opt=1, max=4),
    "length": DimensionRange(min=2, opt=6, max=16),
}


def sides(low: int, high: int, step: int | None = None) -> dict[str, DimensionRange]:
    side = DimensionRange(min=low, opt=low, max=high, multiple_of=step)
    return {"batch": DimensionRange(min=1, opt=1, max=2), "height": side, "width": side}


def saved(
    path: Path,
    module: torch.nn.Module,
    args: tuple[Any, ...],
    shapes: Any,
    kwargs: Mapping[str, Any] | None = None,
) -> Path:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(module, args, dict(kwargs or {}), dynamic_shapes=shapes)
        torch.export.save(program, path)
    return path


def prepared(
    path: Path, inputs: list[InputSpec], dimensions: dict[str, DimensionRange], folder: Path
) -> Path:
    """Export as prepare does, and verify it against eager."""
    source = Source(path, inputs, dimensions, folder, Timings(lambda *_, **__: None))
    target = folder / "fp32.onnx"
    cases = ExportedPrograms().to_onnx(source, target)
    assert len(cases) >= 2
    assert all(v.passed for v in verify_export(target, cases))
    return target


def unet() -> torch.nn.Module:
    import torch

    class UNet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 4, 3, padding=1)
            self.down = torch.nn.MaxPool2d(2)
            self.up = torch.nn.Upsample(scale_factor=2)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            first = self.first(image)
            second = self.down(first)
            result: torch.Tensor = self.up(self.up(self.down(second)) + second) + first
            return result

    return UNet().eval()


def encoder() -> torch.nn.Module:
    import torch

    class Encoder(torch.nn.Module):
        calls: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(10, 8)
            self.linear = torch.nn.Linear(8, 8)
            self.register_buffer("calls", torch.zeros(1))

        def forward(
            self, input_ids: Any = None, attention_mask: Any = None, return_dict: bool = True
        ) -> Any:
            self.calls += 1
            hidden = self.linear(self.embedding(input_ids)) * attention_mask[..., None].float()
            found = {"hidden": hidden, "pooled": hidden.mean(1), "last": hidden}
            return found if return_dict else tuple(found.values())

    torch.manual_seed(0)
    return Encoder().eval()


def ids_for_export() -> tuple[dict[str, Any], dict[str, Any]]:
    import torch

    free = torch.export.Dim.DYNAMIC
    ones = torch.ones(2, 6, dtype=torch.int64)
    names = ("input_ids", "attention_mask")
    return dict.fromkeys(names, ones), {name: {0: free, 1: free} for name in names}


def test_multiples_of_a_hidden_dimension_stay_dynamic(tmp_path: Path) -> None:
    import onnx
    import torch

    free, dim = torch.export.Dim.DYNAMIC, torch.export.Dim
    shapes = {"image": {0: free, 2: 4 * dim("_h", min=4), 3: 4 * dim("_w", min=4)}}
    path = saved(tmp_path / "unet.pt2", unet(), (torch.rand(2, 3, 32, 40),), shapes)
    (image,) = ExportedPrograms().describe(path, {}, tmp_path).inputs
    assert image.axes is not None
    assert [(a.minimum, a.multiple_of) for a in image.axes] == [
        *((None, None), (None, None), (16, 4), (16, 4))
    ]
    target = prepared(path, [IMAGE], sides(16, 96, 4), tmp_path)
    graph = onnx.load(target).graph
    axes = [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", 3, "height", "width"]
    with pytest.raises(DimensionError, match=r"the model takes multiples of 4: set multipleOf"):
        prepared(path, [IMAGE], sides(16, 96), tmp_path)


def test_sizes_that_the_trace_implies_are_found(tmp_path: Path) -> None:
    """torch writes no range for them: what it assumed while tracing stands in the guards."""
    import torch

    free = torch.export.Dim.DYNAMIC
    shapes = {"image": {0: free, 2: free, 3: free}}
    path = saved(tmp_path / "unet.pt2", unet(), (torch.rand(2, 3, 32, 40),), shapes)
    (image,) = ExportedPrograms().describe(path, {}, tmp_path).inputs
    assert image.axes is not None
    assert [(a.minimum, a.maximum, a.multiple_of) for a in image.axes[2:]] == [(8, None, 4)] * 2
    with pytest.raises(
        DimensionError,
        match=r"it takes, in spec\.dimensions: height min: 8, multipleOf: 4; width min: 8, "
        "multipleOf: 4",
    ):
        prepared(path, [IMAGE], sides(6, 98), tmp_path)
    prepared(path, [IMAGE], sides(8, 96, 4), tmp_path)


@pytest.mark.parametrize("extra", [{}, {"return_dict": False}], ids=["tensors", "a constant too"])
def test_keyword_inputs_and_state_go_through(tmp_path: Path, extra: dict[str, Any]) -> None:
    import onnx

    kwargs, shapes = ids_for_export()
    shapes |= dict.fromkeys(extra)
    path = saved(tmp_path / "encoder.pt2", encoder(), (), shapes, kwargs | extra)
    described = ExportedPrograms().describe(path, {}, tmp_path)
    assert [i.name for i in described.inputs] == ["input_ids", "attention_mask"]
    target = prepared(path, IDS, LENGTHS, tmp_path)
    graph = onnx.load(target).graph
    assert [i.name for i in graph.input] == ["input_ids", "attention_mask"]
    assert len(graph.output) == 3
    opening = Opening(runtime=Runtime.PYTORCH, precision=Precision.FP32, path=path, threads=1)
    feeds = {name: np.ones((3, 5), np.int64) for name in ("attention_mask", "input_ids")}
    with open_runner(opening) as runner:
        assert [o.shape for o in runner.run(feeds).values()] == [(3, 5, 8), (3, 8), (3, 5, 8)]


def test_nested_inputs_keep_their_conditions(tmp_path: Path) -> None:
    import torch

    class Nested(torch.nn.Module):
        def forward(self, batch: dict[str, torch.Tensor], more: list[torch.Tensor]) -> Any:
            halves = batch["ids"].reshape(batch["ids"].shape[0], 2, -1)
            return halves.sum(1), more[0] + 1

    free = torch.export.Dim.DYNAMIC
    path = saved(
        tmp_path / "nested.pt2",
        Nested().eval(),
        ({"ids": torch.rand(2, 6)}, [torch.rand(2, 6)]),
        {"batch": {"ids": {0: free, 1: free}}, "more": [{0: free}]},
    )
    inputs = ExportedPrograms().describe(path, {}, tmp_path).inputs
    assert [i.name for i in inputs] == ["batch_ids", "more_0"]
    assert inputs[0].axes is not None
    assert inputs[0].axes[1].multiple_of == 2
    spec = [
        InputSpec(name="batch_ids", shape=["batch", "length"]),
        InputSpec(name="more_0", shape=["others", 6]),
    ]
    others = {"others": DimensionRange(min=2, opt=2, max=4)}
    even = {"length": DimensionRange(min=4, opt=6, max=16, multiple_of=2)}
    with pytest.raises(DimensionError, match=r"length min: 4, multipleOf: 2$"):
        prepared(path, spec, LENGTHS | others, tmp_path)
    prepared(path, spec, LENGTHS | others | even, tmp_path)


@pytest.mark.parametrize("kind", ["BatchNorm", "Dropout"])
def test_export_in_training_mode_is_named(tmp_path: Path, kind: str) -> None:
    import torch

    layer = {"BatchNorm": torch.nn.BatchNorm2d(3), "Dropout": torch.nn.Dropout(0.5)}[kind]
    path = saved(
        tmp_path / "training.pt2",
        torch.nn.Sequential(layer).train(),
        (torch.rand(2, 3, 8, 8),),
        None,
    )
    with pytest.raises(ModelError, match=rf"training mode: .* is a {kind} .*call model\.eval\(\)"):
        ExportedPrograms().describe(path, {}, tmp_path)


def test_baked_in_batch_says_how_to_free_it(tmp_path: Path) -> None:
    import torch

    path = saved(tmp_path / "one.pt2", unet(), (torch.rand(1, 3, 32, 32),), None)
    with pytest.raises(DimensionError, match=r"axis 0 .* fixed to 1 .*example .* 2 or more"):
        prepared(path, [IMAGE], sides(32, 32), tmp_path)


@pytest.mark.parametrize("halved", ["weights", "inputs too"])
def test_half_weights_go_through(tmp_path: Path, halved: str) -> None:
    import torch

    class Halves(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, padding=1).half()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.conv(image.half()).to(image.dtype)
            return result

    torch.manual_seed(0)
    free = torch.export.Dim.DYNAMIC
    example = torch.rand(2, 3, 16, 16)
    dtype = DType.FLOAT32
    if halved == "inputs too":
        example, dtype = example.half(), DType.FLOAT16
    path = saved(
        tmp_path / "half.pt2", Halves().eval(), (example,), {"image": {0: free, 2: free, 3: free}}
    )
    image = InputSpec(name="image", dtype=dtype, shape=["batch", 3, "height", "width"])
    prepared(path, [image], sides(16, 32), tmp_path)


def test_minus_infinity_as_an_argument_is_taken(tmp_path: Path) -> None:
    import torch

    class Causal(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            size = image.shape[2]
            mask = torch.full((size, size), float("-inf")).triu(1)
            scores = image @ image.transpose(2, 3) + mask
            padded = torch.nn.functional.pad(image, (0, 1), value=float("-inf"))
            return torch.softmax(scores, -1), padded.max(-1).values

    free = torch.export.Dim.DYNAMIC
    path = saved(
        tmp_path / "causal.pt2",
        Causal().eval(),
        (torch.rand(2, 3, 8, 10),),
        {"image": {0: free, 2: free, 3: free}},
    )
    prepared(path, [IMAGE], sides(8, 32), tmp_path)
