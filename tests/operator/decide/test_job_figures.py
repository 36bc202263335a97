"""What the metrics show of a Job that has ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from job_messages import built_message, measure_message, prepare_message

from mopt_api.jobs.termination import decode, encode
from mopt_api.reasons import Reason
from mopt_operator.decide.job_figures import JobFigures, Measured, job_figures
from mopt_operator.objects import Job, Pod, Termination

CREATED = datetime(2026, 11, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return CREATED + timedelta(seconds=seconds)


@pytest.fixture
def job() -> Job:
    """Return a Job that waited 30 s in its queue and took 100 s."""
    return Job(
        *("team", "sr-prepare", "uid-job", "1", "uid-sr", "sr"),
        created=CREATED,
        started=at(30),
        completed=at(130),
        ended=at(130),
        stage="prepare",
    )


@pytest.fixture
def pod() -> Pod:
    """Return its Pod, whose container ran 70 s after 20 s for node and image."""
    return Pod(
        *("team", "sr-prepare-x", "uid-pod", "1", "sr", "uid-job"),
        created=at(31),
        phase="Succeeded",
        began=at(50),
        ended=at(120),
    )


def failed(pod: Pod, reason: str, *, at_seconds: float = 31) -> Pod:
    return replace(
        pod, created=at(at_seconds), phase="Failed", terminated=Termination(137, reason, "")
    )


def test_waiting_starting_and_running_are_apart(job: Job, pod: Pod) -> None:
    other = replace(pod, job_uid="uid-of-another-job", began=at(0))
    assert job_figures(job, [other, pod], at(500)) == JobFigures(
        outcome="Complete",
        queued=30,
        took=100,
        starting=20,
        ran=70,
        failure=None,
        retried=(),
    )


def test_job_whose_pods_are_gone_has_only_its_own_times(job: Job) -> None:
    figures = job_figures(job, [], at(500))
    assert (figures.queued, figures.took) == (30, 100)
    assert figures.starting is figures.ran is None


def test_attempts_before_the_last_are_counted_by_why_they_failed(job: Job, pod: Pod) -> None:
    evicted = replace(failed(pod, "Error"), disrupted=True, began=at(40), ended=at(45))
    killed = replace(failed(pod, "OOMKilled", at_seconds=46), began=at(47), ended=at(49))
    figures = job_figures(job, [replace(pod, created=at(50)), killed, evicted], at(500))
    assert figures.retried == (Reason.DISRUPTED, Reason.OUT_OF_MEMORY)
    assert figures.ran == 5 + 2 + 70
    assert figures.starting == 10


def test_failed_job_has_its_last_pod_s_reason_once(job: Job, pod: Pod) -> None:
    broken = replace(job, completed=None, failed=("BackoffLimitExceeded", ""))
    pods = [failed(pod, "Error"), failed(pod, "OOMKilled", at_seconds=60)]
    figures = job_figures(broken, pods, at(500))
    assert figures.outcome == "Failed"
    assert figures.failure is Reason.OUT_OF_MEMORY
    assert figures.retried == (Reason.JOB_FAILED,)


def test_job_that_failed_without_a_pod_has_a_reason_too(job: Job) -> None:
    broken = replace(job, completed=None, failed=("DeadlineExceeded", ""), ended=None, started=None)
    figures = job_figures(broken, [], at(40))
    assert figures.failure is Reason.JOB_FAILED
    assert (figures.queued, figures.took) == (0, 40)


def test_clocks_that_differ_make_no_negative_times(job: Job, pod: Pod) -> None:
    early = replace(pod, began=at(10), ended=at(5))
    figures = job_figures(replace(job, started=at(-3)), [early], at(500))
    assert (figures.queued, figures.starting, figures.ran) == (0, 13, 0)


def said(pod: Pod, message: str) -> Pod:
    return replace(pod, terminated=Termination(0, "Completed", message))


def disturbed() -> str:
    return encode(decode(measure_message()).model_copy(update={"unstable": True}))


@pytest.mark.parametrize(
    ("stage", "message", "measured"),
    [
        ("measure", measure_message(), Measured.STABLE),
        ("verify", measure_message(), Measured.STABLE),
        ("measure", disturbed(), Measured.UNSTABLE),
        ("measure", measure_message(served=True), Measured.SERVED),
        ("measure", built_message(psnr={"tensorrt-fp16": 80.0}), None),
        ("measure", "mopt1:damaged", None),
        ("report", measure_message(), None),
        ("prepare", prepare_message(), None),
    ],
)
def test_measurement_says_how_it_went(
    job: Job, pod: Pod, stage: str, message: str, measured: Measured | None
) -> None:
    figures = job_figures(replace(job, stage=stage), [said(pod, message)], at(500))
    assert figures.measured is measured
