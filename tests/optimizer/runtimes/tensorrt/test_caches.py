"""Caches of TensorRT: named after what they are good for, replaced where they are not taken."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mopt_optimizer.errors import GpuNotFound, SpecError
from mopt_optimizer.machine.nvidia_gpus import Gpu
from mopt_optimizer.runtimes.tensorrt import TensorRTConfig
from mopt_optimizer.runtimes.tensorrt.backends import Backend, BackendName
from mopt_optimizer.runtimes.tensorrt.building import check_options
from mopt_optimizer.runtimes.tensorrt.caches import RUNTIME, TIMING, TimingCache, cache_path

L4 = Gpu("NVIDIA L4", "8.9")
TENSORRT = Backend(BackendName.TENSORRT, "11.1.0.106", object())


class Settings:
    """IBuilderConfig's part in it: takes a cache that begins with a word, and adds to it."""

    def __init__(self, word: bytes) -> None:
        self.word = word
        self.data = b""

    def create_timing_cache(self, data: bytes) -> bytes | None:
        return None if data == b"damaged" else data

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache and not cache.startswith(self.word):
            return False
        self.data = cache or self.word
        return True

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: self.data + b"+")


def test_the_name_holds_versions_and_gpu(tmp_path: Path) -> None:
    path = cache_path(tmp_path, TIMING, TENSORRT, [L4], "13.0")
    assert path == tmp_path / "tensorrt-11.1.0.106-nvidia_l4-8.9-cuda13.0.timing"


def test_no_two_of_different_versions_or_gpus_share_a_file(tmp_path: Path) -> None:
    other = Backend(BackendName.TENSORRT, "11.4.0.1", object())
    rtx = Backend(BackendName.TENSORRT_RTX, "11.1.0.106", object())
    cases: list[tuple[str, Backend, Gpu, str | None]] = [
        (TIMING, TENSORRT, L4, "13.0"),
        (RUNTIME, TENSORRT, L4, "13.0"),
        (TIMING, other, L4, "13.0"),
        (TIMING, rtx, L4, "13.0"),
        (TIMING, TENSORRT, Gpu("NVIDIA L40", "8.9"), "13.0"),
        (TIMING, TENSORRT, Gpu("NVIDIA L4", "9.0"), "13.0"),
        (TIMING, TENSORRT, L4, "12.9"),
        (TIMING, TENSORRT, L4, None),
    ]
    paths = {cache_path(tmp_path, kind, b, [gpu], cuda) for kind, b, gpu, cuda in cases}
    assert len(paths) == len(cases)


def test_without_a_gpu_there_is_no_cache(tmp_path: Path) -> None:
    with pytest.raises(GpuNotFound, match="a timing cache is for one kind of GPU"):
        cache_path(tmp_path, TIMING, TENSORRT, [], None)


def test_a_build_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.timing"
    for expected in (b"ours+", b"ours++"):
        settings = Settings(b"ours")
        cache = TimingCache(path)
        assert cache.attach(settings) is None
        cache.save(settings)
        assert path.read_bytes() == expected


@pytest.mark.parametrize("kept", [b"theirs", b"damaged"])
def test_what_tensorrt_does_not_take_is_replaced_and_told(tmp_path: Path, kept: bytes) -> None:
    path = tmp_path / "a.timing"
    path.write_bytes(kept)
    settings = Settings(b"ours")
    cache = TimingCache(path)
    assert "a.timing is not taken by this TensorRT" in (cache.attach(settings) or "")
    cache.save(settings)
    assert path.read_bytes() == b"ours+"


def test_rtx_is_sent_to_its_runtime_cache(tmp_path: Path, rtx_stub: Backend) -> None:
    config = TensorRTConfig(timing_cache=tmp_path)
    with pytest.raises(SpecError, match=r"timing_cache: TensorRT for RTX.*runtime_cache"):
        check_options(config, rtx_stub)
    check_options(config, TENSORRT)
