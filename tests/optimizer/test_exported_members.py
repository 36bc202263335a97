"""The package's public names: all there, all loaded on first use only."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import mopt_optimizer

HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "torchao",
    "skimage",
    "tensorrt",
    "tensorrt_rtx",
)


def loaded_by(statement: str) -> set[str]:
    """Return which heavy libraries a new interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint(*(n for n in {HEAVY} if n in sys.modules))"
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_package_loads_no_library() -> None:
    assert loaded_by("import mopt_optimizer; dir(mopt_optimizer)") == set()


def test_names_that_need_no_library_load_none() -> None:
    names = "ModelManager, QuantizationConfig, TensorRTConfig, TensorRTOptimizer, psnr, evaluate"
    assert loaded_by(f"from mopt_optimizer import {names}") == set()


def test_loading_what_needs_a_library_is_noticed() -> None:
    assert "torch" in loaded_by("from mopt_optimizer import ModelQuantizer")


@pytest.mark.optimizer
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of libraries at import
def test_every_public_name_is_there_and_described() -> None:
    assert list(mopt_optimizer.__all__) == sorted(mopt_optimizer.__all__)
    assert set(mopt_optimizer.__all__) == set(mopt_optimizer._HOME_OF)
    for name in mopt_optimizer.__all__:
        value = getattr(mopt_optimizer, name)
        assert inspect.getdoc(value), name
        assert value.__module__.startswith(("mopt_optimizer.", "mopt_api.")), name
    assert set(mopt_optimizer.__all__) <= set(dir(mopt_optimizer))


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'TensorFlowOptimizer'"):
        mopt_optimizer.TensorFlowOptimizer  # noqa: B018
