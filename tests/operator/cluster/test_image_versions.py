"""What is known of optimizer images from the statuses of resources."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from mopt_operator.cluster.image_versions import ImageVersions
from mopt_operator.objects import Json

RESULTS = st.builds(
    lambda image, second, version: {
        "optimizer": image,
        "measuredAt": f"2026-11-01T12:00:{second:02}Z",
        "software": {"mopt": version},
    },
    st.sampled_from(["a", "b"]),
    st.integers(0, 3),
    st.sampled_from(["1", "2"]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["targets", "optimizer", "measuredAt", "software", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def learned(results: list[Json]) -> ImageVersions:
    images = ImageVersions()
    for result in results:
        images.learn({"targets": [result]})
    return images


@given(st.lists(RESULTS, max_size=4))
def test_order_in_which_results_are_seen_does_not_matter(results: list[Json]) -> None:
    first, *others = (dict(learned(list(order))) for order in permutations(results))
    assert all(other == first for other in others)


@given(st.lists(RESULTS, min_size=1, max_size=6))
def test_changes_count_what_is_news(results: list[Json]) -> None:
    images = learned(results)
    before = images.changes
    for result in results:
        images.learn({"targets": [result]})
    assert images.changes == before >= len(images)


@given(st.dictionaries(st.sampled_from(["targets", "x"]), JSON, max_size=2))
def test_status_of_any_shape_ends_in_no_error(status: Json) -> None:
    images = ImageVersions()
    images.learn(status)
    assert all(isinstance(v, str) for versions in images.values() for v in versions.values())
