"""Loading straight from where a ModelOptimization's Jobs leave their results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from present import present

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.enums import ModelFormat, Precision, Runtime, TorchMode
from mopt_api.figures import Hardware, SourceInfo, VariantReason, VariantState
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import DataError, ModelError, ObjectNotFound
from mopt_optimizer.stages.artifacts import put_onnx
from mopt_optimizer.stages.verdict import result_bytes
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from .conftest import Manager, NetworkFiles

pytestmark = pytest.mark.optimizer

X = np.random.default_rng(1).random((5, 4), np.float32)


@pytest.fixture
def output(tmp_path: Path, network: NetworkFiles) -> tuple[str, str, MeasureResult]:
    """An output store with a result: its uri, the digest of result.json, the result."""
    uri = f"file://{tmp_path / 'output'}"
    store, prefix = open_store(uri, Credentials.OUTPUT, {})
    blobs = Blobs(store, prefix)

    def variant(
        name: str, path: Path, runtime: Runtime, precision: Precision, **fields: Any
    ) -> VariantResult:
        program = path.suffix == ".pt2"
        artifact = Artifact(
            digest=blobs.put_file(path),
            size_bytes=path.stat().st_size,
            format=ArtifactFormat.EXPORTED_PROGRAM if program else ArtifactFormat.ONNX,
        )
        return VariantResult(
            **{
                "name": name,
                "runtime": runtime,
                "precision": precision,
                "artifact": artifact,
                "state": VariantState.PASSED,
            }
            | fields
        )

    ort, ov, fp32, int8 = Runtime.ONNX_RUNTIME, Runtime.OPENVINO, Precision.FP32, Precision.INT8
    result = MeasureResult(
        target="cpu",
        source=SourceInfo(sha256="0" * 64, format=ModelFormat.EXPORTED_PROGRAM, size_bytes=1),
        prepared=f"sha256:{'0' * 64}",
        hardware=Hardware(cpu="CPU B"),
        software={},
        baseline=variant("baseline", network.program, Runtime.PYTORCH, fp32),
        variants=[
            variant("ort-int8", network.int8, ort, int8, speedup=3.0),
            variant("ov", network.onnx, ov, fp32, speedup=2.0),
            variant(
                "ov-int8",
                network.int8,
                ov,
                int8,
                speedup=9.0,
                state=VariantState.REJECTED,
                reason=VariantReason.QUALITY_GATE,
                message="PSNR 20 below 40",
            ),
            variant(
                "compiled",
                network.program,
                Runtime.PYTORCH,
                fp32,
                speedup=1.5,
                torch_mode=TorchMode.COMPILED,
            ),
            variant("gone", network.int8, ov, int8, state=VariantState.SKIPPED, artifact=None),
        ],
        selected="ort-int8",
        objective_point="opt",
    )
    return uri, blobs.put_bytes(result_bytes(result)), result


def test_selected_variant_is_loaded(
    manager: Manager, network: NetworkFiles, output: tuple[str, str, MeasureResult]
) -> None:
    uri, digest, result = output
    for named in (digest, result):
        loaded = manager().load_from_output(uri, named)
        assert loaded.form.name == "ort-int8"
        assert loaded.reason.startswith(
            "ort-int8 (ONNXRuntime INT8): chosen by measurement, 3 times the baseline's speed, "
            "measured on CPU B, this is"
        )
        np.testing.assert_allclose(loaded(X), network.expected(X), atol=0.05)


def test_other_forms_are_loaded_on_request(
    manager: Manager, network: NetworkFiles, output: tuple[str, str, MeasureResult]
) -> None:
    uri, digest, _ = output
    for asked, form in (("none", "baseline"), ("onnx", "ov")):
        loaded = manager().load_from_output(uri, digest, asked)
        assert loaded.form.name == form
        np.testing.assert_allclose(loaded(X), network.expected(X), atol=1e-5)


def test_form_of_two_files_is_loaded(
    manager: Manager, network: NetworkFiles, output: tuple[str, str, MeasureResult], tmp_path: Path
) -> None:
    uri, _, result = output
    (path := tmp_path / "split" / "model.onnx").parent.mkdir()
    onnx.save(
        onnx.load(network.onnx),
        path,
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    artifact = put_onnx(Blobs(*open_store(uri, Credentials.OUTPUT, {})), path)
    assert artifact.external_data
    changed = {"ov": artifact}
    variants = [
        v.model_copy(update={"artifact": changed.get(v.name, v.artifact)}) for v in result.variants
    ]
    result = result.model_copy(update={"variants": variants})
    loaded = manager().load_from_output(uri, result, "onnx")
    assert loaded.form.name == "ov"
    np.testing.assert_allclose(loaded(X), network.expected(X), atol=1e-5)


def test_compiled_variant_is_loaded_compiled(
    manager: Manager, network: NetworkFiles, output: tuple[str, str, MeasureResult]
) -> None:
    from mopt_optimizer.manager.manifest import from_result
    from mopt_optimizer.runtimes.pytorch.compiled import CompiledRunner

    uri, _, result = output
    selected = result.model_copy(update={"selected": "compiled"})
    assert [f.name for f in from_result(selected).forms if f.compiled] == ["compiled"]
    loaded = manager(compiler="12.2.0").load_from_output(uri, selected)
    assert loaded.form.name == "compiled"
    assert isinstance(loaded._runner, CompiledRunner)


def test_rejected_variant_is_not_loaded(
    manager: Manager, output: tuple[str, str, MeasureResult]
) -> None:
    uri, digest, _ = output
    only_ov = manager(runtimes=frozenset({"OpenVINO"}))
    loaded = only_ov.load_from_output(uri, digest, "quantize")
    assert loaded.form.name == "ov"
    reasons = {a.form: a.reason for a in loaded.tried}
    assert "QualityGate: PSNR 20 below 40" in reasons["ov-int8"]


def test_torchscript_source_is_served_by_its_other_forms(
    manager: Manager,
    network: NetworkFiles,
    output: tuple[str, str, MeasureResult],
    upscaler_ts: Path,
) -> None:
    uri, _, result = output
    script = Artifact(
        digest=Blobs(*open_store(uri, Credentials.OUTPUT, {})).put_file(upscaler_ts),
        size_bytes=upscaler_ts.stat().st_size,
        format=ArtifactFormat.TORCH_SCRIPT,
    )
    baseline = present(result.baseline).model_copy(update={"artifact": script})
    result = result.model_copy(update={"baseline": baseline})
    loaded = manager().load_from_output(uri, result, "onnx")
    np.testing.assert_allclose(loaded(X), network.expected(X), atol=1e-5)
    with pytest.raises(ModelError, match=r"TorchScript does not say .* torch\.jit\.load"):
        manager().load_from_output(uri, result, "none")


def test_what_is_no_result_is_told(
    manager: Manager, output: tuple[str, str, MeasureResult], network: NetworkFiles
) -> None:
    uri, _, result = output
    source = present(present(result.baseline).artifact)
    with pytest.raises(DataError, match=r"is no result\.json"):
        manager().load_from_output(uri, source.digest)
    with pytest.raises(ObjectNotFound):
        manager().load_from_output(uri, f"sha256:{'1' * 64}")
