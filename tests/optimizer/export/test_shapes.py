"""Several inputs and outputs, integers, keywords, dynamic shapes, control flow; and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from mopt_optimizer.errors import BaselineError, DimensionError, ExportError, OpsetError, SpecError
from mopt_optimizer.export import ONNXExportConfig, ONNXExporter
from mopt_optimizer.onnx_files.verify import Arrays, OnnxSession

pytestmark = pytest.mark.optimizer

PLAIN = ONNXExporter(ONNXExportConfig(optimize=False))


class Encoder(nn.Module):
    """Token ids and a mask to states and the best position."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(50, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)

    def forward(self, ids: torch.Tensor, *, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        states = self.layer(self.embed(ids)) * mask.unsqueeze(-1)
        return {"states": states, "best": states[..., 0].argmax(-1)}


def test_integers_keywords_and_several_outputs(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = Encoder().eval()
    ids = torch.randint(0, 50, (1, 6), generator=torch.Generator().manual_seed(0))
    metadata = PLAIN.export(
        model,
        ids,
        path,
        {"ids": {0: "batch", 1: "length"}, "mask": {0: "batch", 1: "length"}},
        kwargs={"mask": torch.ones(1, 6)},
    )
    assert metadata["inputs"] == {"ids": ["batch", "length"], "mask": ["batch", "length"]}
    assert list(metadata["outputs"]) == ["output_0", "output_1"]
    for name in ("batch", "length"):
        assert len({v["dimensions"][name] for v in metadata["verifications"]}) >= 2
    feeds: Arrays = {"ids": np.arange(21).reshape(3, 7), "mask": np.ones((3, 7), np.float32)}
    states, best = OnnxSession(path).run(feeds)
    with torch.no_grad():
        expected = model(torch.from_numpy(feeds["ids"]), mask=torch.from_numpy(feeds["mask"]))
    np.testing.assert_allclose(states, expected["states"].numpy(), atol=1e-5)
    np.testing.assert_array_equal(best, expected["best"].numpy())
    assert {e["output"]: e["tolerance"] for e in metadata["output_errors"]}["output_1"] == 0


class Sums(nn.Module):
    def forward(
        self, first: torch.Tensor, others: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        total = first + others[0] * others[1]
        return total, total.mean(0)


def test_dynamic_shapes_of_nested_inputs(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    rows = Dim("rows", max=64)
    metadata = PLAIN.export(
        Sums(),
        (torch.rand(4, 3), [torch.rand(4, 3), torch.rand(4, 3)]),
        path,
        dynamic_shapes={"first": {0: rows}, "others": [{0: rows}, {0: rows}]},
    )
    assert metadata["inputs"] == {n: ["rows", 3] for n in ("first", "others_0", "others_1")}
    assert metadata["outputs"]["output_0"] == ["rows", 3]


def test_dynamic_shapes_with_names(tmp_path: Path) -> None:
    metadata = PLAIN.export(
        nn.Linear(3, 2), torch.rand(1, 3), tmp_path / "m.onnx", dynamic_shapes=({0: "n"},)
    )
    assert metadata["inputs"] == {"input": ["n", 3]}


def test_unnamed_axes_get_names(tmp_path: Path) -> None:
    config = ONNXExportConfig(optimize=False, input_names=("rows",), output_names=("scores",))
    metadata = ONNXExporter(config).export(
        nn.Linear(3, 2), torch.rand(1, 3), tmp_path / "m.onnx", {"rows": [0], "scores": [0]}
    )
    assert metadata["inputs"] == {"rows": ["rows_axis0", 3]}
    assert metadata["outputs"] == {"scores": ["rows_axis0", 2]}


class Folds(nn.Module):
    """Takes multiples of 4 only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1, 4, x.shape[1] // 4).sum(1)


def test_sizes_in_steps_are_found(tmp_path: Path) -> None:
    metadata = PLAIN.export(Folds(), torch.rand(2, 8), tmp_path / "m.onnx", {"x": {1: "width"}})
    widths = {v["dimensions"]["width"] for v in metadata["verifications"]}
    assert len(widths) >= 2
    assert all(width % 4 == 0 for width in widths)


class Loops(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.cond(
            x.sum() > 0, lambda t: t * 2, lambda t: torch.relu(t) - 1, (x,)
        )
        return result


class Halved(nn.Module):
    """Takes multiples of 4 only: what it halves twice must fit what it kept."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        small = nn.functional.max_pool2d(image, 4)
        return torch.cat([image, small.repeat(1, 1, 4, 4)], 1)


class Cache(nn.Module):
    """Appends to a cache; the mask is as long as both."""

    def forward(self, new: torch.Tensor, mask: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
        return torch.cat([past, new], 1) * mask


def test_multiples_keep_their_names(tmp_path: Path) -> None:
    shapes = {"image": {2: 4 * Dim("_h"), 3: 4 * Dim("_w")}}
    image = torch.rand(1, 2, 16, 24)
    metadata = PLAIN.export(Halved(), image, tmp_path / "m.onnx", dynamic_shapes=shapes)
    assert metadata["inputs"]["image"] == [1, 2, "4*_h", "4*_w"]
    assert {tuple(sorted(v["dimensions"])) for v in metadata["verifications"]} == {("_h", "_w")}
    assert len({v["dimensions"]["_h"] for v in metadata["verifications"]}) >= 2


def test_program_with_bounds_of_multiples_from_a_file(tmp_path: Path) -> None:
    shapes = {"image": {2: 4 * Dim("_h", min=4), 3: 4 * Dim("_w", min=4)}}
    image = torch.rand(1, 2, 16, 24)
    saved = torch.export.export(Halved(), (image,), dynamic_shapes=shapes)
    torch.export.save(saved, tmp_path / "m.pt2")
    program = torch.export.load(tmp_path / "m.pt2")
    ranges = dict(program.range_constraints)
    metadata = PLAIN.export(program, image, tmp_path / "m.onnx")
    assert metadata["verified"]
    assert dict(program.range_constraints) == ranges  # The caller's program is as it was.
    assert len({tuple(v["dimensions"].values()) for v in metadata["verifications"]}) >= 2


@pytest.mark.parametrize("exported", [False, True])
def test_sums_stay_sums(exported: bool, tmp_path: Path) -> None:
    axes = {"new": {1: "length"}, "mask": {1: "total"}, "past": {1: "kept"}}
    example = {"new": torch.rand(2, 3), "mask": torch.rand(2, 8), "past": torch.rand(2, 5)}
    auto = {name: {1: Dim.AUTO} for name in example}
    if exported:
        program = torch.export.export(Cache(), (), example, dynamic_shapes=auto)
        metadata = PLAIN.export(program, example, tmp_path / "m.onnx", axes)
    else:
        metadata = PLAIN.export(Cache(), example, tmp_path / "m.onnx", axes)
    assert metadata["inputs"]["mask"] == [2, "kept + length"]
    sizes = [v["dimensions"] for v in metadata["verifications"]]
    assert len({size["kept"] for size in sizes}) >= 2


def test_control_flow_keeps_working(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    metadata = ONNXExporter().export(Loops(), torch.ones(2, 3), path, {"x": {0: "n"}})
    assert metadata["verified"]
    session = OnnxSession(path)
    ones = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(session.run({"x": ones})[0], ones * 2)
    np.testing.assert_array_equal(session.run({"x": -ones})[0], -ones)


class FixesBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, 3) + torch.ones(2, 3)


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ({"x": {0: "n"}}, DimensionError, "a dynamic axis is not possible"),
        ({"z": {0: "n"}}, DimensionError, "dynamic_axes names 'z'; the inputs are x"),
        ({"x": {5: "n"}}, DimensionError, "input x has no axis 5: its rank is 2"),
    ],
)
def test_axes_that_cannot_be(
    tmp_path: Path, axes: dict[str, dict[int, str]], error: type[Exception], message: str
) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(error, match=message):
        PLAIN.export(FixesBatch(), torch.rand(2, 3), path, axes)
    assert not list(tmp_path.iterdir())


def test_axes_that_are_tied_need_one_name(tmp_path: Path) -> None:
    class Square(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.transpose(0, 1)

    with pytest.raises(DimensionError):
        PLAIN.export(Square(), torch.rand(4, 4), tmp_path / "m.onnx", {"x": {0: "h", 1: "w"}})


class Sorts(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = torch.linalg.eigvals(x).real
        return values


class Fails(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError(f"not today: {x.ndim}")


class Number(nn.Module):
    def forward(self, x: torch.Tensor) -> object:
        return x, 3


@pytest.mark.parametrize(
    ("model", "dummy", "error", "message"),
    [
        (Sorts(), torch.rand(4, 4), ExportError, "cannot be exported: .*eig"),
        (Fails(), torch.rand(4), BaselineError, "fails on dummy_input: not today"),
        (Number(), torch.rand(4), ExportError, "returns a int; ONNX has tensors only"),
        (nn.ReLU(), (torch.rand(1), torch.rand(1)), SpecError, "does not fit forward"),
        (nn.ReLU(), (), SpecError, "does not fit forward: missing"),
        (nn.ReLU(), 3, SpecError, "holds no tensor"),
        (torch.relu, torch.rand(1), SpecError, "cannot be exported: pass a torch.nn.Module"),
    ],
)
def test_models_that_cannot_be(
    tmp_path: Path, model: nn.Module, dummy: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        PLAIN.export(model, dummy, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": ("fuse_all",)}, "unknown pass fuse_all"),
        ({"exclude_passes": ("fuse_all",)}, "unknown pass fuse_all"),
        ({"input_names": ("a", "a")}, "empty or not unique"),
        ({"output_names": ("",)}, "empty or not unique"),
        ({"input_names": ("a",), "output_names": ("a",)}, "an input's and an output's"),
    ],
)
def test_options_that_cannot_be(options: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ONNXExportConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_names": ("a", "b")}, "2 names for the 1 inputs"),
        ({"output_names": ("a", "b")}, "2 names for 1 outputs"),
    ],
)
def test_names_must_fit_the_model(
    tmp_path: Path, options: dict[str, tuple[str, ...]], message: str
) -> None:
    config = ONNXExportConfig(optimize=False, **options)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=message):
        ONNXExporter(config).export(nn.ReLU(), torch.rand(2), tmp_path / "m.onnx")


def test_training_mode_is_given_back(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    model[0].eval()
    PLAIN.export(model, torch.rand(2, 3), tmp_path / "m.onnx")
    assert (model.training, model[0].training, model[1].training) == (True, False, True)


def test_passes_can_be_switched(tmp_path: Path) -> None:
    config = ONNXExportConfig(
        passes=("fuse_clips", "fold_constants"), exclude_passes=("fold_constants",)
    )
    metadata = ONNXExporter(config).export(nn.ReLU(), torch.rand(2), tmp_path / "m.onnx")
    (report,) = metadata["passes"]
    assert (report["name"], report["outcome"]) == ("fuse_clips", "NoChange")
    assert report["bytes_before"] == report["bytes_after"] > 0


def test_unverified_is_said(tmp_path: Path) -> None:
    config = ONNXExportConfig(optimize=False, verify_export=False)
    metadata = ONNXExporter(config).export(nn.ReLU(), torch.rand(2), tmp_path / "m.onnx")
    assert (metadata["verified"], metadata["verifications"]) == (False, [])


def test_opset_that_no_way_leads_to_names_one_that_is_possible(tmp_path: Path) -> None:
    """LayerNormalization is of opset 17; keywords keep the module from TorchScript's exporter."""

    class Normalizes(nn.Module):
        def forward(self, *, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.layer_norm(x, (4,))

    config = ONNXExportConfig(optimize=False, opset_version=9)
    with pytest.raises(OpsetError, match=r"opset 9 is not possible: .*; \d+ is the oldest that is"):
        ONNXExporter(config).export(Normalizes(), {"x": torch.rand(2, 4)}, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
