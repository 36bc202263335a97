"""What every API model shares: camelCase on the wire, rules declared once, bounded primitives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from .stores import Place, uri_pattern

GROUP = "mopt.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ModelOptimization"
PLURAL = "modeloptimizations"

REQUESTED_AT_ANNOTATION = f"{GROUP}/requestedAt"
APPROVE_ANNOTATION = f"{GROUP}/approve"


@dataclass(frozen=True)
class Rule:
    """One validation rule, written for the API server (CEL) and for Python.

    Both forms must agree: tests/api tries an accepted and a rejected object for every rule
    against the models, tests/operator against a real API server.
    """

    cel: str
    message: str
    check: Callable[[Any], bool]


@cache
def _list_map_keys(model: type[BaseModel]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the fields of a model that are lists of type map, with their keys."""
    found = []
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        keys = extra.get("x-kubernetes-list-map-keys") if isinstance(extra, dict) else None
        if isinstance(keys, list):
            found.append((name, tuple(str(key) for key in keys)))
    return tuple(found)


class ApiModel(BaseModel):
    """Base of all models: immutable, camelCase aliases, unknown fields refused.

    Numbers are finite: JSON has no others.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _apply_rules(self) -> Self:
        for rule in type(self).RULES:
            if not rule.check(self):
                raise ValueError(rule.message)
        return self

    @model_validator(mode="after")
    def _refuse_duplicates(self) -> Self:
        """Hold lists of type map to unique keys, as the API server does."""
        for name, keys in _list_map_keys(type(self)):
            seen: set[tuple[Any, ...]] = set()
            for item in getattr(self, name) or ():
                key = tuple(getattr(item, k) for k in keys)
                if key in seen:
                    raise ValueError(f"Duplicate value in {to_camel(name)}: {', '.join(key)}")
                seen.add(key)
        return self

    def to_api(self) -> dict[str, Any]:
        """Return the JSON form: camelCase keys, unset optional fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ObservedModel(ApiModel):
    """Base of what is reported (status, results): fields of a newer version are ignored."""

    model_config = ConfigDict(extra="ignore")


def int_or_string(**constraints: Any) -> dict[str, Any]:
    """Return the structural-schema form of Kubernetes' IntOrString."""
    return {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
    } | constraints


# A DNS label: it becomes part of Job names and label values.
Name = Annotated[
    str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
DimensionName = Annotated[
    str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
]
# A DNS subdomain.
SecretName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
Sha256Hex = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[str, Field(min_length=71, max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
ModelUri = Annotated[str, Field(min_length=6, max_length=1024, pattern=uri_pattern(Place.MODEL))]
DataUri = Annotated[str, Field(min_length=6, max_length=1024, pattern=uri_pattern(Place.DATA))]
OutputUri = Annotated[str, Field(min_length=6, max_length=1024, pattern=uri_pattern(Place.OUTPUT))]
MAX_SIZE = 65536
DimensionSize = Annotated[int, Field(ge=1, le=MAX_SIZE)]


def _refuse_other_dates(text: str) -> str:
    datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007
    return text


# As metav1.Time is written: in UTC, in whole seconds. In order of text these are in order of time.
Timestamp = Annotated[str, Field(min_length=20, max_length=20), AfterValidator(_refuse_other_dates)]
# Whatever a Job reports lies between these: so no ratio of it overflows, and the API server takes
# it. The largest integer is what every reader of JSON holds exactly; no bound is written with an
# exponent, which some readers of YAML take for text.
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Milliseconds = Annotated[float, Field(ge=1e-4, le=1e9)]
PerSecond = Annotated[float, Field(ge=0, le=1e12)]
MAX_RATIO = 1e18
Ratio = Annotated[float, Field(ge=0, le=MAX_RATIO)]
