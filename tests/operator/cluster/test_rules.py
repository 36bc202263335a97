"""Every rule of the CRD, with an accepted and a rejected object, on a real API server.

The cases are those of tests/support/rule_cases_*.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from light_cluster import Api
from operator_world import MakeManifest
from pydantic import ValidationError
from rule_cases_gates import GATES, MEASURING
from rule_cases_places import SEPARATE_FOLDERS, SOURCES, TAGS
from rule_cases_schema import CONSTRAINTS
from rule_cases_shapes import DIMENSIONS, NAMES, SIZES, TRANSFORMS
from rule_cases_variants import VARIANTS
from spec_fields import Case, Json, references

from mopt_api.crd import custom_resource_definition
from mopt_api.spec import ModelOptimizationSpec

Try = Callable[..., None]
# In this order the tests are numbered.
RULES: list[Case] = [
    *DIMENSIONS,
    *TAGS,
    *SOURCES,
    *TRANSFORMS,
    *SIZES,
    *SEPARATE_FOLDERS,
    *GATES,
    *VARIANTS,
    *NAMES,
    *MEASURING,
]
pytestmark = pytest.mark.cluster


@pytest.fixture
def attempt(api: Api, resource_manifest: MakeManifest) -> Try:
    """Return a function that has the API server judge a resource, without keeping it."""

    def run(spec: Json, *, name: str = "sr") -> None:
        manifest = resource_manifest(name)
        manifest["metadata"]["namespace"] = "default"
        merged = manifest["spec"] | spec
        manifest["spec"] = {key: value for key, value in merged.items() if value is not None}
        api.call("POST", api.path(manifest, collection=True) + "?dryRun=All", manifest)

    return run


def ids(table: list[Case]) -> list[str]:
    return [f"{n}-{words[:30]}" for n, (_, _, words) in enumerate(table)]


@pytest.mark.parametrize(
    ("good", "bad", "words"), [*RULES, *CONSTRAINTS], ids=ids([*RULES, *CONSTRAINTS])
)
def test_rule_accepts_and_rejects(attempt: Try, good: Json, bad: Json, words: str) -> None:
    attempt(good)
    with pytest.raises(Exception, match="422") as refusal:
        attempt(bad)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("good", "bad", "words"), [*RULES, *CONSTRAINTS], ids=ids([*RULES, *CONSTRAINTS])
)
def test_operator_judges_as_the_api_server(
    resource_manifest: MakeManifest, good: Json, bad: Json, words: str
) -> None:
    plain = resource_manifest()["spec"]
    ModelOptimizationSpec.model_validate(plain | good)
    with pytest.raises(ValidationError):
        ModelOptimizationSpec.model_validate(plain | bad)


def test_every_rule_has_its_case() -> None:
    def messages(schema: Json) -> set[str]:
        own = {rule["message"] for rule in schema.get("x-kubernetes-validations", ())}
        parts = [*schema.get("properties", {}).values()]
        parts += [schema[key] for key in ("items", "additionalProperties") if key in schema]
        return own.union(*(messages(part) for part in parts))

    version = custom_resource_definition()["spec"]["versions"][0]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    tried = [words for _, _, words in RULES]
    assert {m for m in messages(spec) if not any(m.startswith(w) for w in tried)} == set()


def test_longest_name_is_accepted_and_a_longer_one_rejected(attempt: Try) -> None:
    attempt({}, name="a" * 63)
    with pytest.raises(Exception, match=r"metadata\.name must have at most 63 characters"):
        attempt({}, name="a" * 64)


def test_unknown_field_is_refused_where_the_client_asks_for_it(
    api: Api, resource_manifest: MakeManifest
) -> None:
    manifest = resource_manifest(surprise=1)
    manifest["metadata"]["namespace"] = "default"
    query = "?dryRun=All&fieldValidation=Strict"
    with pytest.raises(Exception, match=r'unknown field "spec\.surprise"'):
        api.call("POST", api.path(manifest, collection=True) + query, manifest)


def test_calibration_data_takes_no_references(api: Api, resource_manifest: MakeManifest) -> None:
    calibration = references("s3://truth/a")["data"]["evaluation"]
    manifest = resource_manifest(data={"calibration": calibration}, quality=[])
    manifest["metadata"]["namespace"] = "default"
    query = "?dryRun=All&fieldValidation=Strict"
    with pytest.raises(Exception, match=r'unknown field "spec\.data\.calibration\.references"'):
        api.call("POST", api.path(manifest, collection=True) + query, manifest)


def test_new_resource_says_that_nobody_looked_at_it_yet(
    api: Api, resource_manifest: MakeManifest
) -> None:
    manifest = resource_manifest()
    manifest["metadata"]["namespace"] = "default"
    created = api.call("POST", api.path(manifest, collection=True) + "?dryRun=All", manifest)
    assert created["status"]["observedGeneration"] == -1
    assert created["status"]["conditions"] == []
