"""Models that the stage refuses: another file, no model, an attack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from prepare_bench import Bench

from mopt_api.enums import ModelFormat
from mopt_api.jobs.plan import PlannedModel, PreparePlan
from mopt_optimizer.errors import DigestMismatch, ModelError, UnsafeModelError

pytestmark = pytest.mark.optimizer


def test_wrong_sha256_names_both(bench: Bench, plan: PreparePlan) -> None:
    wrong = plan.model.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(DigestMismatch, match=rf"has sha256 {bench.sha256}, .* is {'0' * 64}"):
        bench.run(plan.model_copy(update={"model": wrong}))


@pytest.fixture
def tamper_expression(upscaler_pt2: Path, tmp_path: Path) -> Callable[[str], bytes]:
    """Return what gives the bytes of the model with another expression for its sizes."""
    import zipfile

    def tamper(expression: str) -> bytes:
        path = tmp_path / "evil.pt2"
        with zipfile.ZipFile(upscaler_pt2) as source, zipfile.ZipFile(path, "w") as target:
            for entry in source.infolist():
                content = source.read(entry)
                if entry.filename.endswith("models/model.json"):
                    program = json.loads(content)
                    for meta in program["graph_module"]["graph"]["tensor_values"].values():
                        for size in meta["sizes"]:
                            if "as_expr" in size:
                                size["as_expr"]["expr_str"] = expression
                    content = json.dumps(program).encode()
                target.writestr(entry.filename, content)
        return path.read_bytes()

    return tamper


def test_attack_is_refused_in_the_child(
    bench: Bench, plan: PreparePlan, tamper_expression: Callable[[str], bytes], tmp_path: Path
) -> None:
    witness = tmp_path / "ran"
    content = tamper_expression(f"__import__('pathlib').Path({str(witness)!r}).touch()")
    bench.store.put_bytes("models/evil.pt2", content)
    before = bench.store.list("out/")
    evil = PlannedModel(
        uri=f"s3://{bench.bucket}/models/evil.pt2",
        sha256=hashlib.sha256(content).hexdigest(),
        format=ModelFormat.EXPORTED_PROGRAM,
    )
    with pytest.raises(UnsafeModelError, match="__import__"):
        bench.run(plan.model_copy(update={"model": evil}))
    assert not witness.exists()
    assert bench.store.list("out/") == before


@pytest.mark.parametrize("model_format", list(ModelFormat))
def test_file_that_is_no_model_says_so(
    bench: Bench, plan: PreparePlan, model_format: ModelFormat
) -> None:
    bench.store.put_bytes("models/garbage", b"not a model")
    garbage = PlannedModel(
        uri=f"s3://{bench.bucket}/models/garbage",
        sha256=hashlib.sha256(b"not a model").hexdigest(),
        format=model_format,
    )
    with pytest.raises(ModelError, match="not a"):
        bench.run(plan.model_copy(update={"model": garbage}))
