"""What a machine lacks is Skipped by its name; nothing is imported to find out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from absent import NAMES, finders, loaded

from mopt_api.enums import ExecutionProvider, Precision, Runtime, TargetKind
from mopt_api.figures import VariantReason
from mopt_api.jobs.plan import Credentials
from mopt_api.variants import Quantization, Variant
from mopt_optimizer.errors import SpecError
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.registry import FormKind
from mopt_optimizer.stages.missing import (
    CUDA_PROVIDER,
    TENSORRT_PROVIDER,
    installed_libraries,
    missing_maker,
    missing_runtime,
)
from mopt_optimizer.store.registry import open_store

ALL = {"torch", "torchao", "onnxruntime", "openvino", "nncf", "tensorrt"}


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in loaded():
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", finders())


def variant(runtime: Runtime, provider: ExecutionProvider | None = None) -> Variant:
    return Variant(
        name="one", runtime=runtime, precision=Precision.FP32, execution_provider=provider
    )


def test_what_is_installed_is_found() -> None:
    found = installed_libraries()
    assert {"torch", "torchao", "onnxruntime", "openvino", "nncf"} <= found


@pytest.mark.usefixtures("absent")
def test_what_is_hidden_is_not() -> None:
    found = installed_libraries()
    assert not found & set(NAMES)
    assert {"torch", "torchao", "onnxruntime"} <= found


def test_providers_are_seen_by_their_libraries(tmp_path: Path) -> None:
    capi = tmp_path / "capi"
    capi.mkdir()
    origin = tmp_path / "__init__.py"

    def location(module: str) -> Path | None:
        return origin if module == "onnxruntime" else None

    assert installed_libraries(location) == {"onnxruntime"}
    (capi / "libonnxruntime_providers_cuda.so").touch()
    assert installed_libraries(location) == {"onnxruntime", CUDA_PROVIDER}
    (capi / "libonnxruntime_providers_tensorrt.so").touch()
    assert TENSORRT_PROVIDER in installed_libraries(location)


@pytest.mark.parametrize(
    ("one", "kind", "without", "named"),
    [
        (variant(Runtime.OPENVINO), TargetKind.CPU, {"openvino"}, "openvino"),
        (variant(Runtime.ONNX_RUNTIME), TargetKind.CPU, {"onnxruntime"}, "onnxruntime"),
        (variant(Runtime.PYTORCH), TargetKind.GPU, {"torch"}, "torch"),
        (variant(Runtime.TENSORRT), TargetKind.GPU, {"tensorrt"}, "tensorrt or tensorrt_rtx"),
        (variant(Runtime.ONNX_RUNTIME), TargetKind.GPU, set(), CUDA_PROVIDER),
        (
            variant(Runtime.ONNX_RUNTIME, ExecutionProvider.TENSORRT),
            TargetKind.GPU,
            {CUDA_PROVIDER},
            TENSORRT_PROVIDER,
        ),
    ],
)
def test_a_runtime_that_is_missing_is_named(
    one: Variant, kind: TargetKind, without: set[str], named: str
) -> None:
    absent = missing_runtime(one, kind, ALL - without)
    assert absent is not None
    assert f"{named} is not installed" in absent.message
    assert absent.reason is VariantReason.BUILD_FAILED


@pytest.mark.parametrize("kind", [TargetKind.CPU, TargetKind.GPU])
@pytest.mark.parametrize("runtime", list(Runtime))
def test_nothing_is_lacking_where_all_is_there(runtime: Runtime, kind: TargetKind) -> None:
    assert missing_runtime(variant(runtime), kind, ALL | {CUDA_PROVIDER}) is None


def test_a_target_that_builds_says_itself_that_it_has_no_tensorrt() -> None:
    assert missing_runtime(variant(Runtime.TENSORRT), TargetKind.BUILD_ONLY, set()) is None


@pytest.mark.parametrize(
    ("kind", "installed", "named"),
    [
        (FormKind.NNCF, {"openvino"}, "nncf is not installed"),
        (FormKind.NNCF, set(), "openvino and nncf is not installed"),
        (FormKind.TORCH_INT8, {"openvino"}, "torchao is not installed"),
        (FormKind.NNCF, {"openvino", "nncf"}, None),
        (FormKind.QDQ, set(), None),
        (FormKind.TORCH_LINEAR_INT8, set(), None),
    ],
)
def test_what_a_form_is_made_with(kind: FormKind, installed: set[str], named: str | None) -> None:
    absent = missing_maker(Form(kind=kind, quantization=Quantization()), installed)
    assert (absent and absent.message.partition(": ")[2]) == named


@pytest.mark.usefixtures("absent")
def test_s3_without_its_client_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mopt_optimizer.store.s3", raising=False)
    with pytest.raises(SpecError, match="needs minio, which is not installed here"):
        open_store("s3://bucket/key", Credentials.OUTPUT, {})
