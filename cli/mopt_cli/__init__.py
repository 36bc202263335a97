"""mopt, the command line, and the client behind it. Importing it loads neither torch nor a runtime.

    from mopt_cli import Client

    done = Client(namespace="mopt-demo").wait("super-resolution", timeout=3600)

Every public name is loaded on first use (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._errors import CliError, Conflict, Forbidden, NoCluster, NotFound, TimedOut
    from .client import Client
    from .model_optimization import ModelOptimization
    from .selections import NothingSelected

__all__ = [
    "CliError",
    "Client",
    "Conflict",
    "Forbidden",
    "ModelOptimization",
    "NoCluster",
    "NotFound",
    "NothingSelected",
    "TimedOut",
]
_HOMES = {
    "Client": "client",
    "ModelOptimization": "model_optimization",
    "NothingSelected": "selections",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES.get(name, '_errors')}", __name__), name)
    globals()[name] = value  # the next access finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
