"""Which objects of an output store stay, and in which order the others go."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mopt_cli.garbage.graph import Plan, Sort, StoredObject, plan_removal, sort_of
from mopt_cli.garbage.live import at_work, live_of, named_by

# The machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOW = datetime(2026, 11, 29, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(days=30), NOW - timedelta(hours=1)
CUTOFF = NOW - timedelta(hours=24)


def digest(number: int) -> str:
    return f"{number:064x}"


def blob(number: int, *names: int, modified: datetime = OLD) -> StoredObject:
    name = digest(number)
    held = frozenset(map(digest, names))
    return StoredObject(Sort.BLOB, name, f"blobs/sha256/{name}", 10, modified, held)


def entry(name: str, *names: int, modified: datetime = OLD) -> StoredObject:
    held = frozenset(map(digest, names))
    return StoredObject(Sort.ENTRY, name, f"index/{name}", 71, modified, held)


def page(number: int, modified: datetime = OLD) -> StoredObject:
    name = digest(number)
    return StoredObject(Sort.PAGE, name, f"reports/{name}.html", 10, modified)


def note(name: str, modified: datetime) -> StoredObject:
    return StoredObject(Sort.NOTE, name, f"attempts/{name}.json", 10, modified)


def removed(plan: Plan) -> list[list[str]]:
    """Return what goes, wave by wave, by the last digits of digests and the names of entries."""
    return [
        [one.name.lstrip("0") if len(one.name) == 64 else one.name for one in wave]
        for wave in plan.waves
    ]


RESULT, MANIFEST, FORM, WEIGHTS, CROPS, STEP = 1, 2, 3, 4, 5, 6
RUN = [
    blob(RESULT, MANIFEST, FORM, CROPS, 99),  # 99 is the model's digest, and no blob.
    blob(MANIFEST, FORM, WEIGHTS),
    blob(FORM),
    blob(WEIGHTS),
    blob(CROPS),
    blob(STEP, FORM, WEIGHTS),
    page(RESULT),
    entry("measure", RESULT),
    entry("prepare", MANIFEST),
    entry("step", STEP),
]


def test_all_that_a_result_names_stays_with_its_page_and_its_cache_entries() -> None:
    assert plan_removal(RUN, [digest(RESULT)], cutoff=CUTOFF).waves == ()


def test_a_list_of_measurements_stays_for_one_of_them() -> None:
    nothing, other, listed = 7, 8, 9
    objects = [*RUN, blob(other, 10), blob(10), blob(listed, RESULT, other)]
    for name, kept in (("history-a-0", True), ("step-a", False)):
        found = [*objects, entry(name, listed)]
        plan = plan_removal(found, [digest(RESULT)], cutoff=CUTOFF)
        assert (f"index/{name}" in plan.kept) is kept
        assert f"blobs/sha256/{digest(other)}" not in plan.kept
        assert f"index/{name}" not in plan_removal(found, [digest(nothing)], cutoff=CUTOFF).kept


def test_what_nobody_names_goes_and_whatever_names_goes_first() -> None:
    plan = plan_removal(RUN, [], cutoff=CUTOFF)
    assert plan.kept == frozenset()
    assert removed(plan) == [
        ["measure", "prepare", "step"],
        ["1"],
        ["1", "6"],
        ["2", "5"],
        ["3", "4"],
    ]


def test_a_form_in_use_keeps_its_own_cache_entry_and_no_other() -> None:
    files = [blob(FORM), blob(7), blob(STEP, FORM), blob(8, 7), blob(9)]
    entries = [entry("used", STEP), entry("unused", 8), entry("failed", 9), entry("dangling", 77)]
    plan = plan_removal([*files, *entries], [digest(FORM)], cutoff=CUTOFF)
    assert removed(plan) == [["dangling", "failed", "unused"], ["8", "9"], ["7"]]


def test_an_older_measurement_of_a_form_in_use_goes() -> None:
    older = [blob(7, MANIFEST, FORM), entry("measure", 7), blob(MANIFEST, FORM), blob(FORM)]
    plan = plan_removal([*older, entry("prepare", MANIFEST)], [digest(FORM)], cutoff=CUTOFF)
    assert removed(plan) == [["measure"], ["7"]]


def test_what_is_young_stays_and_what_it_names() -> None:
    """A running Job writes a manifest that names forms which it was served."""
    young = [blob(MANIFEST, FORM, modified=YOUNG), blob(FORM), blob(WEIGHTS)]
    assert removed(plan_removal(young, [], cutoff=CUTOFF)) == [["4"]]
    written = [entry("prepare", MANIFEST, modified=YOUNG), blob(MANIFEST, FORM), blob(FORM)]
    assert plan_removal(written, [], cutoff=CUTOFF).waves == ()


def test_notes_go_once_no_job_reads_them() -> None:
    notes = [note("a", NOW - timedelta(days=8)), note("b", NOW - timedelta(days=10))]
    assert removed(plan_removal(notes, [], cutoff=CUTOFF)) == [["b"]]


def test_what_is_no_cache_entry_is_left_alone() -> None:
    assert plan_removal([entry("of-others")], [], cutoff=CUTOFF).waves == ()


@pytest.mark.parametrize(
    "key",
    [
        "blobs/sha256/ABC",
        f"blobs/sha256/.{digest(1)}.0a.part",
        f"team/blobs/sha256/{digest(1)}",
        "manifest.json",
        "reports/readme.html",
        "index/a/b",
        "attempts/x",
    ],
)
def test_what_mopt_did_not_write_is_not_known(key: str) -> None:
    assert sort_of(key) is None


@st.composite
def stores(draw: st.DrawFn) -> tuple[list[StoredObject], list[str]]:
    """Blobs that name earlier ones, or what is not there; entries, pages; roots."""
    count = draw(st.integers(0, 12))
    ages = st.sampled_from([OLD, YOUNG, CUTOFF])
    objects = []
    for number in range(1, count + 1):
        earlier = st.integers(1, number - 1) if number > 1 else st.nothing()
        names = draw(st.lists(earlier | st.integers(90, 92), max_size=3))
        objects.append(blob(number, *names, modified=draw(ages)))
    for index in range(draw(st.integers(0, 6))):
        names = [draw(st.integers(1, 14))]
        objects.append(entry(f"e{index}", *names, modified=draw(ages)))
    pages = draw(st.sets(st.integers(1, 14), max_size=3))
    objects += [page(number, draw(ages)) for number in pages]
    roots = [digest(number) for number in draw(st.sets(st.integers(1, 14), max_size=3))]
    return draw(st.permutations(objects)), roots


def named(objects: Iterable[StoredObject], start: Iterable[str]) -> set[str]:
    """Return what start names, directly or not, among objects: the plain way."""
    blobs = {one.name: one.names for one in objects if one.sort is Sort.BLOB}
    reached = {name for name in start if name in blobs}
    while True:
        more = {n for name in reached for n in blobs[name] if n in blobs} - reached
        if not more:
            return reached
        reached |= more


@UNHURRIED
@given(stores())
def test_what_is_named_or_young_never_goes(store: tuple[list[StoredObject], list[str]]) -> None:
    objects, roots = store
    plan = plan_removal(objects, roots, cutoff=CUTOFF)
    young = [one for one in objects if one.modified > CUTOFF]
    start = {*roots, *(n for one in young for n in one.names)}
    start |= {one.name for one in young if one.sort is not Sort.ENTRY}
    gone = {one.name for one in plan.removed if one.sort is Sort.BLOB}
    assert not gone & named(objects, start)
    assert all(one.modified <= CUTOFF for one in plan.removed)
    assert plan.kept | {one.key for one in plan.removed} == {one.key for one in objects}


@UNHURRIED
@given(stores())
def test_what_stays_though_unnamed_belongs_to_a_cache_entry_of_what_is_used(
    store: tuple[list[StoredObject], list[str]],
) -> None:
    """All that is old and unreachable goes, but for these."""
    objects, roots = store
    plan = plan_removal(objects, roots, cutoff=CUTOFF)
    young = [one for one in objects if one.modified > CUTOFF]
    start = {*roots, *(n for one in young for n in one.names)}
    start |= {one.name for one in young if one.sort is not Sort.ENTRY}
    used = named(objects, start)
    kept = {o.name: o for o in objects if o.sort is Sort.BLOB and o.key in plan.kept}
    cached = {n for o in objects if o.sort is Sort.ENTRY and o.key in plan.kept for n in o.names}
    stored = {o.name for o in objects if o.sort is Sort.BLOB}
    for name in kept.keys() - used:
        assert name in cached
        assert kept[name].names & stored
        assert kept[name].names & stored <= used


@UNHURRIED
@given(stores())
def test_a_second_sweep_removes_nothing(store: tuple[list[StoredObject], list[str]]) -> None:
    objects, roots = store
    first = plan_removal(objects, roots, cutoff=CUTOFF)
    left = [one for one in objects if one.key in first.kept]
    assert plan_removal(left, roots, cutoff=CUTOFF).waves == ()


@UNHURRIED
@given(stores())
def test_wherever_the_removal_ends_nothing_new_names_what_is_missing(
    store: tuple[list[StoredObject], list[str]],
) -> None:
    objects, roots = store
    stored = {one.name for one in objects if one.sort is Sort.BLOB}
    left = {one.key: one for one in objects}
    for wave in plan_removal(objects, roots, cutoff=CUTOFF).waves:
        for one in wave:
            del left[one.key]
        there = {one.name for one in left.values() if one.sort is Sort.BLOB}
        for one in left.values():
            assert one.names & stored <= there


def resource(**fields: Any) -> dict[str, Any]:
    status = {"observedGeneration": 3, "targets": [], "history": []}
    metadata = {"name": "sr", "namespace": "team", "generation": 3}
    return {"metadata": metadata, "spec": {}, "status": status} | fields


def test_every_digest_that_a_resource_names_counts_wherever_it_stands() -> None:
    raw = resource(
        spec={"model": {"uri": f"s3://b/blobs/sha256/{digest(1)}", "sha256": digest(2)}},
        status={
            "targets": [{"report": {"page": f"s3://b/reports/{digest(3)}.html"}}],
            "ofANewerVersion": {f"sha256:{digest(4)}": [f"x@sha256:{digest(5)}"]},
            "tooLong": digest(6) + "0",
        },
    )
    assert named_by(raw, None) == {digest(n) for n in (1, 2, 3, 4, 5)}


@pytest.mark.parametrize(("keep", "numbers"), [(None, {1, 2, 3, 4}), (2, {1, 2, 4}), (1, {1, 4})])
def test_only_the_last_selections_of_each_target_count(keep: int | None, numbers: set[int]) -> None:
    targets = (("cpu", 1), ("gpu", 4), ("cpu", 2), ("cpu", 3))
    records = [{"target": t, "artifact": f"sha256:{digest(n)}"} for t, n in targets]
    assert named_by(resource(status={"history": records}), keep) == {digest(n) for n in numbers}


def test_the_selection_that_is_published_counts_however_old() -> None:
    """A newer one is not published yet."""
    records = [
        {"target": "cpu", "artifact": f"sha256:{digest(n)}", "report": f"sha256:{digest(n + 10)}"}
        for n in (1, 2, 3)
    ]
    targets = [{"published": {"artifact": f"sha256:{digest(2)}"}}, {"name": "gpu"}]
    raw = resource(status={"history": records, "targets": targets})
    assert named_by(raw, 1) == {digest(n) for n in (1, 2, 11, 12)}


def test_the_selection_in_whose_place_another_form_is_published_counts() -> None:
    records = [{"target": "cpu", "artifact": f"sha256:{digest(n)}"} for n in (1, 2)]
    instead = {"artifact": f"sha256:{digest(7)}", "insteadOf": f"sha256:{digest(2)}"}
    raw = resource(status={"history": records, "targets": [{"published": instead}]})
    assert named_by(raw, 1) == {digest(n) for n in (1, 2, 7)}


WORKING = {"type": "Reconciling", "status": "True"}


@pytest.mark.parametrize(
    ("fields", "works"),
    [
        ({}, False),
        ({"status": {"observedGeneration": 2}}, True),
        ({"status": {}}, True),
        ({"status": {"observedGeneration": 3, "conditions": [WORKING]}}, True),
        ({"status": {"observedGeneration": 3, "progress": {"stage": "Measure"}}}, True),
        (
            {
                "metadata": {"generation": 3, "annotations": {"mopt.dev/requestedAt": "now"}},
            },
            True,
        ),
        ({"status": {"observedGeneration": 3, "conditions": [{"type": "Stalled"}]}}, False),
    ],
    ids=["done", "changed", "new", "reconciling", "measuring", "asked for anew", "stalled"],
)
def test_a_resource_at_work_is_seen(fields: dict[str, Any], works: bool) -> None:
    assert at_work(resource(**fields)) is works


@pytest.mark.parametrize(
    ("spec", "works"),
    [
        ({}, ["team/sr"]),
        ({"output": {"uri": "s3://b/out/"}}, ["team/sr"]),
        ({"output": {"uri": "s3://b/other"}}, []),
    ],
    ids=["by the operator's default", "there", "elsewhere"],
)
def test_work_elsewhere_does_not_matter(spec: dict[str, Any], works: list[str]) -> None:
    live = live_of([resource(spec=spec, status={})], "s3://b/out", None)
    assert (live.working, live.resources) == (works, 1)
