"""ModelQuantizer: each type, what it reports, and what it refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mopt_optimizer.errors import (
    BackendError,
    CalibrationError,
    DataError,
    ExportError,
    NonFiniteWeight,
    QuantizationError,
    SpecError,
)
from mopt_optimizer.torch_quantization import (
    Backend,
    Execution,
    ModelQuantizer,
    QuantizationConfig,
    QuantizationType,
    QuantizedModel,
    available_backends,
    quantize_model,
)
from mopt_optimizer.torch_quantization.backends import scheme_of
from mopt_optimizer.torch_quantization.model_quantizer import backend_of, cpu_of

pytestmark = pytest.mark.optimizer

Images = Callable[..., list[torch.Tensor]]
EAGER = Execution.EAGER
CONVOLUTIONS = ("body.0.0", "body.1.0")
LINEARS = ("head.0", "head.2")


def _sqnr_db(reference: torch.Tensor, output: torch.Tensor) -> float:
    noise = (reference - output).square().sum()
    return float(10 * torch.log10(reference.square().sum() / noise))


def _int8_weights(model: QuantizedModel) -> int:
    held = [*model.program.state_dict.values(), *model.program.constants.values()]
    return sum(isinstance(value, torch.Tensor) and value.dtype == torch.int8 for value in held)


def test_static_quantizes_weights_and_activations(classifier: nn.Module, images: Images) -> None:
    data = images(4)
    model = quantize_model(classifier, "static", data, execution=EAGER)
    assert model.report.quantized == CONVOLUTIONS + LINEARS
    assert (model.report.weight_only, model.report.kept) == ((), ())
    assert model.report.samples == 4
    assert _int8_weights(model) == 4
    with torch.no_grad():
        reference = classifier(data[0])
    output = model(data[0])
    assert not torch.equal(output, reference)
    assert _sqnr_db(reference, output) > 30
    assert model.report.sqnr_db == pytest.approx(_sqnr_db(reference, output), abs=0.01)


def test_dynamic_quantizes_linear_and_stores_convolutions_in_int8(
    classifier: nn.Module, images: Images
) -> None:
    model = quantize_model(classifier, "dynamic", images(1), execution=EAGER)
    assert model.report.quantized == LINEARS
    assert model.report.weight_only == CONVOLUTIONS
    assert model.report.samples == 0
    assert "use STATIC" in model.report.notes[0]
    assert "choose_qparams" in str(model.program.graph)
    with torch.no_grad():
        reference = classifier(images(1)[0])
    assert _sqnr_db(reference, model(images(1)[0])) > 30


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(QuantizationType.FP16, torch.float16), (QuantizationType.BF16, torch.bfloat16)],
)
def test_halves_compute_in_16_bits_and_return_float32(
    classifier: nn.Module, images: Images, kind: QuantizationType, dtype: torch.dtype
) -> None:
    model = quantize_model(classifier, kind, images(1), execution=EAGER)
    dtypes = {t.dtype for t in model.program.state_dict.values() if t.is_floating_point()}
    assert dtypes == {dtype}
    output = model(images(1)[0])
    assert output.dtype == torch.float32
    with torch.no_grad():
        reference = classifier(images(1)[0])
    assert _sqnr_db(reference, output) > 30


def test_half_keeps_excluded_modules_exactly(perceptron: nn.Module) -> None:
    model = quantize_model(
        perceptron, "bf16", [torch.rand(2, 8)], exclude=("2",), fuse=False, execution=EAGER
    )
    weights = {str(k).replace("model.", ""): v for k, v in model.program.state_dict.items()}
    assert weights["0.weight"].dtype == torch.bfloat16
    assert torch.equal(weights["2.inner.weight"], perceptron.get_parameter("2.weight"))
    assert (model.report.quantized, model.report.kept) == (("0",), ("2",))


def test_the_callers_model_is_not_changed(classifier: nn.Module, images: Images) -> None:
    before = copy.deepcopy(classifier.state_dict())
    classifier.train()
    for kind in QuantizationType:
        quantize_model(classifier, kind, images(1), execution=EAGER)
    assert classifier.training
    after = classifier.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert after.keys() == before.keys()


def test_without_inputs_the_graph_is_made_on_the_first_call(perceptron: nn.Module) -> None:
    model = ModelQuantizer(QuantizationConfig(execution=EAGER)).quantize(perceptron)
    with pytest.raises(SpecError, match="call the model once"):
        _ = model.program
    with pytest.raises(SpecError, match="call the model once"):
        _ = model.report
    assert model(torch.rand(2, 8)).shape == (2, 4)
    assert model.report.quantized == ("0", "2")


def test_sizes_stay_free_also_when_the_samples_have_a_batch_of_one(
    classifier: nn.Module, images: Images
) -> None:
    model = quantize_model(classifier, "static", images(2), execution=EAGER)
    shape = model.report.inputs[0].shape
    assert shape[1] == 3
    assert [type(size) for size in shape] == [str, int, str, str]
    for batch, height, width in ((1, 16, 16), (3, 20, 24)):
        assert model(torch.rand(batch, 3, height, width)).shape == (batch, 5)


def test_fixed_shapes_refuse_others(classifier: nn.Module, images: Images) -> None:
    model = quantize_model(classifier, "static", images(1), dynamic_shapes=False, execution=EAGER)
    assert model.report.inputs[0].shape == (1, 3, 16, 16)
    with pytest.raises(AssertionError, match="Guard failed"):
        model(torch.rand(2, 3, 16, 16))


def test_per_tensor_weights_have_one_scale(perceptron: nn.Module) -> None:
    data = [torch.rand(4, 8)]
    scales = {}
    for per_channel in (True, False):
        model = quantize_model(perceptron, "static", data, per_channel=per_channel, execution=EAGER)
        graph = str(model.program.graph)
        scales[per_channel] = "dequantize_per_channel" in graph
    assert scales == {True: True, False: False}


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [("body.1.0", ("body.1.0",)), ("head", LINEARS), ("body.*.0", CONVOLUTIONS)],
)
def test_excluded_modules_stay_float(
    classifier: nn.Module, images: Images, pattern: str, kept: tuple[str, ...]
) -> None:
    model = quantize_model(classifier, "static", images(1), exclude=(pattern,), execution=EAGER)
    assert model.report.kept == kept
    assert set(model.report.quantized) == set(CONVOLUTIONS + LINEARS) - set(kept)


def test_a_pattern_that_matches_nothing_is_refused(classifier: nn.Module, images: Images) -> None:
    for kind in QuantizationType:
        with pytest.raises(SpecError, match=r"exclude 'tail' matches no module; there are body\."):
            quantize_model(classifier, kind, images(1), exclude=("tail",))


def test_excluding_everything_is_refused(perceptron: nn.Module) -> None:
    with pytest.raises(QuantizationError, match=r"stayed FP32: 0, 2\. Exclude fewer"):
        quantize_model(perceptron, "static", [torch.rand(1, 8)], exclude=("*",))


def test_a_model_without_linear_or_convolution_is_refused() -> None:
    with pytest.raises(QuantizationError, match="none with weights"):
        quantize_model(nn.Sequential(nn.Tanh()), "static", [torch.rand(1, 8)])


@pytest.mark.parametrize("backend", [b for b in Backend if b is not Backend.AUTO])
def test_every_backend_there_is_gives_a_working_model(
    classifier: nn.Module, images: Images, backend: Backend
) -> None:
    if backend not in available_backends():
        with pytest.raises(BackendError, match=f"without the backend {backend}; available here"):
            quantize_model(classifier, "static", images(1), backend=backend)
        return
    model = quantize_model(classifier, "static", images(2), backend=backend, execution=EAGER)
    assert model.report.backend is backend
    assert model.report.sqnr_db > 25
    assert ("0, 127, torch.uint8" in str(model.program.graph)) == model.report.reduced_range


@pytest.mark.parametrize("narrow_sums", [True, False])
def test_activations_have_the_bits_of_the_cpus_that_it_is_for(
    classifier: nn.Module, images: Images, narrow_sums: bool
) -> None:
    config = QuantizationConfig(narrow_sums=narrow_sums)
    reduced = scheme_of(backend_of(config), cpu_of(config)).activation_bits == 7
    model = quantize_model(
        classifier, "static", images(2), narrow_sums=narrow_sums, execution=EAGER
    )
    assert model.report.reduced_range is reduced
    assert ("0, 127, torch.uint8" in str(model.program.graph)) is reduced


def test_an_exported_program_is_quantized_too(classifier: nn.Module, images: Images) -> None:
    program = torch.export.export(classifier, (images(1, batch=2)[0],))
    model = quantize_model(
        program, "static", images(2, batch=2), exclude=("body.0.0",), execution=EAGER
    )
    assert model.report.kept == ("body.0.0",)
    assert [f.pattern for f in model.report.fusion.fused] == ["Conv+BN"]


def test_static_without_samples_is_refused(classifier: nn.Module) -> None:
    with pytest.raises(CalibrationError, match="give calibration_data"):
        quantize_model(classifier, "static")
    with pytest.raises(CalibrationError, match="no calibration samples"):
        quantize_model(classifier, "static", [])


def test_nan_weights_are_named(classifier: nn.Module, images: Images) -> None:
    with torch.no_grad():
        classifier.get_parameter("head.0.weight")[3, 5] = torch.nan
    for kind in QuantizationType:
        with pytest.raises(NonFiniteWeight, match=r"parameter head\.0\.weight: 1 of 512"):
            quantize_model(classifier, kind, images(1))


def test_weights_too_large_for_fp16_are_named(perceptron: nn.Module) -> None:
    with torch.no_grad():
        perceptron.get_parameter("2.bias")[1] = 1e6
    data = [torch.rand(1, 8)]
    with pytest.raises(NonFiniteWeight, match=r"model\.2\.bias|2\.bias.*in FP16.*65504"):
        quantize_model(perceptron, "fp16", data)
    assert quantize_model(perceptron, "bf16", data, execution=EAGER).report.quantized


def test_activations_too_large_for_fp16_are_refused() -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(3e4)
    with pytest.raises(QuantizationError, match="NaN or infinity"):
        quantize_model(model, "fp16", [torch.ones(1, 8)])


class _Logarithm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(torch.log(self.first(x)))
        return result


def test_the_module_that_gives_nan_in_calibration_is_named() -> None:
    model = _Logarithm()
    with torch.no_grad():
        model.first.weight.copy_(torch.eye(4))
        model.first.bias.zero_()
    good, bad = torch.ones(1, 4), -torch.ones(1, 4)
    with pytest.raises(CalibrationError, match=r"sample 1: .*aten\.log\.default.* gives NaN"):
        quantize_model(model, "static", [good, bad])


def test_a_sample_with_nan_is_named(perceptron: nn.Module) -> None:
    data = [torch.ones(1, 8), torch.full((1, 8), torch.nan)]
    with pytest.raises(CalibrationError, match="sample 1: the input input gives NaN"):
        quantize_model(perceptron, "static", data)


def test_a_sample_of_another_shape_is_named(perceptron: nn.Module) -> None:
    data = [torch.ones(1, 8), torch.ones(1, 9)]
    with pytest.raises(CalibrationError, match=r"sample 1 \(\(1, 9\) torch.float32\) is not for"):
        quantize_model(perceptron, "static", data)


class _Unexportable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)
        return y if float(y.sum()) > 0 else -y


def test_control_flow_on_values_is_an_export_error() -> None:
    with pytest.raises(ExportError, match="cannot capture it"):
        quantize_model(_Unexportable(), "static", [torch.rand(1, 4)])


def test_too_many_inputs_in_a_call(perceptron: nn.Module) -> None:
    model = quantize_model(perceptron, "static", [torch.rand(1, 8)], execution=EAGER)
    with pytest.raises(DataError, match="2 inputs; the model takes input"):
        model(torch.rand(1, 8), torch.rand(1, 8))
    with pytest.raises(DataError, match="the call names"):
        model(other=torch.rand(1, 8))
    assert model(input=torch.rand(3, 8)).shape == (3, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization_type": "int4"}, "quantization_type 'int4' is none of dynamic, static"),
        ({"backend": "cuda"}, "backend 'cuda' is none of"),
        ({"execution": "fast"}, "execution 'fast' is none of"),
        ({"exclude": "head"}, "give a tuple"),
        ({"exclude": ("",)}, "none empty"),
        ({"calibration_samples": 0}, "at least 1"),
        ({"bits": 4}, "no options; there are quantization_type"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        QuantizationConfig.of(**options)


@pytest.mark.parametrize(
    "norm",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_normalized_weights_are_folded(norm: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    layers = [norm(nn.Conv2d(3, 8, 3)), nn.ReLU(), nn.Flatten(), norm(nn.Linear(8 * 36, 4))]
    model = nn.Sequential(*layers)
    samples = [torch.rand(1, 3, 8, 8) for _ in range(4)]
    model(samples[0])  # As after training: it leaves the weight of this call behind.
    model.eval()
    expected = model(samples[1])
    static = QuantizationConfig(quantization_type=QuantizationType.STATIC)
    quantized = ModelQuantizer(static).quantize(model, samples)
    assert len(quantized.report.quantized) == 2
    assert quantized.report.sqnr_db > 20
    torch.testing.assert_close(model(samples[1]), expected)
