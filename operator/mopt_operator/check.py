"""`python -m mopt_operator.check NAMESPACE`: whether an installed operator works.

It creates a suspended ModelOptimization, which starts no Job, waits for the operator's answer in
its status, and deletes it. So the definition is served, the operator runs, leads, watches the
namespace and may write status. `helm test` runs it as an account of its own, with these permissions
in that namespace:

    mopt.dev  modeloptimizations  create get delete
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import quote

from mopt_api.base import API_VERSION, GROUP, KIND, PLURAL, VERSION
from mopt_api.reasons import Reason

from .cluster.client import api_client
from .cluster.requests import Requests
from .errors import NotFound, OperatorError
from .objects import Json, Raw

# An operator that has just started lists everything first, and may wait for the Lease of another.
PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.5

# See Requests.
Request = Callable[..., Awaitable[Raw]]

TRIAL: Json = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    # Its own name each time: one that an interrupted test has left is not in the way.
    "metadata": {"generateName": "mopt-test-"},
    "spec": {
        "model": {"uri": "s3://mopt-test/model.onnx", "sha256": "0" * 64, "format": "ONNX"},
        "inputs": [{"name": "x", "shape": [1]}],
        "output": {"uri": "s3://mopt-test/output"},
        "execution": {"suspend": True},
    },
}


def answer_of(resource: Raw) -> tuple[str, str] | None:
    """Return reason and message of the operator's Ready about a resource as it is; None before."""
    status = resource.get("status") or {}
    if status.get("observedGeneration") != resource["metadata"]["generation"]:
        return None
    ready = (c for c in status.get("conditions") or () if c["type"] == "Ready")
    return next(((c["reason"], c["message"]) for c in ready), None)


async def check(request: Request, namespace: str, patience_seconds: float) -> None:
    """Return once the operator has answered.

    Raises:
        OperatorError: It does not answer in time, or not as it should; or the API server refuses
            the resource, or does not answer.
    """
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{quote(namespace)}/{PLURAL}"
    try:
        created = await request("POST", path, body=TRIAL)
    except NotFound as error:
        raise OperatorError(
            f"the API server has no namespace {namespace}, or does not serve {PLURAL}.{GROUP}: "
            f"install the CRD (crds.install): {error}"
        ) from error
    name = created["metadata"]["name"]
    try:
        reason, message = await _answer(request, f"{path}/{name}", patience_seconds)
    finally:
        with suppress(NotFound):
            await request("DELETE", f"{path}/{name}")
    if reason != Reason.SUSPENDED:
        raise OperatorError(f"the operator answered {reason} to a suspended resource: {message}")


async def _answer(request: Request, path: str, patience_seconds: float) -> tuple[str, str]:
    until = time.monotonic() + patience_seconds
    while time.monotonic() < until:
        if answer := answer_of(await request("GET", path)):
            return answer
        await asyncio.sleep(_PAUSE_SECONDS)
    raise OperatorError(
        f"no operator has answered to {path} for {patience_seconds:g} s: is one Ready, and does it "
        "watch this namespace? Its log says why not"
    )


async def _run(namespace: str) -> None:
    async with api_client() as client:
        await check(Requests(client), namespace, PATIENCE_SECONDS)


def main() -> None:
    """Check; exit 0, or 1 with one line that says what is wrong."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m mopt_operator.check NAMESPACE")
    try:
        asyncio.run(_run(sys.argv[1]))
    except OperatorError as error:
        print(f"mopt-operator: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"{PLURAL}.{GROUP} is served, and the operator answers in namespace {sys.argv[1]}")


if __name__ == "__main__":
    main()
