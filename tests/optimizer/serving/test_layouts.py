"""The files of each layout, and what each refuses. No library that opens models takes part."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_forms import ARTIFACT, DIGEST, SIGNATURE, WEIGHTS, WITH_WEIGHTS, result, signature
from triton_config import kind_name, parsed, type_name

from mopt_api.artifacts import Artifact, ArtifactFormat, ExternalData
from mopt_api.enums import Precision, Runtime
from mopt_api.figures import VariantState
from mopt_api.jobs.measure_result import MeasureResult
from mopt_optimizer.errors import UnservableForm
from mopt_optimizer.serving import (
    Layout,
    ServedForm,
    Signature,
    Tree,
    digests,
    served_form,
    tree_of,
)
from mopt_optimizer.serving.description import DESCRIPTION, description_of
from mopt_optimizer.serving.layouts.pbtxt import quoted

ENGINE = Artifact(
    digest=DIGEST,
    size_bytes=100,
    format=ArtifactFormat.TENSORRT_ENGINE,
    external_data=[ExternalData(path="model.engine.json", digest=WEIGHTS, size_bytes=9)],
)
SCRIPT = ARTIFACT.model_copy(update={"format": ArtifactFormat.TORCH_SCRIPT})
PROGRAM = ARTIFACT.model_copy(update={"format": ArtifactFormat.EXPORTED_PROGRAM})


def engine(backend: str = "tensorrt") -> Signature:
    found = {"backend": backend, "tensorrt_version": "10.13.3", "version_compatible": True}
    return Signature.model_validate(SIGNATURE.model_dump() | {"engine": found})


def form_of(measured: MeasureResult, found: Signature = SIGNATURE) -> ServedForm:
    return served_form(measured, None, found, name="net")


def config_of(form: ServedForm) -> Any:
    text = tree_of(Layout.TRITON, form)["net/config.pbtxt"]
    assert isinstance(text, bytes)
    return parsed(text)


def parameters_of(config: Any) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


ONNX = form_of(result())
ENGINE_FORM = form_of(
    result(Runtime.TENSORRT, artifact=ENGINE, kind="GPU", hardware={"threads": 4}), engine()
)


@pytest.mark.parametrize(
    ("layout", "form", "expected"),
    [
        (Layout.TRITON, ONNX, {"net/config.pbtxt": None, "net/1/model.onnx": DIGEST}),
        (
            Layout.TRITON,
            form_of(result(artifact=WITH_WEIGHTS)),
            {
                "net/config.pbtxt": None,
                "net/1/model.onnx": DIGEST,
                "net/1/model.onnx.data": WEIGHTS,
            },
        ),
        (
            Layout.TRITON,
            ENGINE_FORM,
            {
                "net/config.pbtxt": None,
                "net/1/model.plan": DIGEST,
                "net/1/model.plan.json": WEIGHTS,
            },
        ),
        (
            Layout.TRITON,
            form_of(result(Runtime.PYTORCH, artifact=SCRIPT)),
            {"net/config.pbtxt": None, "net/1/model.pt": DIGEST},
        ),
        (
            Layout.OVMS,
            form_of(result(Runtime.OPENVINO, artifact=WITH_WEIGHTS)),
            {"config.json": None, "1/model.onnx": DIGEST, "1/model.onnx.data": WEIGHTS},
        ),
        (
            Layout.KSERVE,
            form_of(result(Runtime.OPENVINO)),
            {"config.json": None, "1/model.onnx": DIGEST},
        ),
        (Layout.KSERVE, ONNX, {"net/config.pbtxt": None, "net/1/model.onnx": DIGEST}),
        (
            Layout.FILES,
            form_of(result(artifact=WITH_WEIGHTS)),
            {"model.onnx": DIGEST, "model.onnx.data": WEIGHTS},
        ),
        (
            Layout.FILES,
            ENGINE_FORM,
            {"model.engine": DIGEST, "model.engine.json": WEIGHTS},
        ),
        (
            Layout.FILES,
            form_of(result(Runtime.PYTORCH, artifact=PROGRAM)),
            {"model.pt2": DIGEST},
        ),
    ],
    ids=lambda value: value.title if isinstance(value, ServedForm) else str(value)[:16],
)
def test_files(layout: Layout, form: ServedForm, expected: dict[str, str | None]) -> None:
    tree: Tree = tree_of(layout, form)
    found = {path: v if isinstance(v, str) else None for path, v in tree.items()}
    assert found == expected | {DESCRIPTION: None}
    assert list(tree) == sorted(tree)


def test_shapes_and_types_are_the_files_own() -> None:
    config = config_of(ONNX)
    assert [(t.name, type_name(t), list(t.dims)) for t in (*config.input, *config.output)] == [
        ("image", "TYPE_FP32", [3, -1, 32]),
        ("scores", "TYPE_FP32", [10]),
    ]
    assert config.max_batch_size == 8
    assert config.HasField("dynamic_batching")
    assert [(group.count, kind_name(group)) for group in config.instance_group] == [(1, "KIND_CPU")]


NARROW = {"height": {"min": 24, "opt": 48, "max": 64}}


@pytest.mark.parametrize(
    ("measured", "found"),
    [
        (result(), signature(scores=["n"])),
        (result(), signature(scores=[1, 10])),
        (result(), signature(scores=["n", "n"])),
        (result(), signature(scores=["m", 10])),
        (result(), signature(image=[1, 3, "h", 32], scores=[1, 10])),
        (result(dimensions=NARROW | {"batch": {"min": 1, "opt": 1, "max": 1}}), SIGNATURE),
        (result(dimensions=NARROW | {"batch": {"min": 2, "opt": 2, "max": 4}}), SIGNATURE),
        (
            result(
                dimensions=NARROW | {"batch": {"min": 4, "opt": 4, "max": 8, "multipleOf": 4}},
            ),
            SIGNATURE,
        ),
        (result(Runtime.OPENVINO), SIGNATURE),
    ],
    ids=[
        "a scalar for each sample",
        "an output without it",
        "an output with it twice",
        "an output with another one",
        "a fixed batch",
        "measured at one sample",
        "measured from two samples on",
        "measured at multiples",
        "OpenVINO, whose backend fixes it",
    ],
)
def test_requests_are_not_batched(measured: MeasureResult, found: Signature) -> None:
    config = config_of(form_of(measured, found))
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    dims = [-1 if isinstance(d, str) else d for d in found.inputs[0].dims or ()]
    assert list(config.input[0].dims) == dims


def test_onnx_runtime_is_told_what_was_measured() -> None:
    config = config_of(ONNX)
    assert (config.backend, config.platform) == ("onnxruntime", "onnxruntime_onnx")
    assert parameters_of(config) == {
        "intra_op_thread_count": "4",
        "inter_op_thread_count": "1",
        "execution_mode": "0",
    }
    assert config.optimization.graph.level == 0
    assert not config.optimization.HasField("execution_accelerators")
    assert "intra_op_thread_count" not in parameters_of(config_of(form_of(result(hardware={}))))


@pytest.mark.parametrize(
    ("provider", "precision", "expected"),
    [
        ("CUDA", Precision.FP32, ("cuda", {})),
        (
            "TensorRT",
            Precision.FP16,
            (
                "tensorrt",
                {
                    "precision_mode": "FP16",
                    "trt_engine_cache_enable": "false",
                    "trt_profile_min_shapes": "image:1x3x24x32",
                    "trt_profile_opt_shapes": "image:1x3x48x32",
                    "trt_profile_max_shapes": "image:8x3x64x32",
                },
            ),
        ),
    ],
)
def test_execution_provider_on_a_gpu(
    provider: str, precision: Precision, expected: tuple[str, dict[str, str]]
) -> None:
    config = config_of(form_of(result(precision=precision, kind="GPU", provider=provider)))
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == expected
    assert kind_name(config.instance_group[0]) == "KIND_GPU"


@pytest.mark.parametrize(
    ("precision", "rest", "features", "hint"),
    [
        (Precision.FP32, None, ["avx2"], {}),
        (Precision.INT8, None, ["avx2"], {}),
        (Precision.BF16, None, ["amx_bf16"], {"HINT_BF16": "YES"}),
        (Precision.INT8, "BF16", ["amx_bf16"], {"HINT_BF16": "YES"}),
    ],
)
def test_openvino_is_told_what_was_measured(
    precision: Precision, rest: str | None, features: list[str], hint: dict[str, str]
) -> None:
    hardware = {"threads": 4, "cpuFeatures": features}
    form = form_of(result(Runtime.OPENVINO, precision, float_precision=rest, hardware=hardware))
    assert description_of(form, {"model.onnx": DIGEST}).float_precision == rest
    config = config_of(form)
    assert (config.backend, config.default_model_filename) == ("openvino", "model.onnx")
    assert parameters_of(config) == {
        "TARGET_DEVICE": "CPU",
        "INFERENCE_NUM_THREADS": "4",
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        **hint,
    }
    text = tree_of(Layout.OVMS, form)["config.json"]
    (entry,) = json.loads(text)["model_config_list"]
    assert entry["config"] == {
        "name": "net",
        "base_path": ".",
        "target_device": "CPU",
        "plugin_config": {
            "INFERENCE_PRECISION_HINT": "bf16" if hint else "f32",
            "INFERENCE_NUM_THREADS": "4",
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": "NO",
        },
    }


@pytest.mark.parametrize(("batch", "preferred"), [(1, None), (4, [2, 4]), (64, [2, 4, 8])])
def test_triton_is_told_what_was_best_under_load(batch: int, preferred: list[int] | None) -> None:
    serving = {"instances": 3, "threads": 2, "batch": batch}
    config = config_of(form_of(result(serving=serving)))
    assert [group.count for group in config.instance_group] == [3]
    assert parameters_of(config)["intra_op_thread_count"] == "2"
    batching = config.dynamic_batching if config.HasField("dynamic_batching") else None
    assert (batching and list(batching.preferred_batch_size)) == preferred


def test_openvino_serves_streams_or_instances() -> None:
    """The model server has one compiled model with streams, as was measured; each of Triton's
    instances compiles one for itself."""
    form = form_of(result(Runtime.OPENVINO, serving={"instances": 3, "threads": 2, "batch": 1}))
    config = config_of(form)
    assert [group.count for group in config.instance_group] == [3]
    told = parameters_of(config)
    assert (told["NUM_STREAMS"], told["INFERENCE_NUM_THREADS"]) == ("1", "2")
    (entry,) = json.loads(tree_of(Layout.OVMS, form)["config.json"])["model_config_list"]
    plugin = entry["config"]["plugin_config"]
    assert (plugin["NUM_STREAMS"], plugin["INFERENCE_NUM_THREADS"]) == ("3", "6")
    assert plugin["PERFORMANCE_HINT"] == "THROUGHPUT"


def test_torchscript_outputs_are_named_by_their_place() -> None:
    config = config_of(form_of(result(Runtime.PYTORCH, artifact=SCRIPT)))
    assert config.platform == "pytorch_libtorch"
    assert [output.name for output in config.output] == ["OUTPUT__0"]
    assert parameters_of(config) == {"INFERENCE_MODE": "true", "INTRA_OP_THREAD_COUNT": "4"}


def test_an_engine_says_which_tensorrt_it_needs() -> None:
    text = tree_of(Layout.TRITON, ENGINE_FORM)["net/config.pbtxt"]
    assert isinstance(text, bytes)
    assert b"TensorRT 10.13.3, which Triton must have, or a newer one with --backend" in text
    config = parsed(text)
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 8)
    assert not parameters_of(config)


@pytest.mark.parametrize(
    ("smallest", "largest", "expected"),
    [(1, 8, 8), (1, 4, 4), (2, 8, 0)],
    ids=["as declared", "built for less", "built for two samples or more"],
)
def test_an_engine_is_given_batches_that_it_was_built_for(
    smallest: int, largest: int, expected: int
) -> None:
    found = engine()
    assert found.engine is not None
    profiles = {"image": ([smallest, 3, 24, 32], [largest, 3, 64, 32])}
    built = found.engine.model_copy(update={"profiles": profiles})
    form = replace(ENGINE_FORM, engine=built)
    assert config_of(form).max_batch_size == expected


ARCHIVE = SIGNATURE.model_copy(update={"archive": True})
INT8_BY_TENSORRT = result(precision=Precision.INT8, kind="GPU", provider="TensorRT")
ON_BF16 = result(Runtime.OPENVINO, hardware={"threads": 4, "cpuFeatures": ["avx512_bf16"]})


@pytest.mark.parametrize(
    ("layout", "measured", "found", "words"),
    [
        (Layout.OVMS, result(), SIGNATURE, "choose a variant of runtime OpenVINO, or --as triton"),
        (
            Layout.TRITON,
            result(Runtime.PYTORCH, artifact=PROGRAM),
            SIGNATURE,
            "loads TorchScript, or what AOTInductor compiled, .*--as files",
        ),
        (
            Layout.KSERVE,
            result(Runtime.PYTORCH, artifact=PROGRAM),
            SIGNATURE,
            "is a program of torch.export",
        ),
        (
            Layout.TRITON,
            result(Runtime.TENSORRT, artifact=ENGINE, state=VariantState.BUILT),
            engine("tensorrt_rtx"),
            "TensorRT for RTX, which Triton does not load",
        ),
        (Layout.TRITON, INT8_BY_TENSORRT, SIGNATURE, "one precision_mode"),
        (Layout.TRITON, ON_BF16, SIGNATURE, "would compute in bf16 instead: use --as ovms"),
        (Layout.TRITON, result(), ARCHIVE, "is a tar of an ONNX file and its weights"),
        (Layout.OVMS, result(Runtime.OPENVINO), ARCHIVE, "does not open: choose another variant"),
        (Layout.TRITON, result(), signature(scores=[]), "scores is a scalar"),
        (
            Layout.TRITON,
            result(),
            Signature.model_validate(
                {
                    "inputs": [SIGNATURE.inputs[0].model_dump()],
                    "outputs": [{"name": "z", "dtype": "complex64", "dims": [1]}],
                }
            ),
            "z is complex64, a type that Triton does not have",
        ),
    ],
    ids=[
        "another runtime's form in OpenVINO Model Server",
        "an exported program in Triton",
        "an exported program in KServe",
        "an engine of TensorRT for RTX",
        "INT8 by ONNX Runtime's TensorRT provider",
        "f32 by OpenVINO on a CPU with bf16",
        "a tar in Triton",
        "a tar in OpenVINO Model Server",
        "a scalar",
        "complex numbers",
    ],
)
def test_refusals(layout: Layout, measured: MeasureResult, found: Signature, words: str) -> None:
    form = form_of(measured, found)
    with pytest.raises(UnservableForm, match=words):
        tree_of(layout, form)


@pytest.mark.parametrize("found", [ARCHIVE], ids=["a tar"])
def test_a_tar_is_taken_as_a_file(found: Signature) -> None:
    tree = tree_of(Layout.FILES, form_of(result(), found))
    assert digests(tree) == {"model.tar": DIGEST}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_quoted_as_protobuf_reads_it(text: str) -> None:
    assert parsed(f"name: {quoted(text)}".encode()).name == text
