"""Upgrades under onUpgrade: Verify, with an operator that ends at any write of them.

Whatever it has seen when it ends, the end is the same, and what it recorded to miss a gate is named
to be served at no time.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from api_in_memory import KINDS
from operator_simulation import Drift, Simulation
from small_lives import TWO_TARGETS

from mopt_operator.config.settings import OnUpgrade, Settings, UpgradePolicy

OLD, NEW = "mopt/optimizer:1", "mopt/optimizer:2"
SETTINGS = Settings(optimizer_image=OLD, on_upgrade=OnUpgrade(policy=UpgradePolicy.VERIFY))
SAME, SLOWER, WRONG = Drift(), Drift(milliseconds=20.0), Drift(psnr=31.0)
TURNS = 8


def upgraded(drift: Drift) -> Simulation:
    """Return a measured resource whose operator starts anew with another image."""
    sim = Simulation(TWO_TARGETS, SETTINGS)
    sim.run_to_the_end()
    assert {t["artifact"]["variant"] for t in sim.resource["status"]["targets"]} == {"exact"}
    sim.drifts = {NEW: drift}
    sim.settings = SETTINGS.model_copy(update={"optimizer_image": NEW})
    sim.restart()
    sim.steps.clear()
    return sim


def check(sim: Simulation) -> None:
    """Fail where status names what it says to miss a gate."""
    for target in sim.resource["status"]["targets"]:
        rejected = {
            form["artifact"]["digest"]
            for form in [target["baseline"], *target["variants"]]
            if form["state"] == "Rejected"
        }
        assert target.get("artifact", {}).get("digest") not in rejected, target
        if target.get("verification", {}).get("state") == "Broken":
            assert target["fromEarlierRun"]


def live(sim: Simulation, late: str | None = None) -> None:
    """Let watches, operator and kubelet take turns; one watch brings nothing before the end."""
    for _ in range(TURNS):
        for kind in KINDS:
            while kind != late and sim.waiting[kind]:
                sim.deliver(kind)
        sim.reconcile()
        check(sim)
        for job in sim.unfinished():
            sim.finish(job)
        sim.now += timedelta(seconds=20)
    sim.run_to_the_end()
    check(sim)


def stages(sim: Simulation) -> list[str]:
    labels = (job["metadata"]["labels"] for job in sim.objects["jobs"].values())
    return sorted(label["mopt.dev/stage"] for label in labels if label)


@pytest.mark.parametrize(
    ("drift", "state", "reason", "variant"),
    [
        (SAME, "Held", "Optimized", "exact"),
        (SLOWER, None, "BaselineKept", "baseline"),
        (WRONG, None, "BaselineKept", "baseline"),
    ],
    ids=["holds", "slower", "wrong"],
)
def test_upgrade_comes_to_its_end(
    drift: Drift, state: str | None, reason: str, variant: str
) -> None:
    sim = upgraded(drift)
    live(sim)
    status = sim.resource["status"]
    assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [
        ("Ready", "True", reason),
        ("ArtifactAvailable", "True", "Selected"),
    ]
    for target in status["targets"]:
        assert target.get("verification", {}).get("state") == state
        assert target["artifact"]["variant"] == variant
        assert target["optimizer"] == (OLD if state else NEW)


@pytest.mark.faults
@pytest.mark.parametrize("late", [None, *KINDS])
@pytest.mark.parametrize("drift", [SAME, SLOWER, WRONG], ids=["holds", "slower", "wrong"])
def test_process_that_ends_at_any_step_comes_to_the_same_end(
    drift: Drift, late: str | None
) -> None:
    calm = upgraded(drift)
    live(calm)
    for step in range(len(calm.steps)):
        sim = upgraded(drift)
        sim.kill_after = step
        live(sim, late)
        assert sim.killed == 1 or late, f"step {step} was not reached"
        assert sim.verdict() == calm.verdict(), f"killed at step {step}"
        assert sim.made == calm.made, f"killed at step {step}"
