"""A node that evicts every Pod: the real Job controller starts the next one without end."""

from __future__ import annotations

import pytest
from light_cluster import MakeResource, Operator

from mopt_operator.decide.failures import MAX_DISRUPTIONS

pytestmark = pytest.mark.faults

# The Job controller waits 10 s, 20 s, 40 s ... before it starts the next Pod.
PATIENCE = 10.0 * 2**MAX_DISRUPTIONS + 120
EVICTED = {
    "phase": "Failed",
    "conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
    ],
    "reason": "Evicted",
    "message": "The node was low on resource: memory.",
}


def test_pods_that_are_evicted_again_and_again_end_the_job(
    operator: Operator, make_resource: MakeResource
) -> None:
    resource = make_resource(execution={"backoffLimit": 0})

    def evict() -> bool:
        for pod in resource.pods():
            if pod["status"]["phase"] == "Pending":
                resource.set_pod(pod, EVICTED)
        return "Stalled" in resource.said()

    resource.wait_for(evict, PATIENCE)
    assert resource.said() == {"Ready": ("False", "Disrupted"), "Stalled": ("True", "Disrupted")}
    assert f"{MAX_DISRUPTIONS + 1} Pods were evicted or preempted" in resource.message()
    resource.wait_for(lambda: not resource.jobs())
