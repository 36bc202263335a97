"""What the store keeps when watches, answers and lists disagree."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from mopt_operator.cluster.cache import Listed, Store


def job(name: str, version: int, *, uid: str = "", resource: str = "sr") -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-11-01T12:00:00Z",
            "labels": {"mopt.dev/name": resource, "mopt.dev/uid": "uid-1"},
        }
    }


def listed(name: str, version: int, *, uid: str = "") -> Listed:
    return Listed("team", name, uid or f"uid-{name}", str(version))


@pytest.fixture
def store() -> Store:
    return Store()


def names(store: Store, resource: str = "sr") -> list[str]:
    return [item.name for item in store.jobs.of(("team", resource))]


def test_objects_are_found_by_their_resource(store: Store) -> None:
    assert store.jobs.put(job("b", 1)) == ("team", "sr")
    store.jobs.put(job("a", 2))
    store.jobs.put(job("c", 3, resource="other"))
    assert names(store) == ["a", "b"]
    assert names(store, "none") == []


def test_older_version_does_not_replace_a_newer_one(store: Store) -> None:
    store.jobs.put(job("a", 10))
    store.jobs.put(job("a", 9))
    (kept,) = store.jobs.of(("team", "sr"))
    assert kept.version == "10"


def test_successor_of_the_same_name_replaces_whatever_its_version(store: Store) -> None:
    store.jobs.put(job("a", 10))
    store.jobs.put(job("a", 9, uid="new"))
    (kept,) = store.jobs.of(("team", "sr"))
    assert kept.uid == "new"


def test_late_deletion_spares_the_successor(store: Store) -> None:
    store.jobs.put(job("a", 10, uid="new"))
    assert store.jobs.remove(job("a", 11, uid="old")) == ("team", "sr")
    assert names(store) == ["a"]
    store.jobs.remove(job("a", 12, uid="new"))
    assert names(store) == []
    assert len(store.jobs) == 0


def test_list_removes_what_vanished_unnoticed_and_names_its_resource(store: Store) -> None:
    store.jobs.put(job("gone", 1))
    store.jobs.put(job("kept", 2, resource="other"))
    assert store.jobs.compare([listed("kept", 2)], "5", None) == ([], {("team", "sr")})
    assert names(store) == []
    assert names(store, "other") == ["kept"]


def test_list_spares_what_is_newer_than_it_and_what_lies_elsewhere(store: Store) -> None:
    store.jobs.put(job("new", 9))
    store.jobs.put(job("old", 1))
    assert store.jobs.compare([], "5", "elsewhere") == ([], set())
    assert store.jobs.compare([], "5", "team") == ([], {("team", "sr")})
    assert names(store) == ["new"]


def test_list_names_what_is_newer_in_it(store: Store) -> None:
    store.jobs.put(job("a", 3))
    same, newer, older = listed("a", 3), listed("a", 4), listed("a", 2)
    successor, unknown = listed("a", 2, uid="new"), listed("b", 1)
    assert store.jobs.compare([same], "5", None) == ([], set())
    assert store.jobs.compare([older], "5", None) == ([], set())
    assert store.jobs.compare([newer, unknown], "5", None) == ([newer, unknown], set())
    assert store.jobs.compare([successor], "3", None) == ([successor], set())


def test_list_that_is_older_than_the_word_of_a_deletion_brings_nothing_back(store: Store) -> None:
    store.jobs.show(job("a", 5), deleted=True)
    assert store.jobs.compare([listed("a", 4)], "4", None) == ([], set())


def test_no_snapshot_of_an_unknown_resource(store: Store) -> None:
    store.jobs.put(job("a", 1))
    assert store.snapshot(("team", "sr")) is None


def unseen(store: Store) -> str | None:
    oldest = store.jobs.awaited.oldest()
    return None if oldest is None else f"{oldest.name} {oldest.version}"


def test_answer_is_to_be_shown_by_the_watch(store: Store) -> None:
    store.jobs.put_answer(job("a", 5))
    assert names(store) == ["a"]
    assert unseen(store) == "team/a 5"
    store.jobs.show(job("a", 5), deleted=False)
    assert unseen(store) is None


def test_only_what_differs_from_what_is_known_wakes_its_resource(store: Store) -> None:
    resource = ("team", "sr")
    assert store.jobs.show(job("a", 5), deleted=False) == resource
    assert store.jobs.show(job("a", 6), deleted=False) is None  # active: 1, which nobody reads.
    begun = job("a", 7) | {"status": {"startTime": "2026-11-01T12:00:00Z"}}
    assert store.jobs.show(begun, deleted=False) == resource
    assert store.jobs.show(job("a", 6), deleted=False) is None  # Late.
    assert store.jobs.show(begun, deleted=True) == resource
    assert store.jobs.show(job("a", 8, uid="successor"), deleted=False) == resource


def test_echo_of_an_answer_wakes_nobody(store: Store) -> None:
    store.jobs.put_answer(job("a", 5))
    assert store.jobs.show(job("a", 5), deleted=False) is None


def test_answer_that_the_watch_does_not_select_is_not_awaited(store: Store) -> None:
    relabelled = job("a", 5)
    del relabelled["metadata"]["labels"]["mopt.dev/uid"]
    store.jobs.put_answer(relabelled)
    assert unseen(store) is None


def test_watch_that_was_faster_than_the_answer_owes_nothing(store: Store) -> None:
    store.jobs.show(job("a", 5), deleted=False)
    store.jobs.put_answer(job("a", 5))
    assert unseen(store) is None


def test_answer_after_the_word_that_the_object_is_gone_is_too_late(store: Store) -> None:
    store.jobs.show(job("a", 5), deleted=False)
    store.jobs.show(job("a", 7), deleted=True)
    store.jobs.put_answer(job("a", 6))
    assert names(store) == []
    assert unseen(store) is None


def test_nothing_is_awaited_of_an_object_that_a_list_lacks(store: Store) -> None:
    store.jobs.put_answer(job("a", 5))
    store.jobs.compare([], "6", None)
    assert unseen(store) is None


def test_object_whose_label_was_changed_belongs_to_the_other_resource_alone(store: Store) -> None:
    store.jobs.put(job("a", 1))
    assert store.jobs.put(job("a", 2, resource="other")) == ("team", "other")
    assert (names(store), names(store, "other")) == ([], ["a"])
    store.jobs.remove(job("a", 3, resource="other"))
    assert names(store, "other") == []


def test_newest_version_is_the_highest_that_anything_has_shown(store: Store) -> None:
    store.jobs.put(job("a", 7))
    store.jobs.put(job("b", 5))
    assert store.jobs.newest == "7"
    store.jobs.show(job("b", 11), deleted=True)
    assert store.jobs.newest == "11"


# In a process of its own: others' threads and caches are no part of the store.
MEASURE = """
import gc, json, tracemalloc
from mopt_operator.cluster.cache import Store
from settled_objects import templates

many, made = 200, templates()
pages = {
    plural: [one.of(number, whole=True) for number in range(many) for one in of_one]
    for plural, of_one in made.items()
}
store = Store()
tracemalloc.start()
for plural, kind in store.kinds().items():
    for text in pages[plural]:
        kind.put(json.loads(text))
gc.collect()
print(tracemalloc.get_traced_memory()[0] / many)
"""


def test_settled_resource_with_its_jobs_and_pods_takes_few_bytes() -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    # 300 MiB for 10,000 of them, of which the process itself takes 90.
    assert 1024 < float(done.stdout) < 12 * 1024
