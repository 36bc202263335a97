"""A ModelOptimization from a description of a model."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mopt_api.spec import ModelOptimizationSpec, QualityGate
from mopt_cli._errors import CliError
from mopt_cli.initial_gates import gate_lines, gates_of
from mopt_cli.initial_inputs import range_of
from mopt_cli.initializing import PLACEHOLDER, Places, resource_name, resource_text
from mopt_optimizer.formats.base import DescribedAxis, DescribedValue, ModelDescription


def described(inputs: list[Any], outputs: list[Any] | None = None) -> ModelDescription:
    return ModelDescription.model_validate(
        {
            "format": "ONNX",
            "sizeBytes": 1,
            "parameters": 1,
            "nodes": 1,
            "operators": {},
            "inputs": inputs,
            "outputs": outputs or [],
        }
    )


def value(name: str, *axes: int | str | dict[str, Any], dtype: str = "float32") -> dict[str, Any]:
    def axis(size: int | str | dict[str, Any]) -> dict[str, Any]:
        if isinstance(size, dict):
            return size
        return {"size": size} if isinstance(size, int) else {"symbol": size or None}

    return {"name": name, "dtype": dtype, "axes": [axis(a) for a in axes]}


def spec_of(description: ModelDescription, **options: Any) -> ModelOptimizationSpec:
    defaults: dict[str, Any] = {"name": "m", "file_name": "m.onnx", "sha256": "12e4" * 16}
    text = resource_text(description, **(defaults | options))
    assert PLACEHOLDER in text
    document = yaml.safe_load(text)
    assert document["metadata"]["name"] == defaults["name"]
    return ModelOptimizationSpec.model_validate(document["spec"])


def test_names_of_the_model_are_kept_and_others_made() -> None:
    spec = spec_of(described([value("ids", "n", "seq", dtype="int64"), value("mask", "n", "s7")]))
    assert [i.shape for i in spec.inputs] == [["n", "seq"], ["n", "length"]]
    assert spec.inputs[0].dtype == "int64"
    assert spec.dimensions["n"].max == 8
    assert spec.data.evaluation is not None


def test_image_model_gets_height_width_and_psnr() -> None:
    output = value("out", "s0", 3, "4*s1", "4*s2")
    spec = spec_of(described([value("image", "s0", 3, "s1", "s2")], [output]))
    assert spec.inputs[0].shape == ["batch", 3, "height", "width"]
    assert [(g.metric, g.minimum) for g in spec.quality] == [("PSNR", 40)]


def test_batch_of_one_in_the_file_is_said() -> None:
    def text(*axes: int | str) -> str:
        options: dict[str, Any] = {"name": "m", "file_name": "m.onnx", "sha256": "0" * 64}
        return resource_text(described([value("x", *axes)]), **options)

    assert "[1, 3, 8, 8]  # axis 0 is fixed to 1 in the file" in text(1, 3, 8, 8)
    assert "is fixed to 1" not in text("n", 1, 8)
    assert "is fixed to 1" not in text(1)


def test_classifier_gets_top1_agreement() -> None:
    spec = spec_of(described([value("x", "s0", 16)], [value("scores", "s0", 10)]))
    assert [g.metric for g in spec.quality] == ["Top1Agreement", "Cosine"]


def test_unnamed_sizes_are_different_dimensions() -> None:
    spec = spec_of(described([value("a", "", ""), value("b", "", "")]))
    assert [i.shape for i in spec.inputs] == [["batch", "length"], ["b_batch", "b_length"]]
    assert spec.dimensions["b_batch"].max == 8


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (("", 3, "", ""), ["batch", 3, "height", "width"]),
        (("", "", "", 3), ["batch", "height", "width", 3]),
        (("", 64, "", ""), ["batch", 64, "height", "width"]),
        (("", "", "", ""), ["batch", "channels", "height", "width"]),
        (("", 1, "", "", ""), ["batch", 1, "depth", "height", "width"]),
        (("", "", 80), ["batch", "length", 80]),
        (("batch", "", "", "batch"), ["batch", "channels", "height", "batch"]),
    ],
)
def test_unnamed_sizes_are_named_by_their_place(
    axes: tuple[int | str, ...], expected: list[int | str]
) -> None:
    assert spec_of(described([value("x", *axes)])).inputs[0].shape == expected


@pytest.mark.parametrize(
    ("axis", "name", "expected"),
    [
        ({"symbol": "s"}, "batch", (1, 1, 8)),
        ({"symbol": "s", "minimum": 4, "maximum": 6}, "batch", (4, 4, 6)),
        ({"symbol": "s", "maximum": 100}, "height", (32, 100, 100)),
        ({"symbol": "s", "maximum": 16}, "height", (16, 16, 16)),
        ({"symbol": "s", "minimum": 600}, "height", (600, 600, 600)),
        ({"symbol": "s", "multiple_of": 48}, "height", (48, 96, 480)),
        ({"symbol": "s", "maximum": 2**62}, "length", (1, 64, 512)),
    ],
)
def test_ranges_follow_the_file(
    axis: dict[str, Any], name: str, expected: tuple[int, int, int]
) -> None:
    found = range_of(DescribedAxis.model_validate(axis), name)
    assert (found.minimum, found.opt, found.maximum) == expected


def test_bounds_of_the_file_are_not_marked_as_guesses() -> None:
    bounded = range_of(DescribedAxis(symbol="s", maximum=100), "height")
    guessed = range_of(DescribedAxis(symbol="s"), "height")
    assert (bounded.bounded, guessed.bounded) == (True, False)


def test_hostile_names_stay_text() -> None:
    hostile = 'a"\n# x\x1b[2J: {'
    spec = spec_of(described([value(hostile, 1, 3)]), file_name="evil\nspec: {}.onnx")
    assert spec.inputs[0].name == hostile


def test_shape_that_the_file_does_not_tell_is_asked_for() -> None:
    description = described([{"name": "x"}])
    with pytest.raises(CliError, match="give --input x:1x3x128x128"):
        spec_of(description)
    assert spec_of(description, shapes={"x": [1, 8]}).inputs[0].shape == [1, 8]
    with pytest.raises(CliError, match="--input y: the model has x"):
        spec_of(description, shapes={"y": [1, 8]})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([value("x", 1, dtype="uint64")], "input x is uint64; mopt supports float32"),
        ([value("x", 1, dtype="string")], r"input x takes text \(string\).* cut off what reads"),
        ([], "the model has no inputs"),
    ],
)
def test_what_mopt_does_not_take_is_told(inputs: list[Any], message: str) -> None:
    with pytest.raises(CliError, match=message):
        spec_of(described(inputs))


@pytest.mark.parametrize(
    ("stem", "expected"),
    [("My Model_v2", "my-model-v2"), ("---", "model"), ("a" * 60, "a" * 40)],
)
def test_resource_name_is_a_label(stem: str, expected: str) -> None:
    assert resource_name(stem) == expected


def test_scalars_and_small_integers_are_inputs() -> None:
    spec = spec_of(described([value("x", "n", dtype="uint8"), value("scale", dtype="float64")]))
    assert [(i.dtype, i.shape) for i in spec.inputs] == [("uint8", ["n"]), ("float64", [])]


def test_sums_become_derived_dimensions() -> None:
    total = {"symbol": "mask[1]", "sum_of": ["past_key[2]", "ids[1]"]}
    inputs = [
        value("ids", "ids[0]", "ids[1]", dtype="int64"),
        value("mask", "ids[0]", total, dtype="int64"),
        value("past_key", "ids[0]", 4, "past_key[2]", 8),
    ]
    spec = spec_of(described(inputs))
    assert [i.shape for i in spec.inputs] == [
        ["batch", "length"],
        ["batch", "total"],
        ["batch", 4, "past", 8],
    ]
    assert spec.derived_dimensions["total"].sum_of == ["past", "length"]
    assert "total" not in spec.dimensions
    assert spec.every_dimension["total"].opt == 128


def test_batch_that_the_graph_fixes_is_said() -> None:
    batch = {"symbol": "batch", "minimum": 1, "maximum": 1}
    options: dict[str, Any] = {"name": "m", "file_name": "m.onnx", "sha256": "0" * 64}
    text = resource_text(described([value("x", batch, 3)]), **options)
    assert "axis 0 is fixed to 1 in the graph" in text


def test_a_store_leaves_nothing_to_edit() -> None:
    options: dict[str, Any] = {"name": "m", "file_name": "m.onnx", "sha256": "0" * 64}
    places = Places("s3://team/models", evaluation="s3://other/set/")
    text = resource_text(described([value("x", "n", 3)]), **options, places=places)
    document = yaml.safe_load(text)["spec"]
    assert "CHANGE ME" not in "\n".join(text.splitlines()[3:])
    assert document["model"]["uri"] == "s3://team/models/models/m/m.onnx"
    assert document["data"]["evaluation"]["uri"] == "s3://other/set/"
    assert document["output"] == {"uri": "s3://team/models/optimized/m"}
    ModelOptimizationSpec.model_validate(document)


def test_why_a_model_did_not_run_is_said() -> None:
    description = described([value("x", "n")]).model_copy(update={"failure": "bad\nluck: no"})
    options: dict[str, Any] = {"name": "m", "file_name": "m.onnx", "sha256": "0" * 64}
    assert "# bad luck: no\n" in resource_text(description, **options)


def seen(name: str, *axes: int | str, **found: Any) -> DescribedValue:
    shape = [axis if isinstance(axis, int) else 2 for axis in axes]
    described = value(name, *axes, dtype=found.pop("dtype", "float32"))
    return DescribedValue.model_validate(described | {"seen": {"shape": shape} | found})


@pytest.mark.parametrize(
    ("outputs", "images", "expected"),
    [
        ([seen("y", "n", 3, "h", "w", minimum=0, maximum=0.9)], True, [("PSNR", None, "1.0")]),
        ([seen("y", "n", 3, "h", "w", minimum=3, maximum=250)], True, [("PSNR", None, "255.0")]),
        ([seen("y", "n", 3, "h", "w", minimum=-1, maximum=1)], True, [("PSNR", None, "2.0")]),
        ([seen("y", "n", 21, "h", "w")], True, [("Cosine", None, None)]),
        ([seen("y", "n", 10)], True, [("Top1Agreement", None, None), ("Cosine", None, None)]),
        ([seen("y", "n", 64, unit_length=True)], True, [("Cosine", None, None)]),
        ([seen("embedding", "n", 64)], True, [("Cosine", None, None)]),
        ([seen("y", "n", 1)], False, [("SQNR", None, None)]),
        ([seen("y", "n")], False, [("SQNR", None, None)]),
        (
            [seen("boxes", "n", 100, 4), seen("scores", "n", 100, 80), seen("rest", "n", 100)],
            True,
            [("Top1Agreement", "scores", None), ("Cosine", None, None)],
        ),
        ([seen("labels", "n", dtype="int64")], True, [("Cosine", None, None)]),
        ([], True, [("Cosine", None, None)]),
    ],
)
def test_gates_suit_the_outputs(
    outputs: list[DescribedValue], images: bool, expected: list[tuple[Any, ...]]
) -> None:
    gates = gates_of(outputs, images=images)
    assert [(g.metric, g.output, g.data_range) for g in gates] == expected


def test_neighbors_of_embeddings_are_proposed() -> None:
    """As a comment: the gate needs 20 samples, which a first try may not have."""
    lines = gate_lines(gates_of([seen("y", "n", 64, unit_length=True)], images=True))
    (comment,) = [line for line in lines if "NeighborAgreement" in line]
    proposed = yaml.safe_load("\n".join([*lines[:-1], comment.replace("# - ", "- ")]))["quality"]
    gates = [QualityGate.model_validate(one) for one in proposed]
    assert [(gate.metric, gate.aggregate) for gate in gates] == [
        *(("Cosine", "Worst"), ("NeighborAgreement", "Mean")),
    ]
    others = gate_lines(gates_of([seen("y", "n", 10)], images=True))
    assert "NeighborAgreement" not in "\n".join(others)


def test_gates_are_no_more_than_a_spec_takes() -> None:
    outputs = [seen(f"score{n}", "n", 10) for n in range(9)]
    assert len(gates_of(outputs, images=False)) == 4
