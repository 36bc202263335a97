"""The GPU of a target: what the driver says, and what is told where there is none.

The driver is a small library of the test's own; a real one is asked in tests/gpu.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from mopt_api.enums import TargetKind
from mopt_api.reasons import Reason
from mopt_optimizer.errors import GpuNotFound
from mopt_optimizer.machine import accelerators
from mopt_optimizer.machine import nvidia_clocks as clocks
from mopt_optimizer.machine.accelerators import accelerator_of, used_memory
from mopt_optimizer.machine.compilers import compiler_version
from mopt_optimizer.machine.nvidia import find_gpu, required_gpu, serious_throttling, without_gpu
from mopt_optimizer.machine.nvidia_clocks import ClockSample

NONE = "no-such-library.so"
DRIVER = r"""
#include <stddef.h>
#include <string.h>
extern "C" {
int cuInit(unsigned) { return 0; }
int cuDeviceGetCount(int* n) { *n = COUNT; return 0; }
int cuDeviceGet(int* device, int index) { *device = index; return 0; }
int cuDeviceGetName(char* name, int size, int) { strncpy(name, NAME, size); return 0; }
int cuDeviceGetAttribute(int* value, int which, int) { *value = which == 75 ? 8 : 9; return 0; }
int cuDeviceGetUuid(unsigned char* uuid, int) { memset(uuid, 1, 16); return 0; }
int cuDeviceTotalMem_v2(size_t* size, int) { *size = 24ULL << 30; return 0; }
}
"""


def driver(folder: Path, name: str, count: int = 1) -> str:
    if compiler_version() is None:
        pytest.skip("no C++ compiler for the stand-in of the driver")
    source, library = folder / "driver.cpp", folder / "libcuda.so.1"
    source.write_text(DRIVER)
    defines = [f'-DNAME="{name}"', f"-DCOUNT={count}"]
    subprocess.run(["g++", "-shared", "-fPIC", *defines, source, "-o", library], check=True)
    return str(library)


def test_a_gpu_is_what_the_driver_says(tmp_path: Path) -> None:
    found = find_gpu(driver(tmp_path, "NVIDIA L4"))
    assert found is not None
    assert (found.name, found.compute_capability, found.mig) == ("NVIDIA L4", "8.9", None)
    assert found.memory_bytes == 24 * 2**30


def test_a_slice_is_told_by_its_name(tmp_path: Path) -> None:
    found = required_gpu("a100", {}, driver(tmp_path, "NVIDIA A100-SXM4-40GB MIG 1g.5gb"))
    assert found.mig is True


def test_a_driver_without_a_gpu_is_none(tmp_path: Path) -> None:
    library = driver(tmp_path, "", count=0)
    assert find_gpu(library) is None
    with pytest.raises(GpuNotFound, match="NVIDIA's driver is here and shows none"):
        required_gpu("l4", {}, library)


def test_no_driver_is_no_gpu() -> None:
    assert find_gpu(NONE) is None
    with pytest.raises(GpuNotFound, match="is not in the container") as caught:
        required_gpu("l4", {}, NONE)
    assert caught.value.reason is Reason.ACCELERATOR_NOT_FOUND


@pytest.mark.parametrize(
    ("environ", "there", "words"),
    [
        ({}, False, ("NVIDIA_VISIBLE_DEVICES is not set", "runtimeClassName", "device plugin")),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, True, ("DEVICES is void", "nvidia.com/gpu: 1")),
    ],
)
def test_what_to_do_is_told(
    environ: Mapping[str, str], there: bool, words: tuple[str, ...]
) -> None:
    message = without_gpu("l4", environ, driver=there)
    assert message.startswith("target l4 is to have an NVIDIA GPU and has none: ")
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    ("reasons", "serious"),
    [
        (None, ()),
        ((), ()),
        (("power cap",), ()),
        (("power cap", "hardware power brake"), ("hardware power brake",)),
    ],
)
def test_a_gpu_at_its_own_power_limit_is_not_disturbed(
    monkeypatch: pytest.MonkeyPatch, reasons: tuple[str, ...] | None, serious: tuple[str, ...]
) -> None:
    sample = None if reasons is None else ClockSample(1500, 6000, 70.0, 60, reasons)
    monkeypatch.setattr(clocks, "gpu_clocks", lambda: sample)
    assert serious_throttling() == serious


def test_a_target_of_gpus_is_asked_by_nvidias_module_and_one_of_cpus_by_none() -> None:
    accelerator = accelerator_of(TargetKind.GPU)
    assert accelerator is not None
    assert accelerator.required_gpu is required_gpu
    assert accelerator_of(TargetKind.CPU) is None
    assert accelerator_of(TargetKind.BUILD_ONLY) is None


def test_a_further_kinds_accelerator_is_a_module(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "toy_accelerator.py").write_text("def used_memory():\n    return 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    kind = TargetKind.add("Toy")
    monkeypatch.setattr("mopt_optimizer.machine.accelerators.ACCELERATORS", {})
    assert used_memory() is None
    monkeypatch.setitem(accelerators.ACCELERATORS, kind, "toy_accelerator")
    assert accelerator_of(kind) is not None
    assert used_memory() == 7
