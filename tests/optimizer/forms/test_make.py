"""Each form on a small real model: smaller, close, dynamic, the same bytes every time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from runners import opened

from mopt_api.enums import Precision, QualityMetric, Runtime
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization
from mopt_optimizer.data.images import decode
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.formats.exported_program import export_onnx, program_cases
from mopt_optimizer.forms.checking import Beside
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.make import make
from mopt_optimizer.forms.material import Material
from mopt_optimizer.forms.registry import FormKind
from mopt_optimizer.onnx_files.verify import Case
from mopt_optimizer.opening.inputs import check_inputs
from mopt_optimizer.opening.loading import load_exported_program
from mopt_optimizer.opening.model_inputs import program_inputs
from mopt_optimizer.quality import sqnr

pytestmark = pytest.mark.optimizer

FORMS = {
    kind: Form(kind=kind)
    for kind in (
        FormKind.ONNX_FP16,
        FormKind.ONNX_BF16,
        FormKind.NNCF,
        FormKind.TENSORRT_INT8,
        FormKind.TENSORRT_FP8,
        FormKind.TORCH_FP16,
        FormKind.TORCH_BF16,
        FormKind.TORCH_INT8,
    )
}
DYNAMIC = Form(
    kind=FormKind.TORCH_INT8, quantization=Quantization.model_validate({"mode": "Dynamic"})
)


@pytest.fixture(scope="module")
def material(
    upscaler_pt2: Path,
    photographs: Path,
    image_input: InputSpec,
    image_dimensions: dict[str, DimensionRange],
    tmp_path_factory: pytest.TempPathFactory,
) -> Material:
    folder = tmp_path_factory.mktemp("material")
    program = load_exported_program(upscaler_pt2, folder)
    names = check_inputs(program_inputs(program), [image_input], image_dimensions)
    cases = program_cases(program, [image_input], image_dimensions)
    export_onnx(program, folder / "fp32.onnx", names)
    samples: list[Inputs] = [
        {"image": decode(path.name, path, ImageTransform())}
        for path in sorted(photographs.iterdir())
    ]
    beside = Beside(cases[0].inputs, samples)
    return Material(folder / "fp32.onnx", upscaler_pt2, samples, [], cases, beside)


def outputs(path: Path, feeds: Inputs, runtime: Runtime, precision: Precision) -> Any:
    with opened(runtime, precision, path, 1) as runner:
        (output,) = runner.run(feeds).values()
    return output


def runs_in(form: Form) -> tuple[Runtime, Precision]:
    """Where a form runs; INT8 of PyTorch eager here: what is computed is the same."""
    if form.from_program:
        return Runtime.PYTORCH, Precision.FP32
    if form.kind in (FormKind.NNCF, FormKind.ONNX_BF16):
        # ONNX Runtime has no kernels for BF16 on CPUs.
        return Runtime.OPENVINO, Precision.FP32
    return Runtime.ONNX_RUNTIME, Precision.FP16


@pytest.mark.parametrize("form", [*FORMS.values(), DYNAMIC], ids=lambda form: form.name())
def test_form_is_close_at_sizes_that_no_sample_had(
    material: Material, tmp_path: Path, form: Form
) -> None:
    target = tmp_path / f"made{form.suffix}"
    report = make(form, material, target)
    assert report.name == form.name()
    feeds: Inputs = {"image": np.random.default_rng(3).random((3, 3, 20, 36), dtype=np.float32)}
    expected = outputs(material.fp32, feeds, Runtime.ONNX_RUNTIME, Precision.FP32)
    found = outputs(target, feeds, *runs_in(form))
    assert found.shape == (3, 3, 40, 72)
    # Below 100: something was rounded; FP32's own agreement is above 120.
    assert 30 < sqnr(expected, found) < 100


@pytest.mark.parametrize("form", [*FORMS.values(), DYNAMIC], ids=lambda form: form.name())
def test_same_material_gives_the_same_bytes(material: Material, tmp_path: Path, form: Form) -> None:
    files = [tmp_path / f"{name}{form.suffix}" for name in "ab"]
    for file in files:
        make(form, material, file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_fp16_halves_the_weights_and_says_what_stays(material: Material, tmp_path: Path) -> None:
    report = make(FORMS[FormKind.ONNX_FP16], material, tmp_path / "fp16.onnx")
    graph = onnx.load(tmp_path / "fp16.onnx").graph
    weights = [t for t in graph.initializer if len(t.dims) == 4]
    assert {t.data_type for t in weights} == {TensorProto.FLOAT16}
    assert report.quantized_nodes > 0
    assert "Resize is unsafe in FP16" in report.kept.values()
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


BEST = Form(kind=FormKind.TENSORRT_INT8, best=True)


def test_tensorrt_int8_reads_int8_in_layers_alone_and_computes_the_rest_in_fp16(
    material: Material, tmp_path: Path
) -> None:
    report = make(BEST, material, tmp_path / "int8.onnx")
    assert report.name == "tensorrt-int8-best-perchannel"
    assert report.quantized_nodes == 2
    graph = onnx.load(tmp_path / "int8.onnx").graph
    made = {name: node for node in graph.node for name in node.output}
    weighted = [node for node in graph.node if node.op_type == "Conv"]
    assert len(weighted) == 2
    types = {t.name: t.data_type for t in graph.initializer}
    for node in weighted:
        assert [made[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
        assert types[made[node.input[1]].input[0]] == TensorProto.INT8
        # The bias is in what the layer computes in beside INT8.
        assert types[node.input[2]] == TensorProto.FLOAT16
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_tensorrt_fp8_reads_e4m3_in_layers_alone(material: Material, tmp_path: Path) -> None:
    report = make(FORMS[FormKind.TENSORRT_FP8], material, tmp_path / "fp8.onnx")
    assert report.quantized_nodes == 2
    graph = onnx.load(tmp_path / "fp8.onnx").graph
    made = {name: node for node in graph.node for name in node.output}
    types = {t.name: t.data_type for t in graph.initializer}
    weights = [made[n.input[1]].input[0] for n in graph.node if n.op_type == "Conv"]
    assert [types[name] for name in weights] == [TensorProto.FLOAT8E4M3FN] * 2
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_layers_that_gates_leave_out_are_fp16_and_excluded_ones_fp32(
    material: Material, tmp_path: Path
) -> None:
    fp32 = onnx.load(material.fp32).graph
    first, second = (node.name for node in fp32.node if node.op_type == "Conv")
    gate = QualityGate(metric=QualityMetric.SQNR, minimum=68)
    gated = dataclasses.replace(material, gates=[gate])
    report = make(BEST, gated, tmp_path / "gated.onnx")
    (fallback,) = report.fallbacks
    assert fallback.exclude
    graph = onnx.load(tmp_path / "gated.onnx").graph
    types = {t.name: t.data_type for t in graph.initializer}
    left = [n for n in graph.node if n.op_type == "Conv" and n.name in fallback.exclude]
    assert {types[name] for n in left for name in n.input[1:]} == {TensorProto.FLOAT16}
    assert fallback.exclude[0] not in report.kept

    named = excluding(FormKind.TENSORRT_INT8, first)
    report = make(named, material, tmp_path / "named.onnx")
    graph = onnx.load(tmp_path / "named.onnx").graph
    types = {t.name: t.data_type for t in graph.initializer}
    (node,) = (n for n in graph.node if n.name == first)
    assert {types[name] for name in node.input[1:]} == {TensorProto.FLOAT}
    assert first in report.kept
    assert second not in report.kept


def test_fp16_is_made_without_samples_too(material: Material, tmp_path: Path) -> None:
    bare = Material(material.fp32, material.source, [], [], material.cases)
    assert make(FORMS[FormKind.ONNX_FP16], bare, tmp_path / "a.onnx").quantized_nodes > 0


def test_nncf_writes_one_file_of_integers(material: Material, tmp_path: Path) -> None:
    report = make(FORMS[FormKind.NNCF], material, tmp_path / "nncf.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["nncf.onnx"]
    graph = onnx.load(tmp_path / "nncf.onnx").graph
    assert {t.data_type for t in graph.initializer if len(t.dims) == 4} == {TensorProto.INT8}
    assert report.quantized_nodes == [n.op_type for n in graph.node].count("QuantizeLinear")


def test_nncf_keeps_layers_in_fp32_for_a_gate_and_says_which(
    material: Material, tmp_path: Path
) -> None:
    plain, gated = tmp_path / "plain.onnx", tmp_path / "gated.onnx"
    make(FORMS[FormKind.NNCF], material, plain)
    pairs = [
        [outputs(path, feeds, Runtime.ONNX_RUNTIME, Precision.FP32) for feeds in material.samples]
        for path in (material.fp32, plain)
    ]
    reached = min(sqnr(*pair) for pair in zip(*pairs, strict=True))
    gate = QualityGate(metric=QualityMetric.SQNR, minimum=reached + 1)
    wanted = dataclasses.replace(material, gates=[gate])
    report = make(FORMS[FormKind.NNCF], wanted, gated)
    assert report.name == "int8-nncf-gated"
    (found,) = report.fallbacks
    assert found.exclude
    assert found.quality_all_int8 < reached + 1 < found.quality
    assert 0 < found.int8_mac_share <= 1
    assert report.quantized_nodes < make(FORMS[FormKind.NNCF], material, plain).quantized_nodes


def test_torch_int8_holds_integers_and_no_pickle(material: Material, tmp_path: Path) -> None:
    import torch

    report = make(FORMS[FormKind.TORCH_INT8], material, tmp_path / "int8.pt2")
    assert report.quantized_nodes == 2
    program = load_exported_program(tmp_path / "int8.pt2", tmp_path)
    held = [t for t in program.constants.values() if isinstance(t, torch.Tensor)]
    held += [*program.state_dict.values()]
    assert sum(t.dtype == torch.int8 and t.ndim == 4 for t in held) == 2
    assert not any(t.dtype == torch.float32 and t.ndim == 4 for t in held)
    assert program.example_inputs is None


def excluding(kind: FormKind, *names: str) -> Form:
    return Form(kind=kind, quantization=Quantization(exclude=list(names)))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (excluding(FormKind.NNCF, "Gemm"), "'Gemm', which is no node and no operator"),
        (excluding(FormKind.TENSORRT_INT8, "Gemm"), "'Gemm', which is no node and no operator"),
        (excluding(FormKind.TENSORRT_INT8, "Conv"), "no node that INT8 can speed up"),
        (Form(kind=FormKind.TORCH_LINEAR_INT8), "no Linear, which alone .* convolutions, 2"),
        (Form(kind=FormKind.TORCH_LINEAR_FP8), "no Linear, which alone .* in FP8 on a GPU"),
        (excluding(FormKind.TORCH_INT8, "head"), "'head' matches no module; there are"),
        (excluding(FormKind.TORCH_INT8, "body"), "no module was quantized"),
    ],
)
def test_exclusion_that_leaves_nothing_to_do_is_told(
    material: Material, tmp_path: Path, form: Form, message: str
) -> None:
    with pytest.raises(QuantizationError, match=message):
        make(form, material, tmp_path / f"a{form.suffix}")
    assert list(tmp_path.iterdir()) == []


def test_excluded_module_stays_float(material: Material, tmp_path: Path) -> None:
    report = make(excluding(FormKind.TORCH_INT8, "body.0"), material, tmp_path / "a.pt2")
    assert (report.quantized_nodes, report.kept) == (1, {"body.0": "stays FP32"})


def test_graph_that_loses_a_size_fails(material: Material, tmp_path: Path) -> None:
    import torch

    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.conv(image)
            return result

    path = tmp_path / "fixed.pt2"
    program = torch.export.export(Fixed(), (torch.rand(1, 3, 48, 64),))
    torch.export.save(program, path)
    other = Material(material.fp32, path, material.samples, [], material.cases)
    # FP16's is found without computing it.
    for kind in (FormKind.TORCH_BF16, FormKind.TORCH_FP16):
        with pytest.raises(
            QuantizationError, match=r"does not take batch 1, height 16|gives .* at"
        ):
            make(FORMS[kind], other, tmp_path / "made.pt2")


def test_fp16_is_tried_on_the_smallest_example_that_fixes_no_size() -> None:
    from mopt_optimizer.forms.torch import smallest_example

    def case(*shape: int) -> Case:
        return Case(sizes={}, inputs={"x": np.zeros(shape, np.float32)}, expected=())

    small, thin, large = case(1, 3, 8, 8), case(1, 3, 1, 8), case(4, 3, 64, 64)
    assert smallest_example([thin, small, large]) is small
    assert smallest_example([thin, large]) is large
    # An axis that is 1 in every case is fixed anyway.
    fixed, wide = case(1, 1, 8), case(4, 1, 16)
    assert smallest_example([wide, fixed]) is fixed
