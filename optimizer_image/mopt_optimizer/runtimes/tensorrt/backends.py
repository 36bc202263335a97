"""Finds the installed TensorRT: `tensorrt` (10 or newer), or `tensorrt_rtx` with the same API.

Only what both have is used: strongly typed networks, where the ONNX file sets each type. RTX-only
features are looked up on its module, never assumed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mopt_optimizer.errors import SpecError, TensorRTNotInstalled


class BackendName(StrEnum):
    """Backend modules, in lookup order."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt_rtx"


OLDEST_TENSORRT = 10
"""Oldest supported major version: strongly typed networks are complete since then."""

_INSTALL = (
    "install `mopt[tensorrt]` for TensorRT for RTX (builds for RTX GPUs, also without one), or "
    "NVIDIA's tensorrt-cu12 or tensorrt-cu13, 10 or newer, on a machine with the GPU"
)


@dataclass(frozen=True)
class Backend:
    """An installed TensorRT.

    Attributes:
        name: Its module's name.
        version: Its module's, for example 10.13.3.9; RTX has its own numbering.
        api: The module.
    """

    name: BackendName
    version: str
    api: Any

    @property
    def targets(self) -> dict[str, Any]:
        """Compute capabilities it can build for without the GPU: "8.9" to the module's value."""
        kinds = getattr(self.api, "ComputeCapability", None)
        members = kinds.__members__ if kinds is not None else {}
        numbers = {name.removeprefix("SM"): value for name, value in members.items()}
        return {f"{n[:-1]}.{n[-1]}": value for n, value in numbers.items() if n.isdigit()}

    def __str__(self) -> str:
        product = "TensorRT" if self.name is BackendName.TENSORRT else "TensorRT for RTX"
        return f"{product} {self.version}"


def find_backend(
    name: str | None = None, *, load: Callable[[str], Any] = importlib.import_module
) -> Backend:
    """Return the TensorRT to use.

    Args:
        name: A BackendName; None takes the first that is installed.
        load: Imports a module.

    Raises:
        SpecError: Unknown name.
        TensorRTNotInstalled: None is usable; says what each lacks.
    """
    if name is not None and name not in list(BackendName):
        raise SpecError(f"backend {name!r} is none of {', '.join(BackendName)}")
    wanted = [BackendName(name)] if name is not None else list(BackendName)
    lacking = []
    for candidate in wanted:
        try:
            api = load(candidate)
        except ModuleNotFoundError:
            lacking.append(f"{candidate} is not installed")
            continue
        except (ImportError, OSError) as error:
            lacking.append(f"{candidate} does not load: {error}")
            continue
        version = str(api.__version__)
        if candidate is BackendName.TENSORRT and int(version.split(".")[0]) < OLDEST_TENSORRT:
            lacking.append(f"{candidate} {version} is older than {OLDEST_TENSORRT}")
            continue
        return Backend(candidate, version, api)
    raise TensorRTNotInstalled(f"no TensorRT here: {'; '.join(lacking)}; {_INSTALL}")
