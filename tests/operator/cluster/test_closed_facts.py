"""Facts with one table in Python and a rule in the CRD: the API server knows the same ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from light_cluster import Api, Json
from operator_world import MakeManifest

from mopt_api.enums import Precision, Runtime
from mopt_api.runtimes import RUNTIMES

pytestmark = pytest.mark.cluster

Accepts = Callable[[Json], bool]

QUANTITIES: list[int | str] = [
    *(f"1{suffix}" for suffix in ("", "n", "u", "m", "k", "M", "G", "T", "P", "E")),
    *(f"1.5{suffix}" for suffix in ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E+2", "e-1")),
    0,
    2,
]
NO_QUANTITIES: list[int | str] = ["1K", "2ki", "1mi", "1e", "1Mb", "", "-1", -1]


@pytest.fixture
def accepts(api: Api, resource_manifest: MakeManifest) -> Accepts:
    """Return a function that tells whether the API server accepts fields of spec."""

    def run(spec: Json) -> bool:
        manifest = resource_manifest(**spec)
        manifest["metadata"]["namespace"] = "default"
        try:
            api.call("POST", api.path(manifest, collection=True) + "?dryRun=All", manifest)
        except Exception as error:
            if "422" not in str(error):
                raise
            return False
        return True

    return run


def test_precisions_of_each_runtime_are_those_of_the_table(accepts: Accepts) -> None:
    accepted = {
        (runtime, precision)
        for runtime, precision in itertools.product(Runtime, Precision)
        if accepts({"variants": [{"name": "a", "runtime": runtime, "precision": precision}]})
    }
    assert accepted == {(r, p) for r, info in RUNTIMES.items() for p in info.precisions}


def test_quantities_are_those_of_kubernetes(accepts: Accepts) -> None:
    def memory(quantity: int | str) -> Json:
        return {"targets": [{"name": "t", "resources": {"limits": {"memory": quantity}}}]}

    tried = [*QUANTITIES, *NO_QUANTITIES]
    assert [quantity for quantity in tried if accepts(memory(quantity))] == QUANTITIES


def test_kubernetes_knows_the_same_quantities(api: Api) -> None:
    """What the pattern admits must not fail in the Job, and nothing else would pass there."""

    def taken(quantity: int | str) -> bool:
        resources = {"limits": {"memory": quantity}}
        pod = {
            "restartPolicy": "Never",
            "containers": [{"name": "a", "image": "a", "resources": resources}],
        }
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "quantity", "namespace": "default"},
            "spec": {"template": {"spec": pod}},
        }
        try:
            api.call("POST", api.path(job, collection=True) + "?dryRun=All", job)
        except Exception as error:
            if "400" not in str(error) and "422" not in str(error):
                raise
            return False
        return True

    # An empty amount counts as 0 in a Job; there it is of no use to anybody.
    tried = [quantity for quantity in (*QUANTITIES, *NO_QUANTITIES) if quantity != ""]
    assert [quantity for quantity in tried if taken(quantity)] == QUANTITIES
