"""Every runtime computes the same network; refusals are typed."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from runners import opened

from mopt_api.enums import Precision, Runtime
from mopt_optimizer import runtimes
from mopt_optimizer.errors import ModelError
from mopt_optimizer.machine.system import System, has_native_bf16
from mopt_optimizer.runtimes import RuntimeFailure

if TYPE_CHECKING:
    from model_files import ModelFiles

pytestmark = pytest.mark.optimizer

NATIVE_BF16 = has_native_bf16(System().hardware({}).cpu_features)
FORMS = [
    (Runtime.PYTORCH, Precision.FP32, "program", 1e-6),
    (Runtime.PYTORCH, Precision.FP32, "script", 1e-6),
    (Runtime.ONNX_RUNTIME, Precision.FP32, "onnx", 1e-5),
    (Runtime.ONNX_RUNTIME, Precision.INT8, "int8", 0.03),
    (Runtime.OPENVINO, Precision.FP32, "onnx", 1e-5),
    (Runtime.OPENVINO, Precision.INT8, "int8", 0.03),
]


def image(seed: int, batch: int = 1, height: int = 16, width: int = 24) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((batch, 3, height, width), np.float32)


@pytest.fixture
def eager(model_files: ModelFiles) -> Iterator[runtimes.Runner]:
    with opened(Runtime.PYTORCH, Precision.FP32, model_files.program, 1) as runner:
        yield runner


def only_output(runner: runtimes.Runner, feed: NDArray[np.float32]) -> NDArray[np.float32]:
    (output,) = runner.run({"image": feed}).values()
    return output


@pytest.mark.parametrize(("runtime", "precision", "form", "tolerance"), FORMS)
def test_outputs_follow_eager_pytorch_at_several_sizes(
    model_files: ModelFiles,
    eager: runtimes.Runner,
    runtime: Runtime,
    precision: Precision,
    form: str,
    tolerance: float,
) -> None:
    with opened(runtime, precision, getattr(model_files, form), 1) as runner:
        for number, sizes in enumerate([(1, 16, 24), (3, 20, 12)]):
            feed = image(number, *sizes)
            expected, actual = only_output(eager, feed), only_output(runner, feed)
            assert actual.shape == (sizes[0], 3, 2 * sizes[1], 2 * sizes[2])
            assert np.abs(actual - expected).max() <= tolerance


def test_int8_is_really_quantized(model_files: ModelFiles, eager: runtimes.Runner) -> None:
    with opened(Runtime.OPENVINO, Precision.INT8, model_files.int8, 1) as runner:
        difference = only_output(runner, image(0)) - only_output(eager, image(0))
    assert np.abs(difference).max() > 1e-4


@pytest.mark.skipif(not NATIVE_BF16, reason="this CPU has no bf16")
def test_bf16_is_really_computed_in_bf16(model_files: ModelFiles, eager: runtimes.Runner) -> None:
    with opened(Runtime.OPENVINO, Precision.BF16, model_files.onnx, 1) as runner:
        difference = np.abs(only_output(runner, image(0)) - only_output(eager, image(0))).max()
    assert 1e-5 < difference < 0.02


@pytest.mark.parametrize(("runtime", "precision", "form", "tolerance"), FORMS)
def test_outputs_belong_to_the_caller(
    model_files: ModelFiles, runtime: Runtime, precision: Precision, form: str, tolerance: float
) -> None:
    with opened(runtime, precision, getattr(model_files, form), 1) as runner:
        first = only_output(runner, image(0))
        kept = first.copy()
        only_output(runner, image(1))
        assert np.array_equal(first, kept)


@pytest.mark.parametrize(("runtime", "precision", "form", "tolerance"), FORMS)
def test_a_bound_call_survives_other_work(
    model_files: ModelFiles, runtime: Runtime, precision: Precision, form: str, tolerance: float
) -> None:
    with opened(runtime, precision, getattr(model_files, form), 1) as runner:
        expected = only_output(runner, image(1))
        call = runner.bind({"image": image(0)})
        call()
        other = runner.bind({"image": image(2, batch=2)})
        other()
        call()
        assert np.array_equal(only_output(runner, image(1)), expected)


@pytest.mark.parametrize("runtime", list(Runtime))
def test_garbage_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"not a model" * 100)
    with pytest.raises((RuntimeFailure, ModelError), match=r"\w{4}"):
        opened(runtime, Precision.FP32, path, 1)


def test_garbage_that_calls_itself_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ts"
    path.write_bytes(b"not a model" * 100)
    with pytest.raises(ModelError, match="not a TorchScript file"):
        opened(Runtime.PYTORCH, Precision.FP32, path, 1)


@pytest.mark.parametrize(
    ("fed", "expected"), [(("x",), 3.0), (("x", "y"), 5.0), (("y",), None), (("x", "z"), None)]
)
def test_torchscript_is_fed_by_name_and_its_defaults_may_be_left_out(
    tmp_path: Path, fed: tuple[str, ...], expected: float | None
) -> None:
    import torch

    class Sum(torch.nn.Module):
        def forward(
            self, x: torch.Tensor, scale: float = 3.0, y: torch.Tensor | None = None
        ) -> torch.Tensor:
            return scale * x if y is None else scale * x + 2 * y

    path = tmp_path / "model.ts"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so
        torch.jit.save(torch.jit.script(Sum()), path)
    feeds = {name: np.ones(1, np.float32) for name in fed}
    with opened(Runtime.PYTORCH, Precision.FP32, path, 1) as runner:
        if expected is None:
            with pytest.raises(RuntimeFailure, match="inputs are"):
                runner.run(feeds)
        else:
            assert runner.run(feeds)["output_0"].tolist() == [expected]


@pytest.mark.parametrize(("runtime", "precision", "form", "tolerance"), FORMS)
def test_a_wrong_channel_count_is_refused(
    model_files: ModelFiles, runtime: Runtime, precision: Precision, form: str, tolerance: float
) -> None:
    feed = np.zeros((1, 4, 16, 16), np.float32)
    with opened(runtime, precision, getattr(model_files, form), 1) as runner:
        with pytest.raises(RuntimeFailure, match=r"cannot run|refuses"):
            runner.run({"image": feed})
        with pytest.raises(RuntimeFailure, match=r"cannot run|refuses"):
            runner.bind({"image": feed})()


@pytest.mark.parametrize(
    ("runtime", "form"), [(Runtime.ONNX_RUNTIME, "onnx"), (Runtime.OPENVINO, "onnx")]
)
def test_an_unknown_input_is_refused(model_files: ModelFiles, runtime: Runtime, form: str) -> None:
    with (
        opened(runtime, Precision.FP32, getattr(model_files, form), 1) as runner,
        pytest.raises(RuntimeFailure, match=r"\['image'\].*\['picture'\]"),
    ):
        runner.run({"picture": image(0)})


def test_asking_for_a_runtime_imports_only_its_library(model_files: ModelFiles) -> None:
    import subprocess

    program = (
        "import sys; from pathlib import Path; from mopt_api.enums import Precision, Runtime;"
        "from mopt_optimizer.runtimes import Opening, open_runner;"
        "assert not {'torch', 'onnxruntime', 'openvino'} & sys.modules.keys();"
        "open_runner(Opening(runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32,"
        "path=Path(sys.argv[1]), threads=1));"
        "assert not {'torch', 'openvino'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program, str(model_files.onnx)], check=True)
