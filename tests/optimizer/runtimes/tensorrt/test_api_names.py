"""Every name of TensorRT's API that the package uses is there: in RTX, and in `tensorrt`'s source.

`tensorrt` itself cannot be installed here; tensorrt_bindings.json holds those of the names in use
which the bindings' public source defines (see api_names).
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_FOLDER = Path(__file__).parent
BINDINGS: dict[str, list[str]] = json.loads((_FOLDER / "tensorrt_bindings.json").read_text())
# Used only where the backend is RTX: what each stands for is looked for first, or by its name.
ONLY_RTX = {
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE",
    "EngineValidity.INVALID",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.cuda_graph_strategy",
    "IRuntimeConfig.set_runtime_cache",
    "module.CudaGraphStrategy",
    "module.EngineInvalidityDiagnostics",
    "module.EngineValidity",
}


def _api_names() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_names", _FOLDER / "api_names.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


API = _api_names()
USED: set[tuple[str, str]] = API.used_names()


def test_the_source_is_read() -> None:
    """Neither an empty list nor one without the members of enumerations is a check."""
    assert len(USED) > 60
    assert {("BuilderFlag", "TF32"), ("IExecutionContext", "execute_async_v3")} <= USED
    assert {name for name in ONLY_RTX if tuple(name.split(".")) not in USED} == set()


@pytest.mark.parametrize("release", sorted(BINDINGS))
def test_tensorrts_bindings_define_all_but_rtxs_own(release: str) -> None:
    missing = {f"{kind}.{name}" for kind, name in USED} - set(BINDINGS[release])
    assert missing == ONLY_RTX


def test_bindings_are_read_as_pybind_writes_them() -> None:
    source = """
    py::class_<ILogger, PyLogger /* < a comment > */> base{m, "ILogger", descr};
    py::enum_<Severity>(base, "Severity").value("ERROR", ILogger::kERROR);
    py::enum_<BuilderFlag>(m, "BuilderFlag", py::arithmetic{}).value("TF32", BuilderFlag::kTF32)
        .value(
            "INT8", BuilderFlag::kINT8);
    py::class_<IBuilderConfig>(m, "IBuilderConfig").def_property_readonly("flags", lambda);
    """
    found = API.bound_names(source)
    assert found[API.MODULE] == {"ILogger", "Severity", "BuilderFlag", "IBuilderConfig"}
    assert found["BuilderFlag"] == {"TF32", "INT8"}
    assert (found["ILogger"], found["IBuilderConfig"]) == ({"Severity"}, {"flags"})


@pytest.mark.tensorrt
def test_rtx_has_every_name() -> None:
    rtx: Any = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

    def holder(kind: str) -> Any:
        return rtx if kind == API.MODULE else getattr(rtx, kind)

    assert {pair for pair in USED if not hasattr(holder(pair[0]), pair[1])} == set()
