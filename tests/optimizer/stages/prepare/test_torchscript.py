"""TorchScript through the stage: the same way, its attacks, its inputs."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from own_forms import own
from prepare_bench import Bench, psnr

from mopt_api.enums import ModelFormat, TargetKind
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_api.jobs.plan import PlannedModel, PreparePlan
from mopt_optimizer.errors import OptimizerError, UnsafeModelError
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.stages.prepare.messages import PrepareRequest
from mopt_optimizer.stages.prepare.worker import handle

pytestmark = pytest.mark.optimizer


def test_torchscript_source_goes_the_same_way(
    bench: Bench, plan: PreparePlan, upscaler_ts: Path, tmp_path: Path
) -> None:
    import torch

    bench.store.put_file("models/model.ts", upscaler_ts)
    model = PlannedModel(
        uri=f"s3://{bench.bucket}/models/model.ts",
        sha256=hashlib.sha256(upscaler_ts.read_bytes()).hexdigest(),
        format=ModelFormat.TORCH_SCRIPT,
    )
    result, _ = bench.run(plan.model_copy(update={"model": model}))
    assert result.artifacts_on(TargetKind.CPU)["eager"] == "source"
    assert result.skipped_on(TargetKind.CPU) == []
    assert (result.source.format, result.source.opset) == (ModelFormat.TORCH_SCRIPT, 18)
    # The last two are photographs as they are.
    assert [v.dimensions["height"] for v in result.verifications] == [16, 18, 48, 48, 48]
    assert all(v.passed for v in result.verifications)
    files = {a.name: tmp_path / f"{a.name}.onnx" for a in result.artifacts}
    for form in result.artifacts:
        bench.blobs.fetch(form.artifact.digest, files[form.name])
    image = np.random.default_rng(5).random((3, 3, 21, 33), dtype=np.float32)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so
        script = torch.jit.load(upscaler_ts)  # type: ignore[no-untyped-call]
        expected = script(torch.from_numpy(image)).numpy()
    assert np.abs(OnnxSession(files["fp32"]).run({"image": image})[0] - expected).max() < 1e-5
    int8 = OnnxSession(files[own("int8-minmax-perchannel")]).run({"image": image})[0]
    assert psnr(int8, expected) > 30
    inputs = onnx.load(files["fp32"]).graph.input
    assert [d.dim_param for d in inputs[0].type.tensor_type.shape.dim] == [
        "batch",
        "",
        "height",
        "width",
    ]


def test_attack_in_torchscript_is_refused(
    bench: Bench, plan: PreparePlan, upscaler_ts: Path, tmp_path: Path
) -> None:
    import zipfile

    evil = tmp_path / "evil.ts"
    with zipfile.ZipFile(upscaler_ts) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith(".py"):
                start = b"    body = self.body\n"
                content = content.replace(start, b"    ops.evil.run(image)\n" + start)
            target.writestr(name, content)
    assert evil.read_bytes() != upscaler_ts.read_bytes()
    bench.store.put_file("models/evil.ts", evil)
    model = PlannedModel(
        uri=f"s3://{bench.bucket}/models/evil.ts",
        sha256=hashlib.sha256(evil.read_bytes()).hexdigest(),
        format=ModelFormat.TORCH_SCRIPT,
    )
    with pytest.raises(UnsafeModelError, match="extension 'evil'"):
        bench.run(plan.model_copy(update={"model": model}))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "picture"}, "no input 'picture'; it has image"),
        ({"shape": ["batch", 4, "height", "width"]}, "the model fails at batch 1"),
    ],
)
def test_torchscript_that_does_not_fit_the_spec_says_so(
    upscaler_ts: Path,
    image_input: InputSpec,
    image_dimensions: dict[str, DimensionRange],
    tmp_path: Path,
    change: dict[str, object],
    error: str,
) -> None:
    request = PrepareRequest(
        model=PlannedModel(uri="file:///x", sha256="0" * 64, format=ModelFormat.TORCH_SCRIPT),
        path=str(upscaler_ts),
        inputs=[image_input.model_copy(update=change)],
        dimensions=image_dimensions,
        forms=[],
    )
    with pytest.raises(OptimizerError, match=error):
        handle(request.to_api(), tmp_path, lambda *_, **__: None)
