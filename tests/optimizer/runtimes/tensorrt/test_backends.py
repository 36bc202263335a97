"""Which TensorRT is taken, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mopt_optimizer.errors import SpecError, TensorRTNotInstalled
from mopt_optimizer.runtimes.tensorrt.backends import BackendName, find_backend


def loader(**modules: str | Exception) -> Callable[[str], Any]:
    """Return an import of modules of these versions; the others are not installed."""

    def load(name: str) -> Any:
        found = modules.get(name)
        if found is None:
            raise ModuleNotFoundError(name)
        if isinstance(found, Exception):
            raise found
        return SimpleNamespace(__version__=found)

    return load


def test_tensorrt_comes_before_rtx() -> None:
    found = find_backend(load=loader(tensorrt="11.4.0.106", tensorrt_rtx="1.7.1.116"))
    assert (found.name, found.version) == (BackendName.TENSORRT, "11.4.0.106")


def test_rtx_is_taken_where_tensorrt_is_not_installed_or_does_not_load() -> None:
    assert find_backend(load=loader(tensorrt_rtx="1.7.1.116")).name is BackendName.TENSORRT_RTX
    broken = loader(tensorrt=ImportError("libnvinfer.so.10"), tensorrt_rtx="1.7.1.116")
    assert find_backend(load=broken).name is BackendName.TENSORRT_RTX


def test_a_named_backend_is_the_only_one_looked_for() -> None:
    both = loader(tensorrt="10.13.3.9", tensorrt_rtx="1.7.1.116")
    assert find_backend("tensorrt_rtx", load=both).name is BackendName.TENSORRT_RTX
    with pytest.raises(TensorRTNotInstalled, match="tensorrt_rtx is not installed;"):
        find_backend("tensorrt_rtx", load=loader(tensorrt="10.13.3.9"))


def test_without_any_the_error_says_what_each_lacks_and_what_to_install() -> None:
    load = loader(tensorrt="8.6.1", tensorrt_rtx=OSError("libtensorrt_rtx.so.1: no such file"))
    with pytest.raises(TensorRTNotInstalled) as caught:
        find_backend(load=load)
    assert "tensorrt 8.6.1 is older than 10" in str(caught.value)
    assert "tensorrt_rtx does not load: libtensorrt_rtx.so.1" in str(caught.value)
    assert "mopt[tensorrt]" in str(caught.value)
    assert not caught.value.retryable


def test_unknown_name_is_refused() -> None:
    with pytest.raises(SpecError, match="'trt' is none of tensorrt, tensorrt_rtx"):
        find_backend("trt", load=loader())


def test_targets_are_what_the_module_names() -> None:
    numbers = {"NONE": 0, "CURRENT": 1, "SM75": 75, "SM121": 121}
    api = SimpleNamespace(__version__="1.7", ComputeCapability=SimpleNamespace(__members__=numbers))
    assert find_backend("tensorrt_rtx", load=lambda _: api).targets == {"7.5": 75, "12.1": 121}
    assert find_backend(load=loader(tensorrt="11.4.0.106")).targets == {}
