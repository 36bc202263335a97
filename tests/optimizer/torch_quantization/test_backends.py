"""Which backend is chosen."""

from __future__ import annotations

import pytest

from mopt_api.auto.int8 import CpuClass
from mopt_optimizer.errors import BackendError
from mopt_optimizer.machine.system import own_cpu_class
from mopt_optimizer.torch_quantization import QuantizationConfig
from mopt_optimizer.torch_quantization.backends import choose_backend, scheme_of
from mopt_optimizer.torch_quantization.config import Backend
from mopt_optimizer.torch_quantization.model_quantizer import cpu_of

ALL = [Backend.X86, Backend.FBGEMM, Backend.ONEDNN, Backend.QNNPACK]


@pytest.mark.parametrize(
    ("available", "architecture", "chosen"),
    [
        (ALL, "x86_64", Backend.X86),
        (ALL, "AMD64", Backend.X86),
        ([Backend.FBGEMM, Backend.ONEDNN], "x86_64", Backend.ONEDNN),
        ([Backend.FBGEMM, Backend.QNNPACK], "x86_64", Backend.FBGEMM),
        (ALL, "aarch64", Backend.QNNPACK),
        ([Backend.ONEDNN], "aarch64", Backend.ONEDNN),
    ],
)
def test_auto(available: list[Backend], architecture: str, chosen: Backend) -> None:
    found = choose_backend(Backend.AUTO, available=available, architecture=architecture)
    assert found is chosen


def test_one_that_is_missing_is_refused_with_those_there() -> None:
    with pytest.raises(BackendError, match="without the backend fbgemm; available here: x86, qnn"):
        choose_backend(
            Backend.FBGEMM, available=[Backend.X86, Backend.QNNPACK], architecture="x86_64"
        )


def test_none_that_fits_is_refused() -> None:
    with pytest.raises(BackendError, match="built with none, needed is one of x86, onednn"):
        choose_backend(Backend.AUTO, available=[], architecture="x86_64")


@pytest.mark.parametrize(
    ("backend", "cpu", "bits"),
    [
        (Backend.FBGEMM, CpuClass.WIDE_X86, 7),
        (Backend.X86, CpuClass.NARROW_X86, 7),
        (Backend.X86, CpuClass.WIDE_X86, 8),
        (Backend.ONEDNN, CpuClass.WIDE_X86, 8),
        (Backend.ONEDNN, CpuClass.OTHER, 8),
        (Backend.QNNPACK, CpuClass.NARROW_X86, 8),
    ],
)
def test_bits_of_activations(backend: Backend, cpu: CpuClass, bits: int) -> None:
    found = scheme_of(backend, cpu)
    assert (found.activation_bits, found.weight_bits) == (bits, 8)


@pytest.mark.parametrize(
    ("narrow_sums", "cpu"), [(True, CpuClass.NARROW_X86), (False, CpuClass.WIDE_X86)]
)
def test_who_asks_for_other_cpus_gets_what_is_for_them(narrow_sums: bool, cpu: CpuClass) -> None:
    assert cpu_of(QuantizationConfig(narrow_sums=narrow_sums)) is cpu
    assert cpu_of(QuantizationConfig()) is own_cpu_class()
