"""Which backend is chosen."""

from __future__ import annotations

import pytest

from mopt_optimizer.errors import BackendError
from mopt_optimizer.torch_quantization.backends import choose_backend, needs_reduced_range
from mopt_optimizer.torch_quantization.config import Backend

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
    ("backend", "features", "reduced"),
    [
        (Backend.FBGEMM, ["avx512_vnni"], True),
        (Backend.X86, ["avx2"], True),
        (Backend.X86, ["avx2", "avx_vnni"], False),
        (Backend.ONEDNN, ["amx_int8"], False),
        (Backend.QNNPACK, [], False),
    ],
)
def test_reduced_range(backend: Backend, features: list[str], reduced: bool) -> None:
    assert needs_reduced_range(backend, features) is reduced
