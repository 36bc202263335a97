"""The state of a watched resource, built up from events."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from watched import NAME, finished, pod, recorded, resource

from mopt_cli._errors import ExitCode
from mopt_cli.following import Following, LogSaid, PodsSeen, ResourceSeen, Troubled, parse_said


def texts(following: Following, *events: Any) -> list[str]:
    return [line.text for event in events for line in following.update(event)]


def picture(following: Following, now: float = 0) -> str:
    text = io.StringIO()
    Console(file=text, width=160, force_terminal=True, no_color=True).print(following.render(now))
    return text.getvalue()


def logged(stage: str, name: str) -> list[LogSaid]:
    found = [parse_said(f"uid-{name}", line) for line in recorded(stage)]
    assert all(found)
    return [said for said in found if said is not None]


ENDS: list[tuple[dict[str, Any], ExitCode | None]] = [
    (resource(None), None),
    (resource(), None),
    (resource("False", "ImagePullFailed", "no such image"), None),
    (resource("False", "Suspended", "Suspended", stalled=True), ExitCode.FAILED),
    (resource("True", "Suspended", "Suspended"), ExitCode.DONE),
    (resource("True", "Optimized"), ExitCode.DONE),
    (resource("True", "BaselineKept"), ExitCode.DONE),
    (resource("False", "NoVariantPassed", stalled=True), ExitCode.NO_WINNER),
    (resource("False", "BaselineRejected", stalled=True), ExitCode.NO_WINNER),
    (resource("False", "ConstraintsMissed", stalled=True), ExitCode.NO_WINNER),
    (resource("False", "InvalidSpec", stalled=True), ExitCode.USAGE),
    (resource("False", "InvalidDimension", stalled=True), ExitCode.USAGE),
    (resource("False", "OutOfMemory", stalled=True), ExitCode.FAILED),
    (resource("False", "SomethingNewer", stalled=True), ExitCode.FAILED),
    # Status speaks of the spec before, or of the run before.
    (resource("True", "Optimized", generation=2), None),
    (resource("False", "InvalidSpec", stalled=True, generation=2), None),
    (resource("True", "Optimized", annotations={"mopt.dev/requestedAt": "now"}), None),
]


@pytest.mark.parametrize(("raw", "ended"), ENDS)
def test_when_it_ends_and_how(raw: dict[str, Any], ended: ExitCode | None) -> None:
    following = Following(NAME)
    following.update(ResourceSeen(raw))
    assert following.ended is ended


def test_a_request_that_was_handled_may_be_longer_than_status_holds() -> None:
    raw = resource("True", "Optimized", annotations={"mopt.dev/requestedAt": "x" * 500})
    raw["status"]["lastHandledReconcileAt"] = "x" * 128
    following = Following(NAME)
    following.update(ResourceSeen(raw))
    assert following.ended is ExitCode.DONE


def test_headlines_are_told_when_they_change() -> None:
    assert texts(
        Following(NAME),
        ResourceSeen(resource(None)),
        ResourceSeen(resource()),
        ResourceSeen(resource()),
        ResourceSeen(resource("Unknown", "Measuring", "3 of 4\x1b[2J", progress=(3, 4))),
        ResourceSeen(resource("True", "Optimized", "fast", progress=None)),
    ) == [
        "sr: waiting for the operator",
        "sr: Preparing (0 of 1 targets): Exporting",
        "sr: Measuring (3 of 4 targets): 3 of 4\\x1b[2J",
        "sr: Optimized: fast",
    ]


def test_deleted_is_told_once_and_ends_it() -> None:
    following = Following(NAME)
    seen = texts(following, ResourceSeen(resource()), ResourceSeen(None), ResourceSeen(None))
    assert seen[1:] == ["sr: deleted before it finished"]
    assert following.ended is ExitCode.FAILED


WAITING = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}
FAILING = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
KILLED = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "a log's tail"}}
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes",
}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (pod("p", phase="Pending"), "Pending"),
        (
            pod("p", phase="Pending", conditions=[UNSCHEDULABLE]),
            "Pending: Unschedulable: 0/1 nodes",
        ),
        (pod("p", phase="Pending", state=WAITING), "Pending: ImagePullBackOff: Back-off"),
        (pod("p"), "Running"),
        (finished("p"), "Succeeded"),
        (pod("p", phase="Failed", state=KILLED), "Failed: OOMKilled, exit status 137"),
        (pod("p", phase="Failed", reason="Evicted"), "Failed: Evicted"),
        (pod("p", phase="Failed"), "Failed"),
    ],
)
def test_how_a_pod_stands(raw: dict[str, Any], words: str) -> None:
    seen = texts(Following(NAME), ResourceSeen(resource()), PodsSeen([raw]))
    assert seen[1:] == [f"prepare: Pod p: {words}"]


def test_a_pod_that_alternates_is_told_once_each() -> None:
    pods = [pod("p", phase="Pending", state=state) for state in (FAILING, WAITING) * 3]
    seen = texts(Following(NAME), ResourceSeen(resource()), *(PodsSeen([raw]) for raw in pods))
    assert seen[1:] == [
        "prepare: Pod p: Pending: ErrImagePull: no such image",
        "prepare: Pod p: Pending: ImagePullBackOff: Back-off",
    ]


def test_a_second_attempt_takes_the_place_of_the_first() -> None:
    following = Following(NAME)
    first = pod("a", "measure", "l4")
    second = pod("b", "measure", "l4", created="2026-11-25T17:27:00Z")
    failed = pod("a", "measure", "l4", phase="Failed", state=KILLED)
    texts(following, ResourceSeen(resource()), PodsSeen([first]), *logged("measure", "a")[:9])
    assert "opening, comparing and timing" in picture(following)
    seen = texts(following, PodsSeen([second, failed]), *logged("measure", "a")[9:])
    assert seen == ["measure l4: Pod b in place of a", "measure l4: Pod b: Running"]
    assert [p.name for p in following.speaking()] == ["b"]
    assert "opening, comparing and timing" not in picture(following)
    assert texts(following, *logged("measure", "b"))[-1].endswith("selected openvino-int8-nncf")


def test_pods_of_an_earlier_resource_of_that_name_are_not_its() -> None:
    following = Following(NAME)
    texts(following, ResourceSeen(resource()), PodsSeen([pod("old", owner="another")]))
    assert following.speaking() == []


def test_a_resource_created_anew_is_followed_from_its_start() -> None:
    following = Following(NAME)
    texts(following, ResourceSeen(resource()), PodsSeen([pod("a")]), *logged("prepare", "a"))
    seen = texts(following, ResourceSeen(resource(None, uid="other")))
    assert seen == ["sr: deleted and created again", "sr: waiting for the operator"]
    assert following.speaking() == []
    assert "exporting" not in picture(following)


def test_a_real_run_is_told_in_lines_and_in_a_picture() -> None:
    following = Following(NAME)
    done = finished("p")
    texts(following, ResourceSeen(resource()), PodsSeen([done]))
    prepared = texts(following, *logged("prepare", "p"))
    assert "prepare load: 9.5 s" in prepared
    texts(following, PodsSeen([done, pod("m", "measure", "default")]))
    said = logged("measure", "m")
    measured = texts(following, *said[:-3])
    assert measured[-1] == "measure default benchmark: openvino-int8-nncf: p50 0.03302 ms at opt"
    shown = picture(following, now=said[-4].stamp / 1e9)
    for words in (
        "sr: Preparing (0 of 1 targets): Exporting",
        "exporting to ONNX",
        "measure default",
        "openvino-bf16",
        "p50 0.03501 ms at opt",
    ):
        assert words in shown
    # Begun at 17:27:18.579 on the node's clock.
    assert "20.8 s" in shown
    texts(following, *said[-3:])
    assert "measure default: selected openvino-int8-nncf" in picture(following)


def test_what_libraries_print_is_told_apart() -> None:
    following = Following(NAME)
    texts(following, ResourceSeen(resource()), PodsSeen([pod("p")]))
    lines = [line for said in logged("prepare", "p") for line in following.update(said)]
    foreign = [line.text for line in lines if line.foreign]
    assert len(foreign) == 4
    assert all(text.startswith("prepare | W1125 ") for text in foreign)


@pytest.mark.parametrize("state", ["Running", "Pending", "Succeeded", "Failed"])
def test_logs_are_read_once_there_are_any(state: str) -> None:
    terminated = {"terminated": {"exitCode": int(state == "Failed")}}
    raw = pod("p", phase=state, state=None if state in ("Running", "Pending") else terminated)
    following = Following(NAME)
    texts(following, ResourceSeen(resource()), PodsSeen([raw]))
    assert [p.name for p in following.speaking()] == ([] if state == "Pending" else ["p"])


def test_a_trouble_is_told_once_and_its_end_too() -> None:
    following = Following(NAME)
    assert texts(
        following,
        Troubled("the API server", "gone", "resource"),
        Troubled("the API server", "gone in other words", "pods"),
        Troubled("the API server", "gone still", "resource"),
        Troubled("the API server", None, "pods"),
        Troubled("the API server", None, "resource"),
        Troubled("the API server", None, "resource"),
    ) == ["gone", "the API server: works again"]


STAMPS: list[tuple[bytes, int | None, str]] = [
    (b"1970-01-01T00:00:01Z x y", 1_000_000_000, "x y"),
    (b"1970-01-01T00:00:01.5Z x", 1_500_000_000, "x"),
    (b"1970-01-01T02:00:01.000000007+02:00 x", 1_000_000_007, "x"),
    (b"1970-01-01T00:00:00.123456789Z ", 123_456_789, ""),
    (b"1970-01-01T00:00:00 x", None, ""),
    (b"failed to read the log", None, ""),
    (b"\xff\xfe", None, ""),
    (b"", None, ""),
]


@pytest.mark.parametrize(("line", "stamp", "text"), STAMPS)
def test_the_nodes_time_is_told_from_the_line(line: bytes, stamp: int | None, text: str) -> None:
    assert parse_said("p", line) == (None if stamp is None else LogSaid("p", stamp, text))


@given(st.binary() | st.builds(lambda b: b"1970-01-01T00:00:01Z " + b, st.binary()))
def test_no_line_of_a_log_is_too_strange(line: bytes) -> None:
    following = Following(NAME)
    texts(following, ResourceSeen(resource()), PodsSeen([pod("p")]))
    said = parse_said("uid-p", line)
    if said is not None:
        assert all(line.text.isprintable() for line in following.update(said))
    picture(following)


PREPARE = logged("prepare", "p")
LISTS = [[], [pod("p", phase="Pending")], [pod("p")], [finished("p")]]
OTHERS = st.one_of(
    st.sampled_from([ResourceSeen(resource()), ResourceSeen(resource("False", "ImagePullFailed"))]),
    st.sampled_from(LISTS[1:]).map(PodsSeen),
    st.builds(
        Troubled,
        st.sampled_from(["the API server", "the Pods"]),
        st.none() | st.text(),
        st.sampled_from(["", "pods"]),
    ),
)


STREAMS = st.tuples(st.integers(0, 70), st.integers(0, 70), OTHERS)


@given(st.lists(STREAMS, max_size=8))
def test_however_a_log_breaks_off_each_line_is_told_once_and_in_order(
    streams: list[tuple[int, int, Any]],
) -> None:
    calm = Following(NAME)
    begin = (ResourceSeen(resource()), PodsSeen([pod("p")]))
    expected = texts(calm, *begin, *PREPARE)[2:]
    following = Following(NAME)
    told = texts(following, *begin)[2:]
    at = 0
    for back, count, meanwhile in streams:
        # A stream begins at most where the last one ended, and may bring again what was there.
        start = max(0, at - back)
        told += texts(following, *PREPARE[start : start + count])
        at = max(at, start + count)
        texts(following, meanwhile)
    told += texts(following, *PREPARE[at:])
    assert told == expected
    assert following.ended is None


@given(st.lists(OTHERS | st.sampled_from([PodsSeen([])]) | st.sampled_from(PREPARE)))
def test_any_order_of_events_can_be_shown(events: list[Any]) -> None:
    following = Following(NAME)
    for event in events:
        texts(following, event)
        assert texts(following, event) == [], "an event that says nothing new is not told"
    picture(following)
    assert following.ended is None
