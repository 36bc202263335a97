"""The watch of Pods may be late; a Job is made again only where its Pods are really gone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from operator_simulation import Simulation
from small_lives import SHORTEST

from mopt_operator.config.settings import Settings


@pytest.fixture
def prepared() -> Simulation:
    """Return a cluster whose prepare Job is complete; only the watch of Jobs has said so."""
    simulation = Simulation(SHORTEST, Settings(optimizer_image="mopt/optimizer:test"))
    simulation.reconcile()
    (job,) = simulation.unfinished()
    simulation.finish(job)
    while simulation.waiting["jobs"]:
        simulation.deliver("jobs")
    simulation.now += timedelta(minutes=1)
    return simulation


def stages(simulation: Simulation) -> list[str]:
    jobs = simulation.objects["jobs"].values()
    return [job["metadata"]["labels"]["mopt.dev/stage"] for job in jobs]


def test_result_that_no_watch_has_brought_is_asked_for(prepared: Simulation) -> None:
    prepared.reconcile()
    assert stages(prepared) == ["prepare", "measure"]


def test_result_of_a_pod_that_the_watch_does_not_select_is_read_and_not_awaited(
    prepared: Simulation,
) -> None:
    """An admission webhook has removed the label that the watch selects by."""
    for pod in prepared.objects["pods"].values():
        del pod["metadata"]["labels"]["mopt.dev/uid"]
    prepared.reconcile()
    assert stages(prepared) == ["prepare", "measure"]
    # What is awaited of a watch that never shows it would end the process.
    assert prepared.store.pods.awaited.oldest() is None


def test_result_that_is_gone_is_made_again(prepared: Simulation) -> None:
    (job,) = prepared.objects["jobs"].values()
    prepared.evict_finished_pods(job)
    prepared.reconcile()
    assert stages(prepared) == ["prepare", "prepare"]


def test_what_was_found_of_the_model_outlives_the_preparation(prepared: Simulation) -> None:
    (job,) = prepared.objects["jobs"].values()
    prepared.kill_after = 1
    prepared.reconcile()
    assert stages(prepared) == ["prepare", "measure"]
    assert "source" not in prepared.resource["status"]
    prepared.evict_finished_pods(job)
    prepared.run_to_the_end()
    assert prepared.resource["status"]["source"]["sizeBytes"] == 1000
