"""The environment of a child, and the protection of this process from it."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Mapping

from mopt_api.jobs.plan import PLAN_VARIABLE, Credentials
from mopt_api.stores import SCHEMES

_PR_SET_DUMPABLE = 4


def child_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the plan and without store credentials.

    ONNX Runtime's official builds send telemetry unless it is switched off.
    """
    secret = _secret()
    kept = {name: value for name, value in environ.items() if not secret.search(name)}
    return {"ORT_DISABLE_TELEMETRY": "1"} | kept


def _secret() -> re.Pattern[str]:
    stores = "|".join(re.escape(name) for scheme in SCHEMES.values() for name in scheme.secrets)
    roles = "|".join(Credentials)
    return re.compile(rf"(^|_)({stores})|^MOPT_({roles})_|^{PLAN_VARIABLE}$")


def hide_environment() -> None:
    """Keep this process's memory and /proc/PID/environ from other processes of the same user.

    A model that takes over the child would else find the credentials in its parent. Linux only;
    elsewhere nothing happens. A child's exec makes the child itself readable again.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
