"""What ends a Job at once, and after which exit codes a Pod is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from job_parts import PREPARED, RESOURCE, gpu_settings, output, spec

from mopt_api.spec import Target
from mopt_operator.config.settings import Settings
from mopt_operator.decide.jobs import build_job
from mopt_operator.decide.work import measure_work, prepare_work, report_work


@pytest.fixture
def settings() -> Settings:
    return gpu_settings()


def ends_the_job(job: dict[str, Any], exit_code: int, *, disrupted: bool = False) -> bool:
    """Tell what the Job controller does with a Pod that ended so: the first rule that fits."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        if "onPodConditions" in rule and disrupted:
            return bool(rule["action"] == "FailJob")
        if exit_code in rule.get("onExitCodes", {}).get("values", ()):
            return bool(rule["action"] == "FailJob")
    return False


@pytest.mark.parametrize(
    ("code", "disrupted", "stages"),
    [
        pytest.param(74, False, {"prepare", "measure", "report"}, id="it says OutOfMemory"),
        pytest.param(75, False, {"prepare", "measure", "report"}, id="it says DeadlineExceeded"),
        pytest.param(137, False, {"prepare", "report"}, id="killed for want of memory"),
        pytest.param(137, True, set(), id="killed by an eviction"),
        pytest.param(143, True, set(), id="ended by an eviction"),
        pytest.param(143, False, set(), id="ended by hand"),
        pytest.param(80, False, set(), id="the store does not answer"),
        pytest.param(1, False, set(), id="a crash"),
    ],
)
def test_what_ends_a_job_at_once(
    settings: Settings, code: int, disrupted: bool, stages: set[str]
) -> None:
    target = Target(name="l4", profile="gpu")
    works = [
        prepare_work(spec(), output(), settings),
        measure_work(spec(), output(), settings, target=target, prepared=PREPARED),
        report_work(
            spec(),
            output(),
            settings,
            target=target,
            result=PREPARED,
            measured_by=None,
            served=False,
            basis="",
        ),
    ]
    ended = {
        work.stage.lower()
        for work in works
        if ends_the_job(build_job(work, RESOURCE, settings), code, disrupted=disrupted)
    }
    assert ended == stages
