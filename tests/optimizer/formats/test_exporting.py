from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.errors import (
    BaselineError,
    DimensionError,
    ExportError,
    ModelError,
    RuntimeFailure,
)
from mopt_optimizer.formats.exported_program import export_onnx, program_cases
from mopt_optimizer.formats.onnx import onnx_cases
from mopt_optimizer.onnx_files.opsets import OPSET, opset, parameters, upgraded
from mopt_optimizer.onnx_files.verify import Case, difference, verify, verify_export
from mopt_optimizer.opening.inputs import check_inputs
from mopt_optimizer.opening.loading import load_exported_program, load_onnx
from mopt_optimizer.opening.model_inputs import onnx_inputs, program_inputs

if TYPE_CHECKING:
    from torch.export import ExportedProgram

pytestmark = pytest.mark.optimizer


@pytest.fixture(scope="module")
def program(upscaler_pt2: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportedProgram:
    return load_exported_program(upscaler_pt2, tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="module")
def cases(
    program: ExportedProgram, image_input: InputSpec, image_dimensions: dict[str, DimensionRange]
) -> list[Case]:
    return program_cases(program, [image_input], image_dimensions)


@pytest.fixture(scope="module")
def exported(
    program: ExportedProgram,
    image_input: InputSpec,
    image_dimensions: dict[str, DimensionRange],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    names = check_inputs(program_inputs(program), [image_input], image_dimensions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own while it imports its exporter
        export_onnx(program, path, names)
    return path


def _dimensions(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_dimensions_keep_the_specs_names(exported: Path) -> None:
    graph = onnx.load(exported).graph
    assert _dimensions(graph.input[0]) == ["batch", 3, "height", "width"]
    assert _dimensions(graph.output[0]) == ["batch", 3, "2*height", "2*width"]


def test_export_is_valid_and_of_the_chosen_opset(exported: Path) -> None:
    model = load_onnx(exported)
    assert opset(model) == OPSET
    assert parameters(model) > 16 * 3 * 9 + 12 * 16 * 9


def test_export_carries_no_paths_of_the_machine(exported: Path) -> None:
    assert str(Path(__file__).parent).encode() not in exported.read_bytes()


def test_export_equals_eager_at_every_size(exported: Path, cases: list[Case]) -> None:
    verifications = verify_export(exported, cases)
    assert [v.dimensions for v in verifications] == [case.sizes for case in cases]
    assert len({tuple(v.dimensions.values()) for v in verifications}) >= 2
    assert all(v.passed and v.max_abs_error < 1e-5 for v in verifications)


def test_export_that_computes_something_else_is_refused(
    exported: Path, cases: list[Case], tmp_path: Path
) -> None:
    model = onnx.load(exported)
    weight = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    with pytest.raises(ExportError, match=r"something else: output \w+ differs by .* at batch 1"):
        verify_export(tmp_path / "wrong.onnx", cases)


def test_export_of_one_size_only_is_refused(
    exported: Path, cases: list[Case], tmp_path: Path
) -> None:
    """What an example batch of 1 does silently in other exporters."""
    model = onnx.load(exported)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    batch.dim_value = 1
    onnx.save(model, tmp_path / "fixed.onnx")
    with pytest.raises(ExportError, match="does not run"):
        verify_export(tmp_path / "fixed.onnx", cases)


def test_two_exports_are_the_same_bytes(
    program: ExportedProgram, exported: Path, tmp_path: Path
) -> None:
    names = {i.symbol: i.symbol for i in program_inputs(program)[0].axes if i.symbol}
    for name in ("a", "b"):
        export_onnx(program, tmp_path / name, names)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("low", "high", "at"), [(15, 17, "height 15"), (16, 17, "height 17"), (16, 33, "height 33")]
)
def test_sizes_that_the_program_excludes_are_named(
    image_input: InputSpec, tmp_path: Path, low: int, high: int, at: str
) -> None:
    import torch

    class Halves(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.reshape(image.shape[0], 3, 2, -1, image.shape[3])

    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        Halves(),
        (torch.rand(2, 3, 8, 8),),
        dynamic_shapes={"image": {0: dynamic, 2: dynamic, 3: dynamic}},
    )
    torch.export.save(program, tmp_path / "model.pt2")
    opened = load_exported_program(tmp_path / "model.pt2", tmp_path)
    dimensions = {
        "batch": DimensionRange(min=1, opt=1, max=2),
        # Steps of 2 from the smallest, so that only the ends can be odd.
        "height": DimensionRange.model_construct(min=low, opt=low, max=high, multiple_of=2),
        "width": DimensionRange(min=16, opt=16, max=17),
    }
    with pytest.raises(DimensionError, match=rf"not exported for .*{at}.*Guard failed"):
        program_cases(opened, [image_input], dimensions)


def test_model_that_fails_names_the_sizes() -> None:
    import torch

    class Fails(torch.nn.Module):
        def forward(self, matrix: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.linalg.cholesky(-matrix)
            return result

    program = torch.export.export(Fails(), (torch.eye(4).expand(2, 4, 4),))
    spec = InputSpec(name="matrix", shape=[2, 4, 4])
    with pytest.raises(BaselineError, match=r"the model fails at its fixed sizes: .*cholesky"):
        program_cases(program, [spec], {})


def test_operator_without_onnx_form_is_named(tmp_path: Path) -> None:
    import torch

    class Exotic(torch.nn.Module):
        def forward(self, matrix: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.linalg.eigvals(matrix).real
            return result

    program = torch.export.export(Exotic(), (torch.rand(2, 4, 4),))
    with pytest.raises(ExportError, match=r"cannot be exported: .*linalg_eig"):
        export_onnx(program, tmp_path / "model.onnx", {})


def _small_onnx(*, version: int = 17, op: str = "Relu", domain: str = "") -> onnx.ModelProto:
    sizes: list[str | int] = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        [helper.make_node(op, ["image"], ["result"], name="the_node", domain=domain)],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, sizes)],
    )
    imports = [helper.make_opsetid("", version)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def test_onnx_source_is_opened_and_run(
    tmp_path: Path, image_input: InputSpec, image_dimensions: dict[str, DimensionRange]
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(_small_onnx(), path)
    names = check_inputs(onnx_inputs(load_onnx(path)), [image_input], image_dimensions)
    assert names == {"n": "batch", "h": "height", "w": "width"}
    found = onnx_cases(path, [image_input], image_dimensions)
    for case in found:
        np.testing.assert_array_equal(case.expected[0], np.maximum(case.inputs["image"], 0))


def test_old_opset_is_raised() -> None:
    model = _small_onnx(version=11)
    assert opset(upgraded(model)) == OPSET
    assert upgraded(_small_onnx(version=17)).opset_import[0].version == 17


@pytest.mark.parametrize(
    "content", [b"", b"garbage that is no protobuf", b"PK\x03\x04", b"\x08\x07"]
)
def test_bytes_that_are_no_onnx_say_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not an ONNX model"):
        load_onnx(path)


def test_truncated_onnx_says_so(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(exported.read_bytes()[:-100])
    with pytest.raises(ModelError):
        load_onnx(path)


def test_invalid_graph_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(_small_onnx(op="NoSuchOperator"), path)
    with pytest.raises(ModelError, match="NoSuchOperator"):
        load_onnx(path)


def test_custom_domain_names_the_node(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(_small_onnx(op="Magic", domain="com.example"), path)
    with pytest.raises(ModelError, match=r"node 'the_node' uses Magic of the custom domain"):
        load_onnx(path)


def test_external_data_is_refused_even_if_it_leads_nowhere(tmp_path: Path) -> None:
    model = _small_onnx()
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    model.graph.initializer.append(tensor)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="weight 'w' lies in another file"):
        load_onnx(path)


def test_model_that_does_not_run_is_a_baseline_error(
    tmp_path: Path, image_input: InputSpec, image_dimensions: dict[str, DimensionRange]
) -> None:
    model = _small_onnx(op="Add")
    model.graph.node[0].input.append("offset")
    model.graph.initializer.append(helper.make_tensor("offset", TensorProto.FLOAT, [5], [1.0] * 5))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    with pytest.raises(BaselineError, match="fails at batch 1, height 16, width 16"):
        onnx_cases(path, [image_input], image_dimensions)


def test_nan_is_never_equal() -> None:
    good = np.ones(3, np.float32)
    bad = np.array([1, np.nan, 1], np.float32)
    assert not difference("y", bad, good).passed
    assert not difference("y", good, bad).passed
    assert difference("y", good, good).passed


def test_other_shape_is_never_equal() -> None:
    result = difference("y", np.ones((1, 3), np.float32), np.ones((3,), np.float32))
    assert not result.passed
    assert "output y is (1, 3), FP32's is (3,)" in result.message


@pytest.mark.parametrize(("error", "passed"), [(0.99e-3, True), (1.1e-3, False)])
def test_tolerance_is_relative_to_the_peak(error: float, passed: bool) -> None:
    expected = np.array([100, 0.0], np.float32)
    found = np.array([100, error * 100], np.float32)
    assert difference("y", found, expected).passed is passed


def test_file_that_is_no_model_is_a_runtime_failure(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(RuntimeFailure):
        verify(path, [])
