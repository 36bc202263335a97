"""The peers' side: each tool's public way, with the settings that its documentation gives for this.

INT8 is QDQ with unsigned activations and signed weights, per channel, for all that can say so: what
mopt writes on a CPU with VNNI. Each function imports its tool, so that a missing one costs its rows
only; see worker for how imports are kept out of the time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from networks import network_of
from work import RefusedByTool, Work, library

os.environ.setdefault("NNCF_CI", "1")  # NNCF reports its use to a web service otherwise
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OLIVE_DISABLE_TELEMETRY", "1")


class _Reader:
    """ONNX Runtime's way of asking for samples."""

    def __init__(self, samples: list[dict[str, Any]]) -> None:
        self._samples: Iterator[dict[str, Any]] = iter(samples)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next sample; None at the end."""
        return next(self._samples, None)


def as_it_is(work: Work) -> Path:
    """Take the file unchanged."""
    return work.source


# ONNX Runtime


def ort_offline(work: Work, *, level: str) -> Path:
    """Save the graph as ONNX Runtime optimizes it when it opens a file."""
    ort = library("onnxruntime")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(work.target)
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(
        ort.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}"
    )
    ort.InferenceSession(str(work.source), options, providers=["CPUExecutionProvider"])
    return work.target


def _preprocessed(work: Work) -> Path:
    path = work.folder / "preprocessed.onnx"
    # Its symbolic inference, meant for transformers, raises on what torch exports here.
    library("onnxruntime.quantization.shape_inference").quant_pre_process(
        str(work.source), str(path), skip_symbolic_shape=True
    )
    return path


def ort_dynamic(work: Work) -> Path:
    """Run quantize_dynamic; unsigned weights, since there is no kernel for others in a Conv."""
    tool = library("onnxruntime.quantization")
    tool.quantize_dynamic(
        str(_preprocessed(work)),
        str(work.target),
        per_channel=True,
        weight_type=tool.QuantType.QUInt8,
    )
    return work.target


def ort_static(work: Work, *, method: str) -> Path:
    """Run quant_pre_process and quantize_static."""
    tool = library("onnxruntime.quantization")
    tool.quantize_static(
        str(_preprocessed(work)),
        str(work.target),
        _Reader(work.samples),
        quant_format=tool.QuantFormat.QDQ,
        per_channel=True,
        activation_type=tool.QuantType.QUInt8,
        weight_type=tool.QuantType.QInt8,
        calibrate_method=getattr(tool.CalibrationMethod, method),
    )
    return work.target


def ort_fp16(work: Work) -> Path:
    """Convert to FP16, inputs and outputs FP32."""
    return _converted(work, library("onnxruntime.transformers.float16"))


def converter_fp16(work: Work) -> Path:
    """Convert to FP16, inputs and outputs FP32."""
    return _converted(work, library("onnxconverter_common.float16"))


def _converted(work: Work, tool: Any) -> Path:
    onnx = library("onnx")
    model = tool.convert_float_to_float16(onnx.load(work.source), keep_io_types=True)
    onnx.save(model, work.target)
    return work.target


# Graph passes


def onnxslim(work: Work) -> Path:
    """Run onnxslim."""
    library("onnxslim").slim(str(work.source), str(work.target))
    return work.target


def onnxsim(work: Work) -> Path:
    """Run onnxsim, which compares once on random numbers."""
    onnx = library("onnx")
    model, same = library("onnxsim").simplify(onnx.load(work.source))
    if not same:
        raise RefusedByTool("its own check says that the result computes something else")
    onnx.save(model, work.target)
    return work.target


def onnxoptimizer(work: Work) -> Path:
    """Run onnxoptimizer's own choice of passes."""
    onnx = library("onnx")
    onnx.save(library("onnxoptimizer").optimize(onnx.load(work.source)), work.target)
    return work.target


# Olive


def _olive(work: Work, module: str, name: str, config: dict[str, Any]) -> Path:
    kind = getattr(library(f"olive.passes.onnx.{module}"), name)
    made = library("olive.passes.olive_pass").create_pass_from_dict(
        kind, config, disable_search=True
    )
    model = library("olive.model").ONNXModelHandler(str(work.source))
    return Path(made.run(model, str(work.target)).model_path)


def olive_peephole(work: Work) -> Path:
    """Run OnnxPeepholeOptimizer."""
    return _olive(work, "peephole_optimizer", "OnnxPeepholeOptimizer", {})


def olive_dynamic(work: Work) -> Path:
    """Run OnnxDynamicQuantization; unsigned weights as for ONNX Runtime, which it calls."""
    options = {"precision": "uint8", "per_channel": True}
    return _olive(work, "quantization", "OnnxDynamicQuantization", options)


def olive_static(work: Work, *, method: str) -> Path:
    """Run OnnxStaticQuantization."""
    registry = library("olive.data.registry").Registry

    class Photographs:
        def __len__(self) -> int:
            return len(work.samples)

        def __getitem__(self, index: int) -> tuple[dict[str, Any], int]:
            return work.samples[index], 0

    registry.register_dataset("photographs")(lambda **_: Photographs())
    data = {
        "name": "photographs",
        "type": "DataContainer",
        "load_dataset_config": {"type": "photographs"},
        "pre_process_data_config": {"type": "skip_pre_process"},
        "post_process_data_config": {"type": "skip_post_process"},
        "dataloader_config": {"type": "no_auto_batch_dataloader"},
    }
    options = {
        "data_config": data,
        "calibrate_method": method,
        "per_channel": True,
        "precision": "int8",
        "activation_type": "uint8",
    }
    return _olive(work, "quantization", "OnnxStaticQuantization", options)


def olive_fp16(work: Work) -> Path:
    """Run OnnxFloatToFloat16, inputs and outputs FP32."""
    options = {"keep_io_types": True}
    return _olive(work, "float16_conversion", "OnnxFloatToFloat16", options)


# Optimum


def optimum_optimizer(work: Work) -> Path:
    """Run ORTOptimizer, which needs a Transformers configuration beside the model."""
    tool = library("optimum.onnxruntime")
    work.target.write_bytes(work.source.read_bytes())
    optimizer = tool.ORTOptimizer.from_pretrained(work.folder, file_names=["model.onnx"])
    tools = library("optimum.onnxruntime.configuration")
    optimizer.optimize(tools.AutoOptimizationConfig.O2(), work.folder / "out")
    return work.folder / "out" / "model_optimized.onnx"


class _Dataset(list[dict[str, Any]]):
    """What Optimum asks of a data set: rows, and facts for its own record."""

    split = "calibration"
    info = SimpleNamespace(builder_name="photographs", config_name="tiles")

    def __init__(self, samples: list[dict[str, Any]]) -> None:
        # Optimum puts an axis of 1 in front of whatever it finds.
        super().__init__(
            {name: array[0] if array.shape[0] == 1 else array for name, array in sample.items()}
            for sample in samples
        )

    @property
    def num_rows(self) -> int:
        """How many samples."""
        return len(self)


def _optimum(work: Work, *, is_static: bool, method: str | None) -> Path:
    tools = library("optimum.onnxruntime.configuration")
    tool = library("optimum.onnxruntime")
    quantizer = tool.ORTQuantizer.from_pretrained(work.subject, file_name="source.onnx")
    options = tools.AutoQuantizationConfig.avx512_vnni(is_static=is_static, per_channel=True)
    ranges = None
    if method is not None:
        dataset = _Dataset(work.samples)
        calibration = {
            "MinMax": tools.AutoCalibrationConfig.minmax,
            "Entropy": tools.AutoCalibrationConfig.entropy,
            "Percentile": tools.AutoCalibrationConfig.percentiles,
        }[method](dataset)
        ranges = quantizer.fit(
            dataset,
            calibration,
            onnx_augmented_model_name=str(work.folder / "augmented.onnx"),
            operators_to_quantize=options.operators_to_quantize,
        )
    quantizer.quantize(options, work.folder / "out", calibration_tensors_range=ranges)
    return work.folder / "out" / "source_quantized.onnx"


def optimum_dynamic(work: Work) -> Path:
    """Run ORTQuantizer with its configuration for VNNI."""
    return _optimum(work, is_static=False, method=None)


def optimum_static(work: Work, *, method: str) -> Path:
    """Run ORTQuantizer with its configuration for VNNI, after its calibration."""
    return _optimum(work, is_static=True, method=method)


# NNCF


def nncf_onnx(work: Work) -> Path:
    """Run nncf.quantize on the ONNX model."""
    nncf, onnx = library("nncf"), library("onnx")
    model = nncf.quantize(
        onnx.load(work.source), nncf.Dataset(work.samples), subset_size=len(work.samples)
    )
    onnx.save(model, work.target)
    return work.target


def nncf_openvino(work: Work) -> Path:
    """Run nncf.quantize on the model as OpenVINO reads it."""
    nncf, openvino = library("nncf"), library("openvino")
    model = nncf.quantize(
        openvino.Core().read_model(str(work.source)),
        nncf.Dataset(work.samples),
        subset_size=len(work.samples),
    )
    path = work.folder / "model.xml"
    openvino.save_model(model, str(path))
    return path


# PyTorch


def _module(work: Work) -> tuple[Any, list[tuple[Any, ...]]]:
    torch = library("torch")
    samples = [tuple(map(torch.from_numpy, sample.values())) for sample in work.samples]
    return torch.export.load(work.program).module(), samples


def torchao_static(work: Work) -> Path:
    """Run torchao's PT2E quantization with its quantizer for x86 and Inductor."""
    torch = library("torch")
    tool = library("torchao.quantization.pt2e.quantize_pt2e")
    x86 = library("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    module, samples = _module(work)
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    with torch.no_grad():
        prepared = tool.prepare_pt2e(torch.export.export(module, samples[0]).module(), quantizer)
        for sample in samples:
            prepared(*sample)
        converted = tool.convert_pt2e(prepared)
        path = work.folder / "model.pt2"
        torch.export.save(torch.export.export(converted, samples[0]), path)
    return path


def torch_ao_static(work: Work) -> Path:
    """Run torch.ao's FX quantization (deprecated) and trace what it makes."""
    torch = library("torch")
    tool = library("torch.ao.quantization.quantize_fx")
    _, samples = _module(work)
    mapping = library("torch.ao.quantization").get_default_qconfig_mapping("x86")
    with torch.no_grad():
        prepared = tool.prepare_fx(network_of(work), mapping, samples[0])
        for sample in samples:
            prepared(*sample)
        traced = torch.jit.trace(tool.convert_fx(prepared), samples[0])
        path = work.folder / "model.ts"
        torch.jit.save(traced, path)
    return path


def torch_ao_dynamic(work: Work) -> Path:
    """Run torch.ao's quantize_dynamic (deprecated)."""
    torch = library("torch")
    network = network_of(work)
    made = library("torch.ao.quantization").quantize_dynamic(network)
    if [type(m) for m in made.modules()] == [type(m) for m in network.modules()]:
        raise RefusedByTool("it changed nothing: it takes Linear and recurrent layers only")
    path = work.folder / "model.ts"
    torch.jit.save(torch.jit.script(made), path)
    return path
