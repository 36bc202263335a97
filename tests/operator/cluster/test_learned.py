"""What is known of images, nodes and data from the statuses of resources."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from mopt_operator.cluster.learned import Learned
from mopt_operator.objects import Json

RESULTS = st.builds(
    lambda image, second, version, node, digest: {
        "optimizer": image,
        "measuredAt": f"2026-11-01T12:00:{second:02}Z",
        "software": {"mopt": version},
        "hardware": {"node": node, "cpu": "CPU", "cpuFeatures": ["avx2"][: int(version) - 1]},
        "data": {"evaluation": digest},
        "measurement": {"parts": {"evaluation": "place", "gates": "gates"}},
    },
    st.sampled_from(["a", "b"]),
    st.integers(0, 3),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["node-1", "node-2"]),
    st.sampled_from(["sha256:1", "sha256:2"]),
)
NAMES = ["targets", "optimizer", "measuredAt", "software", "hardware", "node", "cpu"]
NAMES += ["cpuFeatures", "data", "evaluation", "measurement", "parts", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=12,
)


def learned(results: list[Json]) -> Learned:
    known = Learned()
    for result in results:
        known.learn({"targets": [result]}, "team")
    return known


def all_of(known: Learned) -> tuple[object, ...]:
    versions, cpus, data = known.told
    return dict(versions), dict(cpus), dict(data)


@given(st.lists(RESULTS, max_size=4))
def test_order_in_which_results_are_seen_does_not_matter(results: list[Json]) -> None:
    first, *others = (all_of(learned(list(order))) for order in permutations(results))
    assert all(other == first for other in others)


@given(st.lists(RESULTS, min_size=1, max_size=6))
def test_changes_count_what_is_news(results: list[Json]) -> None:
    known = learned(results)
    before = known.changes
    for result in results:
        known.learn({"targets": [result]}, "team")
    assert known.changes == before >= len(known.told.versions)


def test_first_that_is_told_of_a_node_or_of_data_is_news_to_nobody() -> None:
    result: Json = {
        "measuredAt": "2026-11-01T12:00:00Z",
        "software": {"mopt": "1"},
        "hardware": {"node": "node-1", "cpu": "CPU"},
        "data": {"evaluation": "sha256:1"},
        "measurement": {"parts": {"evaluation": "place"}},
    }
    known = learned([result])
    assert (len(known.told.cpus), len(known.told.data), known.changes) == (1, 1, 0)
    later = result | {"measuredAt": "2026-11-01T12:00:01Z"}
    known.learn({"targets": [later | {"hardware": {"node": "node-1", "cpu": "Other"}}]}, "team")
    assert known.changes == 1
    known.learn({"targets": [later | {"data": {"evaluation": "sha256:2"}}]}, "team")
    assert known.changes == 2  # Of equally new results on a node any counts.


def test_place_of_another_namespace_may_be_in_another_store() -> None:
    result: Json = {
        "measuredAt": "2026-11-01T12:00:00Z",
        "data": {"evaluation": "sha256:1"},
        "measurement": {"parts": {"evaluation": "place"}},
    }
    known = learned([result])
    other = result | {"measuredAt": "2026-11-02T12:00:00Z", "data": {"evaluation": "sha256:2"}}
    known.learn({"targets": [other]}, "other-team")
    assert known.changes == 0
    assert {at.namespace: seen.value for at, seen in known.told.data.items()} == {
        "team": "sha256:1",
        "other-team": "sha256:2",
    }


@given(st.dictionaries(st.sampled_from(["targets", "x"]), JSON, max_size=2))
def test_status_of_any_shape_ends_in_no_error(status: Json) -> None:
    known = Learned()
    known.learn(status, "team")
    assert all(isinstance(v, str) for seen in known.told.versions.values() for v in seen.value)
