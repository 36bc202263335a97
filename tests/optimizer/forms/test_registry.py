"""A kind of form, and a graph pass, that a test adds as an extension would: by its row alone."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mopt_api.enums import ModelFormat, Precision, Runtime
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_api.jobs.plan import PlannedModel, PreparePlan
from mopt_api.jobs.prepare_result import PassOutcome, QuantizationReport
from mopt_api.runtimes import RUNTIMES
from mopt_api.variants import Variant
from mopt_optimizer.errors import ModelError, QuantizationError
from mopt_optimizer.forms import names
from mopt_optimizer.forms.form import FORM_RULES, Form, form_of
from mopt_optimizer.forms.make import make
from mopt_optimizer.forms.material import Material
from mopt_optimizer.forms.registry import MAKERS, FormKind, MadeFrom, Maker
from mopt_optimizer.passes import PASSES, named_passes
from mopt_optimizer.stages.prepare.assignment import assign
from mopt_optimizer.stages.prepare.messages import Quantized
from mopt_optimizer.stages.step_keys import export_key, form_key, software_versions

if TYPE_CHECKING:
    import onnx_ir as ir

TOY = FormKind.add("Toy")
TOY_RUNTIME = Runtime.add("ToyRuntime")
SOFTWARE = {"python": "3", "machine": "x86_64", "mopt": "1", "numpy": "2", "pydantic": "2"}
PLAN = PreparePlan(
    model=PlannedModel(uri="s3://a/m.onnx", sha256="0" * 64, format=ModelFormat.ONNX),
    inputs=[InputSpec(name="x", shape=["n", 4])],
    dimensions={"n": DimensionRange(min=1, opt=1, max=4)},
    variants=[],
    output_uri="s3://a/out",
)


def make_toy(name: str, form: Form, material: Material, target: Path) -> QuantizationReport:
    """Write the FP32 model as it is, unless it is empty."""
    content = material.fp32.read_bytes()
    if not content:
        raise ModelError("an empty file")
    target.write_bytes(b"toy:" + content)
    return QuantizationReport(name=name, quantized_nodes=len(content))


class ReluToAbs:
    """A pass that is wrong: what is computed changes."""

    name = "relu_to_abs"

    def run(self, model: ir.Model) -> bool:
        nodes = [node for node in model.graph if node.op_type == "Relu"]
        for node in nodes:
            node.op_type = "Abs"
        return bool(nodes)


class DropIdentity:
    """A pass that is right: Identity nodes before Relu go."""

    name = "drop_identity"

    def run(self, model: ir.Model) -> bool:
        found = [node for node in model.graph if node.op_type == "Identity"]
        for node in found:
            (reader,) = [use.node for use in node.outputs[0].uses()]
            reader.replace_input_with(0, node.inputs[0])
            model.graph.remove(node, safe=True)
        return bool(found)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Form:
    maker = Maker(
        make=f"{__name__}:make_toy",
        made_from=MadeFrom.FP32,
        suffix=".toy",
        name=names.per_scales("toy"),
        tools=("pydantic",),
    )
    monkeypatch.setitem(MAKERS, TOY, maker)
    monkeypatch.setitem(RUNTIMES, TOY_RUNTIME, RUNTIMES[Runtime.ONNX_RUNTIME])
    monkeypatch.setitem(
        FORM_RULES,
        TOY_RUNTIME,
        lambda variant, kind: Form(kind=TOY),  # noqa: ARG005
    )
    return Form(kind=TOY)


@pytest.mark.optimizer
def test_every_kind_has_a_maker_that_is_there() -> None:
    assert [kind for kind in FormKind if kind not in MAKERS] == []
    for maker in MAKERS.values():
        module, _, function = maker.make.partition(":")
        assert callable(getattr(import_module(module), function))


def test_a_registered_form_is_made_named_and_assigned(toy: Form, tmp_path: Path) -> None:
    fp32 = tmp_path / "fp32.onnx"
    fp32.write_bytes(b"model")
    material = Material(fp32, tmp_path / "none.pt2", [], [], [])
    target = tmp_path / f"model{toy.suffix}"
    report = make(toy, material, target)
    assert (report.name, report.quantized_nodes) == ("toy-perchannel", 5)
    assert target.read_bytes() == b"toy:model"
    fp32.write_bytes(b"")
    with pytest.raises(QuantizationError, match="cannot be made: an empty file"):
        make(toy, material, target)
    variant = Variant.model_construct(
        name="served",
        runtime=TOY_RUNTIME,
        precision=Precision.INT8,
        quantization=None,
        torch_mode=None,
        execution_provider=None,
    )
    assert form_of(variant) == toy
    made = [Quantized(name=report.name, file="model.toy")]
    found = assign([variant], ModelFormat.ONNX, made, calibrated=False)
    for assigned in (*found.by_kind.values(), found.narrow_sums):
        assert assigned is not None
        assert assigned.artifacts == {"served": "toy-perchannel"}


def test_a_registered_form_crosses_to_the_child(toy: Form) -> None:
    assert Form.model_validate_json(toy.model_dump_json()) == toy


def test_a_registered_forms_tools_are_in_its_key(toy: Form) -> None:
    assert "pydantic" in software_versions()

    def key(software: dict[str, str]) -> str:
        return form_key(toy, PLAN, fp32="f", samples=None, software=software)

    assert key(SOFTWARE) != key(SOFTWARE | {"pydantic": "3"})
    assert key(SOFTWARE) == key(SOFTWARE | {"torch": "3"})


def test_a_registered_pass_changes_the_exports_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = export_key(PLAN, SOFTWARE)
    monkeypatch.setitem(PASSES, DropIdentity.name, f"{__name__}:DropIdentity")
    after = export_key(PLAN, SOFTWARE)
    assert after != before
    monkeypatch.delitem(PASSES, "eliminate_dead_nodes")
    assert export_key(PLAN, SOFTWARE) not in (before, after)


@pytest.mark.optimizer
def test_registered_passes_are_verified_like_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import onnx

    from mopt_optimizer.onnx_files.verify import Case
    from mopt_optimizer.passes.running import optimize

    path = tmp_path / "model.onnx"
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[n, 4] x) => (float[n, 4] y) { a = Identity(x) y = Relu(a) }
    """
    onnx.save(onnx.parser.parse_model(text), path)
    array = np.array([[-1.0, 2.0, -3.0, 4.0]], np.float32)
    case = Case({"n": 1}, {"x": array}, (np.maximum(array, 0),))
    for toy_pass in (ReluToAbs, DropIdentity):
        monkeypatch.setitem(PASSES, toy_pass.name, f"{__name__}:{toy_pass.__name__}")
    chosen = named_passes([ReluToAbs.name, DropIdentity.name])
    wrong, right = optimize(path, chosen, [case], lambda *_, **__: None)
    assert (wrong.name, wrong.outcome) == ("relu_to_abs", PassOutcome.ROLLED_BACK)
    assert "differs" in (wrong.message or "")
    assert (right.name, right.outcome) == ("drop_identity", PassOutcome.KEPT)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Relu"]
