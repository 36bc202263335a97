"""Loading from a registry: the right form, checked, with a reason; and calling it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mopt_optimizer.errors import (
    DataError,
    DigestMismatch,
    DimensionError,
    ModelError,
    NoUsableForm,
    ObjectNotFound,
    SpecError,
)
from mopt_optimizer.manager import Machine, ModelManager, Outcome, load_optimized_model

if TYPE_CHECKING:
    from .conftest import Manager, NetworkFiles

pytestmark = pytest.mark.optimizer

X = np.random.default_rng(1).random((5, 4), np.float32)


@pytest.mark.parametrize(
    ("asked", "form", "tolerance"),
    [
        ("auto", "onnx", 1e-5),
        ("onnx", "onnx", 1e-5),
        ("none", "baseline", 1e-5),
        ("quantize", "int8", 0.05),
    ],
)
def test_each_request_loads_its_form(
    filled: Manager, network: NetworkFiles, asked: str, form: str, tolerance: float
) -> None:
    # Without native bf16 the INT8 form is the one of reduced precision that fits.
    with filled(cpu_features=frozenset()).load_optimized_model("net", asked) as loaded:
        assert loaded.form.name == form
        assert not loaded.fell_back
        np.testing.assert_allclose(loaded(X), network.expected(X), atol=tolerance)
    assert loaded.tried[-1].outcome is Outcome.USED


def test_tensorrt_falls_back_and_says_why(
    filled: Manager, network: NetworkFiles, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mopt_optimizer.manager"):
        loaded = filled().load_optimized_model("net", "tensorrt")
    assert loaded.fell_back
    assert loaded.reason == (
        "asked for tensorrt, fell back to onnx: onnx (ONNXRuntime FP32): 2 times the baseline's "
        "speed (before it: tensorrt: no TensorRT form is registered)"
    )
    assert loaded.reason in caplog.text
    assert [a.outcome for a in loaded.tried] == [Outcome.PASSED_OVER, Outcome.USED]
    np.testing.assert_allclose(loaded(X), network.expected(X), atol=1e-5)


def test_missing_runtime_leads_to_the_next(filled: Manager) -> None:
    loaded = filled(runtimes=frozenset({"PyTorch", "OpenVINO"})).load_optimized_model("net")
    assert loaded.form.name == "openvino"
    assert ("onnx", "ONNXRuntime is not installed") in [(a.form, a.reason) for a in loaded.tried]


def blob(tmp_path: Path, form: Any) -> Path:
    return Path(tmp_path / "registry/net/blobs/sha256" / form.files[0].digest[7:])


def test_exchanged_file_is_never_loaded(
    filled: Manager, tmp_path: Path, network: NetworkFiles, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = filled().manifest("net")
    int8 = manifest.form("int8")
    blob(tmp_path, int8).write_bytes(network.onnx.read_bytes())
    loaded = filled(cpu_features=frozenset()).load_optimized_model("net", "quantize")
    assert loaded.form.name == "onnx"
    failed = next(a for a in loaded.tried if a.form == "int8")
    assert failed.outcome is Outcome.FAILED
    assert failed.reason.startswith("DigestMismatch")
    assert "int8" in caplog.text
    with pytest.raises(DigestMismatch):
        filled(cpu_features=frozenset()).load_optimized_model("net", "quantize", strict=True)


def test_damaged_cache_is_fetched_again(filled: Manager, tmp_path: Path) -> None:
    filled().load_optimized_model("net", "onnx").close()
    (cached,) = (tmp_path / "cache").rglob("model.onnx")
    cached.write_bytes(b"damaged")
    assert filled().load_optimized_model("net", "onnx").form.name == "onnx"
    assert cached.read_bytes() != b"damaged"
    assert list((tmp_path / "cache").rglob("*unverified*")) == []


def test_missing_file_leads_to_the_next(filled: Manager, tmp_path: Path) -> None:
    blob(tmp_path, filled().manifest("net").form("onnx")).unlink()
    loaded = filled().load_optimized_model("net", "onnx")
    assert loaded.form.name == "baseline"
    assert "ObjectNotFound" in loaded.reason


def test_strict_does_not_fall_back(filled: Manager) -> None:
    with pytest.raises(NoUsableForm, match="tensorrt: no TensorRT form is registered"):
        filled().load_optimized_model("net", "tensorrt", strict=True)


def test_nothing_that_fits_tells_every_reason(filled: Manager) -> None:
    with pytest.raises(NoUsableForm, match=r"onnx: ONNXRuntime is not .*baseline: PyTorch is not"):
        filled(runtimes=frozenset()).load_optimized_model("net", "onnx")


def test_unknown_model_lists_the_known(filled: Manager) -> None:
    assert filled().names() == ["net"]
    with pytest.raises(ObjectNotFound, match="no model 'nett' is registered; there is net"):
        filled().load_optimized_model("nett")
    with pytest.raises(SpecError, match="none of auto"):
        filled().load_optimized_model("net", "fastest")


@pytest.mark.parametrize("form", ["none", "onnx"])
def test_tensors_in_tensors_out(filled: Manager, network: NetworkFiles, form: str) -> None:
    import torch

    loaded = filled().load_optimized_model("net", form)
    found = loaded(torch.from_numpy(X))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), network.expected(X), atol=1e-5)
    assert isinstance(loaded(x=X), np.ndarray)
    assert loaded(x=torch.from_numpy(X).requires_grad_()).shape == (5, 3)


def test_wrong_inputs_are_told(filled: Manager) -> None:
    loaded = filled().load_optimized_model("net", "onnx")
    with pytest.raises(DataError, match=r"2 inputs given, the model takes 1: \['x'\]"):
        loaded(X, X)
    with pytest.raises(DataError, match="input x is given twice"):
        loaded(X, x=X)
    with pytest.raises(DataError, match="fed z"):
        loaded(z=X)
    with pytest.raises(DataError, match="fed nothing"):
        loaded()
    with pytest.raises(DataError, match="is float64, the input takes float32"):
        loaded(X.astype(np.float64))
    with pytest.raises(DataError, match="has 1 dimensions"):
        loaded(X[0])
    with pytest.raises(DimensionError, match="size 3 at axis 1, which is fixed to 4"):
        loaded(X[:, :3])


def test_closed_models_say_so(filled: Manager) -> None:
    loaded = filled().load_optimized_model("net", "onnx")
    loaded.close()
    loaded.close()
    with pytest.raises(SpecError, match="was closed"):
        loaded(X)


async def test_async_calls_run_beside_the_loop(
    filled: Manager, network: NetworkFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = await filled().aload_optimized_model("net", "onnx")
    threads: list[threading.Thread] = []
    run = loaded.run

    def noting_thread(feeds: Any) -> Any:
        threads.append(threading.current_thread())
        return run(feeds)

    monkeypatch.setattr(loaded, "run", noting_thread)
    found = await asyncio.gather(*(loaded.acall(X + i) for i in range(4)))
    for i, value in enumerate(found):
        np.testing.assert_allclose(value, network.expected(X + np.float32(i)), atol=1e-5)
    assert len(threads) == 4
    assert threading.main_thread() not in threads


def test_calls_from_many_threads_do_not_mix(filled: Manager, network: NetworkFiles) -> None:
    # OpenVINO's request holds its inputs: without the lock answers would be exchanged.
    loaded = filled(runtimes=frozenset({"OpenVINO"})).load_optimized_model("net", "onnx")
    wrong: list[int] = []

    def call(i: int) -> None:
        for _ in range(20):
            value = np.full((64, 4), i, np.float32)
            if not np.allclose(loaded(value), network.expected(value), atol=1e-3):
                wrong.append(i)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_several_inputs_and_outputs_of_other_types(
    manager: Manager, tmp_path: Path, save_graph: Callable[[Any, Path], None]
) -> None:
    import onnx

    helper, proto = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Cast", ["b"], ["real"], to=proto.FLOAT),
        ],
        "g",
        [helper.make_tensor_value_info(n, proto.INT64, ["n"]) for n in "ab"],
        [
            helper.make_tensor_value_info("sum", proto.INT64, ["n"]),
            helper.make_tensor_value_info("real", proto.FLOAT, ["n"]),
        ],
    )
    save_graph(graph, tmp_path / "two.onnx")
    manager().register("two", tmp_path / "two.onnx")
    loaded = manager().load_optimized_model("two")
    total, real = loaded(np.array([1, 2]), b=np.array([3, 4]))
    assert (total.tolist(), real.tolist(), real.dtype) == ([4, 6], [3, 4], np.float32)
    with pytest.raises(DimensionError, match="size 1 at axis 0, but n is 2 at a 0"):
        loaded(np.array([1, 2]), np.array([3]))


def test_one_line_function_loads(
    filled: Manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    loaded = load_optimized_model(tmp_path / "registry", "net", "none")
    assert loaded.form.name == "baseline"
    assert list((tmp_path / "xdg/mopt/models").rglob("model.pt2"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no manifest"),
        ('{"forms": []}', "is no manifest"),
        (None, "has version 2, this mopt reads up to 1; upgrade it"),
    ],
)
def test_damaged_and_newer_manifests_are_told(
    filled: Manager, tmp_path: Path, text: str | None, message: str
) -> None:
    filled()
    path = tmp_path / "registry/net/manifest.json"
    newer = json.dumps(json.loads(path.read_text()) | {"schemaVersion": 2})
    path.write_text(newer if text is None else text)
    with pytest.raises(ModelError, match=message):
        filled().load_optimized_model("net")


def test_registry_on_s3(
    minio: Any, tmp_path: Path, machine: Machine, network: NetworkFiles
) -> None:
    environ = minio.environ()
    uri = f"s3://{minio.bucket()}/models"
    manager = ModelManager(uri, cache=tmp_path / "cache", environ=environ, machine=machine)
    manager.register("net", network.program)
    manager.add_form("net", "onnx", network.onnx, runtime="ONNXRuntime", precision="FP32")
    assert manager.names() == ["net"]
    loaded = manager.load_optimized_model("net")
    assert loaded.form.name == "onnx"
    np.testing.assert_allclose(loaded(X), network.expected(X), atol=1e-5)
