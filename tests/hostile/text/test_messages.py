"""Whatever a Job leaves as its termination message, the operator decides: it never raises."""

from __future__ import annotations

import base64
import copy
import json
import math
import zlib
from typing import Any

import pytest
from hostile_text import HOSTILE, shows_only, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from job_messages import error_message, measure_message, prepare_message
from operator_world import World, manifest

from mopt_api.jobs.plan import Stage
from mopt_api.jobs.termination import PREFIX, MessageError, decode
from mopt_api.reasons import Reason
from mopt_operator.config.settings import Settings
from mopt_operator.decide.events import step_event
from mopt_operator.objects import Held, observe_resource

SETTINGS = Settings(optimizer_image="mopt/optimizer:test")

NUMBERS = [0, -1, 1, 2**53, 2**63, 10**400, 1e-320, 1e-9, 1e300, -1e300, math.nan, math.inf, True]
TEXTS = (HOSTILE, "", "x" * 5000, "baseline", "../..", "None", "sha256:" + "f" * 64, "NaN")
VALUES = st.one_of(
    st.sampled_from([*NUMBERS, *TEXTS, None, [], {}, [None], {"": ""}]),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
)


def payload(message: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(message.removeprefix(PREFIX))))


def packed(value: Any) -> str:
    return PREFIX + base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything in a JSON value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]


@st.composite
def changed(draw: st.DrawFn, message: str) -> str:
    """Draw a message with a few of its values replaced, removed, or there twice."""
    value = copy.deepcopy(payload(message))
    for _ in range(draw(st.integers(1, 4))):
        if not (left := [place for place in places(value) if place]):
            break
        *path, last = draw(st.sampled_from(left))
        parent = value
        for key in path:
            parent = parent[key]
        what = draw(st.sampled_from(["replace", "replace", "remove", "twice"]))
        if what == "replace":
            parent[last] = draw(VALUES)
        elif what == "remove" or isinstance(parent, dict):
            del parent[last]
        else:
            parent.append(copy.deepcopy(parent[last]))
    return packed(value)


MEASURED = measure_message()
WHOLE = payload(MEASURED) | {
    "reference": "GroundTruth",
    "unstable": True,
    "servedFromStore": True,
}
WHOLE["hardware"] |= {
    "architecture": "x86_64",
    "cpuFeatures": ["avx2"],
    "memoryBytes": 2**34,
    "gpu": {"name": "L4", "computeCapability": "8.9", "memoryBytes": 2**34, "driver": "580"},
}
WHOLE["variants"][0] |= {
    "externalData": [
        {"path": "model.onnx.data", "digest": "sha256:" + "1" * 64, "sizeBytes": 2**31}
    ],
    "peakMemoryBytes": 2**30,
    "message": "said",
}


def settled(world: World) -> None:
    """Let the operator decide until it rests, look again, and hold what it writes to what the API
    server takes and what may be shown."""
    world.settle()
    world.sleep(60)
    world.settle()
    assert all(shows_only(text) for text in texts(world.status))
    event = step_event(observe_resource(world.raw | {"status": {}}), world.status, world.now)
    assert event is not None
    assert shows_only(event["message"])


def judge_again(world: World) -> None:
    """Change what the figures in status are judged by."""
    world.edit(quality=[{"metric": "PSNR", "minimum": 10}], objective={"metric": "Throughput"})
    settled(world)
    world.edit(objective={"metric": "SizeBytes"})
    settled(world)


@settings(deadline=None, max_examples=120)
@given(changed(packed(WHOLE)))
def test_any_measurement_is_recorded_or_a_failure(message: str) -> None:
    world = World(SETTINGS, manifest())
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), prepare_message())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "default"), message)
    settled(world)
    try:
        decode(message)
    except MessageError:
        assert world.said()["Ready"] == ("False", "JobFailed")
    judge_again(world)


@pytest.mark.parametrize(
    "figures",
    [
        {"speedup": 1e18, "speedupOverFastestFP32": 1e18},
        {"speedup": 0, "speedupOverFastestFP32": 1e-300},
        {"quality": [{"metric": "PSNR", "worst": 1e300, "mean": -1e300}]},
        {"quality": [{"metric": "Top1Agreement", "worst": 1e308, "mean": 1e308}]},
        {"sizeBytes": 2**53 - 1},
        {"sizeBytes": 0},
        {"latencyMs": {"p50": 1e-4, "p90": 1e9, "p99": 1e9}, "throughput": 1e12},
        {"latencyMs": {"p50": 1e9, "p90": 1e-4, "p99": 1e-4}, "throughput": 0},
        {"throughput": 1e-300, "peakMemoryBytes": 2**53 - 1},
    ],
)
@pytest.mark.parametrize("whose", ["openvino-bf16", "baseline"])
def test_extreme_figures_are_recorded(figures: dict[str, Any], whose: str) -> None:
    extreme = copy.deepcopy(WHOLE)
    extreme["selected"] = whose
    for variant in (extreme["baseline"], *extreme["variants"]):
        if variant["name"] == whose:
            variant |= figures
    world = World(SETTINGS, manifest())
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), prepare_message())
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "default"), packed(extreme))
    settled(world)
    assert world.said()["Ready"][0] == "True"
    judge_again(world)


@settings(deadline=None, max_examples=60)
@given(changed(prepare_message()))
def test_any_preparation_is_followed_or_a_failure(message: str) -> None:
    world = World(SETTINGS, manifest())
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), message)
    settled(world)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(
        [prepare_message(), MEASURED, error_message(Reason.INVALID_MODEL, "m")]
    ).flatmap(changed)
    | st.text(max_size=50).map(lambda text: PREFIX + text)
    | st.binary(max_size=50).map(lambda data: PREFIX + base64.b64encode(data).decode())
    | st.text(max_size=50)
)
def test_any_message_of_a_failed_job_is_a_reason(message: str) -> None:
    world = World(SETTINGS, manifest())
    world.settle()
    job = world.the_job(Stage.PREPARE)
    world.terminated_pod(job, message, exit_code=1, reason="Error")
    settled(world)
    world.end(job, "Failed", "BackoffLimitExceeded", HOSTILE)
    settled(world)
    assert world.said()["Ready"][0] == "False"


@pytest.mark.parametrize("reason", [Reason.OPTIMIZED, Reason.WAITING_FOR_SLOT])
def test_job_cannot_fail_with_success(reason: Reason) -> None:
    world = World(SETTINGS, manifest())
    world.settle()
    job = world.the_job(Stage.PREPARE)
    world.terminated_pod(job, error_message(reason, "m"), exit_code=1)
    world.end(job, "Failed", "PodFailurePolicy", "m")
    settled(world)
    assert world.said()["Ready"] == ("False", "JobFailed")


def test_preparation_of_another_model_is_none() -> None:
    world = World(SETTINGS, manifest())
    world.settle()
    other = payload(prepare_message())
    other["source"]["sha256"] = "0" * 64
    world.complete(world.the_job(Stage.PREPARE), packed(other))
    settled(world)
    assert world.said()["Ready"] == ("False", "JobFailed")


def test_two_variants_of_one_name_are_refused() -> None:
    twice = copy.deepcopy(WHOLE)
    twice["variants"].append(twice["variants"][0])
    with pytest.raises(MessageError, match="Duplicate value"):
        decode(packed(twice))


ANNOTATIONS = ("prepared", "result", "source", "measured-by", "served-from-store", "generation")
SOURCE = json.dumps({"sha256": HOSTILE[:60], "format": "ONNX", "sizeBytes": 1})


@pytest.mark.parametrize(
    "text",
    [HOSTILE, HOSTILE * 50, "", "sha256:", SOURCE, "{}", "[]"],
    ids=["hostile", "long", "empty", "no digest", "a source", "a mapping", "a list"],
)
def test_whatever_is_written_on_a_job_is_borne(text: str) -> None:
    """Who may edit Jobs may edit their annotations."""
    for stage in (Stage.PREPARE, Stage.MEASURE):
        for name in ANNOTATIONS:
            world = World(SETTINGS, manifest())
            world.settle()
            if stage is Stage.MEASURE:
                world.complete(world.the_job(Stage.PREPARE), prepare_message())
                world.settle()
            for job in world.jobs.values():
                job["metadata"]["annotations"][f"mopt.dev/{name}"] = text
            world.pods.clear()
            settled(world)
            if stage is Stage.MEASURE and world.jobs:
                for job in world.jobs.values():
                    if job["metadata"]["labels"]["mopt.dev/stage"] == "measure":
                        world.complete(job, MEASURED)
                settled(world)


def test_text_of_a_pod_s_states_is_clean() -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": HOSTILE}}
    held = {"containerStatuses": [{"name": "optimizer", "state": waiting}], "phase": "Pending"}
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    unscheduled = {"phase": "Pending", "conditions": [refused | {"message": HOSTILE}]}
    evicted = {"phase": "Failed", "reason": "Evicted", "message": HOSTILE}
    for status in (held, unscheduled, evicted):
        world = World(SETTINGS, manifest())
        world.settle()
        world.pod(world.the_job(Stage.PREPARE), status)
        settled(world)
    for problem in ("warnings", "held", "refusals"):
        world = World(SETTINGS, manifest())
        world.settle()
        job = world.the_job(Stage.PREPARE)
        if problem == "refusals":
            world.jobs.clear()
            world.refusals = {job["metadata"]["name"]: (403, HOSTILE)}
        else:
            job["spec"]["suspend"] = problem == "held"
            said = Held(HOSTILE, out_of_order=True) if problem == "held" else HOSTILE
            setattr(world, problem, {job["metadata"]["uid"]: said})
        plan = world.decide()
        assert plan.status is not None
        assert "owned" in str(plan.status)
        assert all(shows_only(text) for text in texts(plan.status))
