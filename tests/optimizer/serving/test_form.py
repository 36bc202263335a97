"""What is served, from a result and the signature of its file."""

from __future__ import annotations

import pytest
from served_forms import ARTIFACT, SIGNATURE, result, signature

from mopt_api.enums import ExecutionProvider, Precision, Runtime
from mopt_api.figures import VariantState
from mopt_api.jobs.measure_result import MeasureResult
from mopt_optimizer.errors import UnservableForm
from mopt_optimizer.serving import Signature, declared_signature, served_form, served_variant


def test_symbols_of_the_file_become_the_dimensions_of_the_spec() -> None:
    form = served_form(result(), None, SIGNATURE, name="net")
    assert form.inputs[0].dims == ("batch", 3, "height", 32)
    assert form.outputs[0].dims == ("batch", 10)
    assert form.dimensions["batch"].max == 8
    assert form.artifact == ARTIFACT


def test_symbols_of_outputs_alone_are_sizes_that_vary() -> None:
    form = served_form(result(), None, signature(rows=["found", "batch"]), name="net")
    assert form.outputs[0].dims == (None, None), "the file's batch is not the spec's"


def test_a_size_that_the_file_leaves_open_stays_open() -> None:
    form = served_form(result(), None, signature(image=["n", 3, "h", "w"]), name="net")
    assert form.inputs[0].dims == ("batch", 3, "height", None)


def test_inputs_that_the_file_does_not_tell_are_as_declared() -> None:
    found = served_form(result(), None, declared_signature(result()), name="net").inputs[0]
    assert (found.dtype, found.dims) == ("float32", ("batch", 3, "height", 32))


@pytest.mark.parametrize(
    ("runtime", "kind", "provider", "expected"),
    [
        (Runtime.ONNX_RUNTIME, "CPU", None, ExecutionProvider.CPU),
        (Runtime.ONNX_RUNTIME, "GPU", None, ExecutionProvider.CUDA),
        (Runtime.ONNX_RUNTIME, "GPU", "TensorRT", ExecutionProvider.TENSORRT),
        (Runtime.OPENVINO, "CPU", None, None),
    ],
)
def test_provider_is_the_one_that_was_measured(
    runtime: Runtime, kind: str, provider: str | None, expected: ExecutionProvider | None
) -> None:
    measured = result(runtime, kind=kind, provider=provider)
    options = served_form(measured, None, SIGNATURE, name="net").options
    assert options.provider is expected
    assert options.threads == 4
    assert bool(options.properties) is (runtime is Runtime.OPENVINO)
    assert bool(options.shapes) is (provider == "TensorRT")


def test_an_option_that_was_not_measured_is_left_out() -> None:
    built = result(Runtime.TENSORRT, state=VariantState.BUILT, kind="BuildOnly")
    options = served_form(built, None, SIGNATURE, name="net").options
    assert (options.gpu, options.threads, options.provider) == (True, None, None)
    unknown = result(Runtime.OPENVINO, hardware={})
    properties = served_form(unknown, None, SIGNATURE, name="net").options.properties
    assert "INFERENCE_NUM_THREADS" not in properties
    assert properties["INFERENCE_PRECISION_HINT"] == "f32"


@pytest.mark.parametrize(
    ("measured", "variant", "words"),
    [
        (result(), "other", "no variant 'other'; it has files of: form"),
        (result(selected=None), None, "nothing is selected for target default"),
        (result(artifact=None), None, "cannot be served: Passed, it has no file"),
        (result(state=VariantState.FAILED), None, "cannot be served: Failed"),
        (result(state=VariantState.SKIPPED), None, "there are files of: none"),
    ],
    ids=["another name", "no winner", "without a file", "failed", "skipped"],
)
def test_refused_variants(measured: MeasureResult, variant: str | None, words: str) -> None:
    with pytest.raises(UnservableForm, match=words):
        served_variant(measured, variant)


@pytest.mark.parametrize(
    ("measured", "found", "words"),
    [
        (result(plan=None), SIGNATURE, "holds no plan; run the measurement again"),
        (result(plan={"stage": "Measure"}), SIGNATURE, "of another version of mopt"),
        (result(), signature(image=["n", 3]), "2 dimensions in the file, and was measured with 4"),
        (result(), signature(scores=None), "does not tell the type and rank of output scores"),
        (
            result(inputs=[{"name": "ids", "shape": [1]}]),
            SIGNATURE,
            "has an input 'image' that was not measured",
        ),
    ],
    ids=["no plan", "newer plan", "other rank", "unknown output", "other input"],
)
def test_refused_signatures(measured: MeasureResult, found: Signature, words: str) -> None:
    with pytest.raises(UnservableForm, match=words):
        served_form(measured, None, found, name="net")


def test_a_rejected_form_may_be_served_when_it_is_named() -> None:
    rejected = result(state=VariantState.REJECTED, precision=Precision.INT8)
    assert served_form(rejected, "form", SIGNATURE, name="net").state is VariantState.REJECTED


@pytest.mark.parametrize("name", ["", "..", "../net", "a/b", "-net", "n" * 254])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    with pytest.raises(UnservableForm, match="cannot name a model"):
        served_form(result(), None, SIGNATURE, name=name)
