"""Fusion: what is found, where it abstains, and that outputs stay the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mopt_optimizer.errors import CalibrationError
from mopt_optimizer.torch_quantization import FusionReport, fuse_modules, fusion

from .conftest import Classifier, randomize_norms

pytestmark = pytest.mark.optimizer

Images = Callable[..., list[torch.Tensor]]


def _found(report: FusionReport) -> list[tuple[str, tuple[str, ...]]]:
    return [(f.pattern, f.modules) for f in report.fused]


def _same(before: nn.Module, after: nn.Module, image: torch.Tensor) -> bool:
    with torch.no_grad():
        return torch.allclose(before(image), after(image), atol=1e-5)


def test_nested_modules(classifier: nn.Module, images: Images) -> None:
    image = images(1)[0]
    fused, report = fuse_modules(classifier, image)
    assert _found(report) == [
        ("Conv+BN+ReLU", ("body.0.0", "body.0.1", "body.0.2")),
        ("Linear+ReLU", ("head.0", "head.1")),
    ]
    assert report.max_abs_error < 1e-5
    assert _same(classifier, fused, image)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in classifier.modules())


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.line = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        result: torch.Tensor = self.line(x).relu()
        return result


def test_functions_and_methods(images: Images) -> None:
    model = randomize_norms(Functional())
    fused, report = fuse_modules(model, images(1)[0])
    assert _found(report) == [
        ("Conv+BN+ReLU", ("conv", "norm", "relu")),
        ("Linear+ReLU", ("line", "relu_1")),
    ]
    assert _same(model, fused, images(1)[0])


def test_a_traced_graph(images: Images) -> None:
    traced = torch.fx.symbolic_trace(randomize_norms(Classifier()))
    _, report = fuse_modules(traced, images(1)[0])
    assert [pattern for pattern, _ in _found(report)] == ["Conv+BN+ReLU", "Linear+ReLU"]


def test_an_exported_program(classifier: nn.Module, images: Images) -> None:
    program = torch.export.export(classifier, (images(1, batch=2)[0],))
    fused, report = fuse_modules(program, images(1, batch=2)[0])
    assert _found(report) == [("Conv+BN", ("body.0.0", "body.0.1"))]
    assert isinstance(fused, torch.fx.GraphModule)
    assert "batch_norm" not in fused.code
    assert _same(classifier, fused, images(1, batch=2)[0])


class Branching(nn.Module):
    """torch.fx cannot trace it; its parts it can."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.parts[0](x)
        return result if float(x.sum()) > 0 else -result


def test_parts_of_what_cannot_be_traced(images: Images) -> None:
    model = randomize_norms(Branching())
    fused, report = fuse_modules(model, images(1)[0])
    assert _found(report) == [("Conv+BN", ("parts.0.0", "parts.0.1"))]
    assert list(report.untraceable) == [""]
    assert _same(model, fused, images(1)[0])


class Twice(nn.Module):
    """The convolution's output is used twice, so is the norm's module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.other = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.shared = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        result: torch.Tensor = y + self.norm(y) + self.shared(self.other(x)) + self.shared(x)
        return result


def test_what_others_use_too_is_left_alone(images: Images) -> None:
    _, report = fuse_modules(randomize_norms(Twice()), images(1)[0])
    assert _found(report) == []


def test_a_hook_is_not_lost(classifier: nn.Module, images: Images) -> None:
    classifier.get_submodule("body.0.1").register_forward_hook(lambda *_: None)
    _, report = fuse_modules(classifier, images(1)[0])
    assert [pattern for pattern, _ in _found(report)] == ["Linear+ReLU"]


def test_a_fusion_that_changes_outputs_is_rolled_back(
    classifier: nn.Module, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
        return conv  # forgets the norm

    monkeypatch.setattr(fusion, "fuse_conv_bn_eval", wrong)
    fused, report = fuse_modules(classifier, images(1)[0])
    assert _found(report) == [("Linear+ReLU", ("head.0", "head.1"))]
    assert [f.modules[0] for f in report.rolled_back] == ["body.0.0"]
    assert _same(classifier, fused, images(1)[0])


def test_an_example_that_the_model_does_not_take(classifier: nn.Module) -> None:
    with pytest.raises(CalibrationError, match=r"the example \(\(1, 4, 8, 8\)"):
        fuse_modules(classifier, torch.rand(1, 4, 8, 8))
