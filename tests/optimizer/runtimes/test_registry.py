"""Runtimes are opened through one table, which an extension adds to."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import toy_runtime
from runners import opened

from mopt_api.enums import ExecutionProvider, Precision, Runtime
from mopt_api.runtimes import RUNTIMES as ROWS
from mopt_optimizer.errors import RuntimeFailure
from mopt_optimizer.machine.facts import this_machine
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.registry import RUNTIMES, builds, variables


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Return a runtime that is registered for the test."""
    monkeypatch.setitem(ROWS, toy_runtime.TOY, toy_runtime.INFO)
    monkeypatch.setitem(RUNTIMES, toy_runtime.TOY, toy_runtime.SUPPORT)
    return toy_runtime.TOY


def opening(runtime: Runtime, path: Path, provider: ExecutionProvider | None = None) -> Opening:
    return Opening(
        runtime=runtime, precision=Precision.FP32, path=path, threads=3, provider=provider
    )


def test_every_runtime_is_opened_by_something() -> None:
    assert list(RUNTIMES) == list(Runtime)


def test_a_registered_runtime_opens_and_computes(toy: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "model.toy"
    path.write_text("2.5")
    with opened(toy, Precision.FP32, path) as runner:
        assert runner.run({"x": np.ones(2)})["x"].tolist() == [2.5, 2.5]
        runner.bind({"x": np.ones(2)})()
        assert (runner.engine, runner.compile_seconds) == (None, 0.0)
    path.write_text("no number")
    with pytest.raises(RuntimeFailure, match="Toy cannot open the model"):
        opened(toy, Precision.FP32, path)


def test_a_closed_runner_holds_nothing_and_may_be_closed_again(
    toy: Runtime, tmp_path: Path
) -> None:
    path = tmp_path / "model.toy"
    path.write_text("2.5")
    runner = opened(toy, Precision.FP32, path)
    assert vars(runner)
    runner.close()
    runner.close()
    assert not vars(runner)


def test_a_registered_runtime_is_found_where_its_module_is(toy: Runtime) -> None:
    assert "toy_runtime" in sys.modules
    assert toy.value in this_machine().runtimes


def test_an_opening_is_the_same_after_json(toy: Runtime, tmp_path: Path) -> None:
    sent = Opening(
        runtime=toy,
        precision=Precision.FP16,
        path=tmp_path / "model.toy",
        threads=2,
        gpu=True,
        provider=ExecutionProvider.TENSORRT,
        shapes={"x": ((1, 3), (1, 3), (4, 3)), "y": (1, 2)},
    )
    received = Opening.model_validate_json(sent.model_dump_json())
    assert received.model_dump(exclude={"shapes"}) == sent.model_dump(exclude={"shapes"})
    assert received.model_dump_json() == sent.model_dump_json()
    assert json.loads(sent.model_dump_json())["shapes"]["x"] == [[1, 3], [1, 3], [4, 3]]


def test_a_process_gets_the_variables_of_its_own_runtime(toy: Runtime, tmp_path: Path) -> None:
    found = variables(opening(toy, tmp_path / "m"), tmp_path / "cache")
    assert found == {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "TOY_THREADS": "3",
        "TOY_MODE": "exact",
        "TOY_CACHE": str(tmp_path / "cache"),
    }
    pytorch = variables(opening(Runtime.PYTORCH, tmp_path / "m"), tmp_path / "cache")
    assert pytorch["OMP_WAIT_POLICY"] == "PASSIVE"
    assert pytorch["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache")
    assert pytorch["TORCHINDUCTOR_COMPILE_THREADS"] == "3"


@pytest.mark.parametrize(
    ("runtime", "provider", "expected"),
    [
        (Runtime.TENSORRT, None, True),
        (Runtime.ONNX_RUNTIME, ExecutionProvider.TENSORRT, True),
        (Runtime.ONNX_RUNTIME, ExecutionProvider.CUDA, False),
        (Runtime.PYTORCH, None, False),
    ],
)
def test_what_builds_when_it_is_opened(
    runtime: Runtime, provider: ExecutionProvider | None, expected: bool, tmp_path: Path
) -> None:
    assert builds(opening(runtime, tmp_path / "m", provider)) is expected
