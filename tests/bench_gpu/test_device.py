"""What NVML and torch.cuda answer, recorded in form, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from bench.gpu.device import energy_meter, gpu_facts, joules_per_1000, libraries
from bench.gpu.rows import latency, rounded


class Nvml:
    """NVML's binding with a GPU whose energy counter gives these millijoules, one a call."""

    class NVMLError(Exception):
        pass

    def __init__(self, *millijoules: int | None) -> None:
        self._millijoules = iter(millijoules)

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802 - as pynvml has it
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        assert handle == "GPU-1"
        value = next(self._millijoules)
        if value is None:
            raise self.NVMLError("Not Supported")
        return value

    @contextmanager
    def binding(self) -> Iterator[Any]:
        yield self


def test_energy_is_read_in_joules() -> None:
    nvml = Nvml(1_500, 4_000)
    with energy_meter(nvml.binding, lambda: "GPU-1") as read:
        assert (read(), read()) == (1.5, 4.0)


def test_a_gpu_without_the_counter_tells_none() -> None:
    with energy_meter(Nvml(None).binding, lambda: "GPU-1") as read:
        assert read() is None


@pytest.mark.parametrize("uuid", [None, "GPU-1"])
def test_without_nvml_or_a_gpu_there_is_none(uuid: str | None) -> None:
    @contextmanager
    def binding() -> Iterator[Any]:
        yield None if uuid else Nvml()

    with energy_meter(binding, lambda: uuid) as read:
        assert read() is None


@pytest.mark.parametrize(
    ("before", "after", "inferences", "expected"),
    [
        (10.0, 510.0, 2000, 250.0),
        (10.0, 10.0, 5, None),
        (None, 10.0, 5, None),
        (10.0, None, 5, None),
    ],
)
def test_energy_of_a_thousand(
    before: float | None, after: float | None, inferences: int, expected: float | None
) -> None:
    assert joules_per_1000(before, after, inferences) == expected


def test_torch_tells_of_the_gpu() -> None:
    properties = SimpleNamespace(multi_processor_count=132, L2_cache_size=62_914_560)
    cuda = SimpleNamespace(
        get_device_properties=lambda _index: properties, get_arch_list=lambda: ["sm_90"]
    )
    assert gpu_facts(cuda) == {
        "multiprocessors": 132,
        "l2CacheBytes": 62_914_560,
        "torchArchitectures": ["sm_90"],
    }


def test_either_tensorrt_counts() -> None:
    assert libraries(frozenset({"tensorrt_rtx"}))["tensorrt"]
    assert not any(libraries(frozenset({"torch", "onnxruntime"})).values())


def test_statistics_of_calls() -> None:
    found = latency([4.0, 1.0, 3.0, 2.0])
    assert (found["p50"], found["calls"]) == (2.5, 4)
    assert found["p99"] == pytest.approx(3.97)
    assert found["coefficientOfVariation"] == pytest.approx(0.4472, abs=1e-4)
    assert rounded([1.23456789]) == [1.2346]
