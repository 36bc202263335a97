"""What a measurement depends on, and the key under which an equal one is cached."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping

from mopt_api.figures import Hardware
from mopt_api.jobs.plan import MeasurePlan, load_bounds, objective_point
from mopt_api.runtimes import runtime_distributions
from mopt_optimizer.machine.compilers import compiler_version
from mopt_optimizer.machine.versions import COMPILER, installed_version

_SOFTWARE = {"mopt": ("mopt",), **runtime_distributions(), "numpy": ("numpy",)}


def runtime_versions() -> dict[str, str]:
    """Return the versions that affect a measurement; imports none of the libraries."""
    found = {"python": platform.python_version()}
    for name, distributions in _SOFTWARE.items():
        # What is not part of this image: its variants fail with their own messages.
        if (version := installed_version(*distributions)) is not None:
            found[name] = version
    if (version := compiler_version()) is not None:
        found[COMPILER] = version
    return found


def content_key(
    plan: MeasurePlan,
    *,
    evaluation_digest: str | None,
    references_digest: str | None = None,
    hardware: Hardware,
    software: Mapping[str, str],
    requested_at: str | None,
) -> str:
    """Return the index name under which an equal measurement is cached.

    The node's name is no part of it: an equal machine measures the same. Nor are gates and
    objective, which judge what was measured, but for the point and the latencies of a load. Who
    may win by them was measured longer, so by others it may be undecided, and is said to be.
    """
    document = plan.to_api()
    del document["quality"], document["objective"]
    parts = {
        "plan": document,
        "evaluation": evaluation_digest,
        "references": references_digest,
        "hardware": hardware.model_copy(update={"node": None}).to_api(),
        "software": dict(software),
        "requestedAt": requested_at,
    }
    if plan.benchmark.load is not None:
        bounds = load_bounds(plan.objective, plan.benchmark)
        parts["load"] = {
            "point": objective_point(plan.objective, plan.benchmark),
            "bounds": {bound.metric.value: bound.limit for bound in bounds},
        }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return f"measure-{hashlib.sha256(text.encode()).hexdigest()}"
