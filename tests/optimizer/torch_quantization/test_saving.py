"""Saved models: the same bits again, and nothing else opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mopt_optimizer.errors import DigestMismatch, ModelError, SpecError
from mopt_optimizer.torch_quantization import (
    Execution,
    QuantizationType,
    QuantizedModel,
    quantize_model,
)

pytestmark = pytest.mark.optimizer

Images = Callable[..., list[torch.Tensor]]


@pytest.fixture
def saved(perceptron: nn.Module, tmp_path: Path) -> Path:
    model = quantize_model(perceptron, "static", [torch.rand(2, 8)], execution=Execution.EAGER)
    model.save(tmp_path / "model.pt2")
    return tmp_path / "model.pt2"


@pytest.mark.parametrize("kind", list(QuantizationType))
def test_outputs_are_bit_identical_after_loading(
    classifier: nn.Module, images: Images, tmp_path: Path, kind: QuantizationType
) -> None:
    model = quantize_model(classifier, kind, images(2), execution=Execution.EAGER)
    digest = model.save(tmp_path / "model.pt2")
    loaded = QuantizedModel.load(tmp_path / "model.pt2", digest=digest, execution=Execution.EAGER)
    assert loaded.report == model.report
    for batch in (1, 3):
        image = images(1, batch=batch)[0]
        assert torch.equal(loaded(image), model(image))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt2", "model.pt2.json"]


def test_compiled_outputs_are_bit_identical_after_loading(
    classifier: nn.Module, images: Images, tmp_path: Path
) -> None:
    image = images(1)[0]
    model = quantize_model(classifier, "static", [image], execution=Execution.COMPILE)
    before = model(image)
    assert model.compiled
    model.save(tmp_path / "model.pt2")
    loaded = QuantizedModel.load(tmp_path / "model.pt2", execution=Execution.COMPILE)
    assert torch.equal(loaded(image), before)
    eager = QuantizedModel.load(tmp_path / "model.pt2", execution=Execution.EAGER)
    assert torch.allclose(eager(image), before, atol=1e-3)


def test_the_file_holds_no_float_form_of_quantized_weights(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(512, 512))
    quantized = quantize_model(model, "static", [torch.rand(1, 512)], execution=Execution.EAGER)
    quantized.save(tmp_path / "model.pt2")
    weight_bytes = 512 * 512
    assert weight_bytes < (tmp_path / "model.pt2").stat().st_size < 1.2 * weight_bytes


def test_the_file_names_no_path_of_this_machine(saved: Path) -> None:
    assert b"site-packages" not in saved.read_bytes()


def test_the_file_holds_no_calibration_data(perceptron: nn.Module, tmp_path: Path) -> None:
    sample = torch.rand(2, 8)
    model = quantize_model(perceptron, "static", [sample], execution=Execution.EAGER)
    model.save(tmp_path / "model.pt2")
    assert sample.numpy().tobytes() not in (tmp_path / "model.pt2").read_bytes()


def test_a_changed_byte_is_found(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[len(data) // 2] ^= 1
    saved.write_bytes(data)
    with pytest.raises(DigestMismatch, match=r"has the digest sha256:\w+, expected is sha256:"):
        QuantizedModel.load(saved)


def test_the_digest_known_from_elsewhere_counts(saved: Path) -> None:
    with pytest.raises(DigestMismatch, match="expected is sha256:00"):
        QuantizedModel.load(saved, digest=f"sha256:{'0' * 64}")


def test_a_pickle_with_a_matching_digest_is_refused(saved: Path) -> None:
    import hashlib

    torch.save({"weight": torch.ones(1)}, saved)
    beside = saved.with_name("model.pt2.json")
    manifest = json.loads(beside.read_text())
    manifest["digest"] = f"sha256:{hashlib.sha256(saved.read_bytes()).hexdigest()}"
    beside.write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"\.pt2"):
        QuantizedModel.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("mopt-quantized/1", "mopt-quantized/9"), "quantized/1 is read"),
        (lambda text: text[:40], "is no manifest of ours"),
        (lambda text: text.replace('"digest"', '"digests"'), "is no manifest of ours"),
    ],
)
def test_another_manifest_is_refused(
    saved: Path, change: Callable[[str], str], message: str
) -> None:
    beside = saved.with_name("model.pt2.json")
    beside.write_text(change(beside.read_text()))
    with pytest.raises(ModelError, match=message):
        QuantizedModel.load(saved)


def test_a_missing_manifest_is_named(saved: Path) -> None:
    saved.with_name("model.pt2.json").unlink()
    with pytest.raises(ModelError, match=r"model\.pt2\.json is missing"):
        QuantizedModel.load(saved)


def test_the_name_must_end_in_pt2(perceptron: nn.Module, tmp_path: Path) -> None:
    model = quantize_model(perceptron, "bf16", [torch.rand(2, 8)], execution=Execution.EAGER)
    with pytest.raises(SpecError, match=r"must end in \.pt2"):
        model.save(tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []
