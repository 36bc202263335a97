"""PyTorch compiled: in integers where the program is, for each size, the compiling told apart."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from runners import opened

from mopt_api.enums import Precision, Runtime
from mopt_api.figures import VariantReason
from mopt_optimizer.errors import VariantFailure
from mopt_optimizer.machine.compilers import compiler_version
from mopt_optimizer.runtimes import Runner, RuntimeFailure
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.stages.measure.process import VariantProcess

if TYPE_CHECKING:
    from model_files import ModelFiles

pytestmark = [
    pytest.mark.optimizer,
    pytest.mark.skipif(compiler_version() is None, reason="no C++ compiler"),
]


def image(batch: int = 1, height: int = 16, width: int = 24) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((batch, 3, height, width), np.float32)


@pytest.fixture(scope="module")
def int8_program(model_files: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network in static INT8, as prepare makes it."""
    from mopt_optimizer.opening.loading import load_exported_program
    from mopt_optimizer.torch_quantization import quantize_model
    from mopt_optimizer.torch_quantization.quantized_model import save_program

    folder = tmp_path_factory.mktemp("int8")
    program = load_exported_program(model_files.program, folder)
    samples = [{"image": image(2, 16, 20)}]
    save_program(
        quantize_model(program, "static", samples, execution="eager").program, folder / "int8.pt2"
    )
    return folder / "int8.pt2"


def operators_of_a_call(runner: Runner) -> set[str]:
    """Return what PyTorch executes in one bound call, by its own profiler."""
    import torch

    call = runner.bind({"image": image()})
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    return {event.key for event in profile.key_averages()}


def test_int8_runs_integer_convolutions_and_no_other(int8_program: Path) -> None:
    with opened(Runtime.PYTORCH, Precision.INT8, int8_program, 1) as runner:
        executed = operators_of_a_call(runner)
    assert any("qconv" in name for name in executed), executed
    assert not any(name.startswith(("aten::conv", "aten::mkldnn_conv")) for name in executed)


def test_fp32_program_runs_no_integer_convolution(model_files: ModelFiles) -> None:
    with opened(Runtime.PYTORCH, Precision.FP32, model_files.program, 1, compiled=True) as runner:
        executed = operators_of_a_call(runner)
    assert not any("qconv" in name for name in executed)
    assert any("conv" in name for name in executed), executed


def test_compiled_program_agrees_with_eager_at_every_size(model_files: ModelFiles) -> None:
    both = [
        opened(Runtime.PYTORCH, Precision.FP32, model_files.program, 1, compiled=compiled)
        for compiled in (False, True)
    ]
    with both[0] as eager, both[1] as compiled:
        for size in ((1, 16, 24), (2, 12, 20)):
            feeds = {"image": image(*size)}
            (expected,), (found,) = (r.run(feeds).values() for r in (eager, compiled))
            assert np.abs(found - expected).max() < 1e-5
        assert eager.compile_seconds == 0


def test_compiling_is_over_when_a_point_is_bound(int8_program: Path) -> None:
    with opened(Runtime.PYTORCH, Precision.INT8, int8_program, 1) as runner:
        call = runner.bind({"image": image()})
        spent = runner.compile_seconds
        assert spent > 0
        call()
        call()
        assert runner.compile_seconds == spent


def test_torchscript_is_refused(model_files: ModelFiles) -> None:
    with pytest.raises(RuntimeFailure, match="cannot compile TorchScript"):
        opened(Runtime.PYTORCH, Precision.FP32, model_files.script, 1, compiled=True)


def test_what_is_compiled_stays_in_the_variants_own_folder(
    int8_program: Path, tmp_path: Path
) -> None:
    opening = Opening(
        runtime=Runtime.PYTORCH,
        precision=Precision.INT8,
        path=int8_program,
        threads=1,
        compiled=True,
    )
    elsewhere = tmp_path / "elsewhere"
    feeds = tmp_path / "feeds.npy"
    np.save(feeds, image())
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(elsewhere), "TMPDIR": str(tmp_path)}
    with VariantProcess("v", opening, workdir=tmp_path, environ=environ, read=[feeds]) as process:
        process.bind("point", {"image": feeds})
        assert process.compile_seconds() > 0
        (folder,) = tmp_path.glob("v-*")
        assert list((folder / "compiled").rglob("*.so"))
    assert not folder.exists()
    assert not elsewhere.exists()


def test_compiler_that_does_not_work_fails_the_call_with_its_words(
    int8_program: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho 'g++: fatal: no cc1plus' >&2\nexit 1\n")
    broken.chmod(0o755)
    assert compiler_version(str(broken)) is None
    opening = Opening(
        runtime=Runtime.PYTORCH,
        precision=Precision.INT8,
        path=int8_program,
        threads=1,
        compiled=True,
    )
    feeds = tmp_path / "feeds.npy"
    np.save(feeds, image())
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CXX": str(broken)}
    with (
        VariantProcess(
            "v", opening, workdir=tmp_path, environ=environ, read=[feeds, broken]
        ) as process,
        pytest.raises(VariantFailure, match=r"Inductor cannot compile|C\+\+") as caught,
    ):
        process.evaluate({"image": feeds})
    assert caught.value.reason is VariantReason.BUILD_FAILED


def test_version_is_the_compilers_own() -> None:
    said = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
    assert (compiler_version("g++") or "none") in said
    assert compiler_version("no-such-compiler") is None
