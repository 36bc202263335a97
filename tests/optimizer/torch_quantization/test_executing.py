"""Compiled where possible; eager never silently."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.torch_quantization import Execution, quantize_model

pytestmark = pytest.mark.optimizer


@pytest.fixture
def no_compiler() -> Iterator[None]:
    """torch.compile as on a machine without a C++ compiler, nothing cached."""
    import torch._inductor.config as settings

    with settings.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}):
        yield


def test_without_a_compiler_it_runs_eager_and_says_so(
    perceptron: nn.Module, no_compiler: None, caplog: pytest.LogCaptureFixture
) -> None:
    data = torch.rand(2, 8)
    model = quantize_model(perceptron, "static", [data])
    eager = quantize_model(perceptron, "static", [data], execution=Execution.EAGER)
    with caplog.at_level(logging.WARNING, "mopt_optimizer.torch_quantization"):
        output = model(data)
    assert torch.equal(output, eager(data))
    assert not model.compiled
    assert model.fallback_reason is not None
    assert "Inductor cannot compile it" in model.fallback_reason
    assert "runs eager" in caplog.text
    assert eager.fallback_reason is None


def test_compile_without_a_compiler_is_an_error(perceptron: nn.Module, no_compiler: None) -> None:
    model = quantize_model(perceptron, "static", [torch.rand(2, 8)], execution="compile")
    with pytest.raises(QuantizationError, match=r"the STATIC model: .*Install a C\+\+ compiler"):
        model(torch.rand(2, 8))


def test_wrong_inputs_are_no_reason_to_leave_the_compiler(perceptron: nn.Module) -> None:
    model = quantize_model(perceptron, "static", [torch.rand(2, 8)])
    with pytest.raises((RuntimeError, AssertionError)):
        model(torch.rand(2, 9))
    assert model.fallback_reason is None
    assert model(torch.rand(2, 8)).shape == (2, 4)
    assert model.compiled
