"""The CustomResourceDefinitions, generated from the models.

`make generate` writes it to crds/ and into the chart.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from .base import GROUP, KIND, PLURAL, VERSION, ApiModel
from .profiles import (
    PROFILE_KIND,
    PROFILE_PLURAL,
    OptimizationProfileSpec,
    OptimizationProfileStatus,
)
from .spec import ModelOptimizationSpec
from .status import ModelOptimizationStatus

MAX_NAME = 63
MAX_PROFILE_NAME = 40  # As base.Name, by which targets name it.

_DROPPED = {
    "title",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "$defs",
    "propertyOrdering",
}

COLUMNS = [
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Selected", "string", ".status.summary.selected", 0),
    ("Speedup", "string", ".status.summary.speedup", 0),
    ("Quality", "string", ".status.summary.quality", 0),
    ("Size", "string", ".status.summary.size", 0),
    ("Targets", "string", ".status.summary.targets", 0),
    ("Status", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
]
PROFILE_COLUMNS = [
    ("Valid", "string", '.status.conditions[?(@.type=="Valid")].status', 0),
    ("Kind", "string", ".status.kind", 0),
    ("Nodes", "integer", ".status.nodes", 0),
    ("Slots", "integer", ".spec.measurementSlots", 0),
    ("Price", "string", ".spec.pricePerHour", 0),
    ("Status", "string", '.status.conditions[?(@.type=="Valid")].reason', 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Image", "string", ".spec.image", 1),
]


def _models(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return every model reachable from one, by class name."""
    found: dict[str, type[BaseModel]] = {model.__name__: model}
    pending: list[Any] = [field.annotation for field in model.model_fields.values()]
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if annotation.__name__ not in found:
                found[annotation.__name__] = annotation
                pending += [field.annotation for field in annotation.model_fields.values()]
        else:
            pending += getattr(annotation, "__args__", ())
    return found


class _Structural:
    """Turns pydantic's JSON schema into a structural schema of Kubernetes'."""

    def __init__(self, model: type[ApiModel]) -> None:
        self._schema = model.model_json_schema(by_alias=True, mode="validation")
        self._definitions = self._schema.get("$defs", {})
        self._classes = _models(model)

    def build(self) -> dict[str, Any]:
        return self._object(self._schema, self._schema["title"])

    def _object(self, schema: dict[str, Any], class_name: str) -> dict[str, Any]:
        model = self._classes[class_name]
        result: dict[str, Any] = {"type": "object"}
        if description := schema.get("description"):
            result["description"] = " ".join(description.split())
        if required := schema.get("required"):
            result["required"] = required
        result["properties"] = {
            name: self._property(value) for name, value in schema["properties"].items()
        }
        rules = model.RULES if issubclass(model, ApiModel) else ()
        if rules:
            result["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message} for rule in rules
            ]
        return result

    def _property(self, schema: dict[str, Any]) -> dict[str, Any]:
        if schema.get("x-kubernetes-int-or-string"):
            kept = (
                "x-kubernetes-int-or-string",
                "anyOf",
                "minimum",
                "maximum",
                "maxLength",
                "pattern",
                "description",
            )
            return {key: schema[key] for key in kept if key in schema}
        if "anyOf" in schema:  # Optional[X]: absent instead of null
            chosen = [option for option in schema["anyOf"] if option.get("type") != "null"]
            (only,) = chosen
            schema = (
                {k: v for k, v in schema.items() if k not in ("anyOf", "default")}
                | only
                | {k: schema[k] for k in ("description",) if k in schema}
            )
        if "allOf" in schema:
            (only,) = schema["allOf"]
            schema = only | {k: v for k, v in schema.items() if k != "allOf"}
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            definition = self._definitions[name]
            extra = {k: v for k, v in schema.items() if k in ("description", "default")}
            if definition.get("type") == "object":
                return self._object(definition, name) | extra
            return self._property(
                {k: v for k, v in definition.items() if k != "description"} | extra
            )
        result = {k: v for k, v in schema.items() if k not in _DROPPED}
        if "const" in result:
            result["enum"] = [result.pop("const")]
        if "exclusiveMinimum" in result:
            result["minimum"], result["exclusiveMinimum"] = result["exclusiveMinimum"], True
        if result.get("type") == "array":
            result["items"] = self._property(schema["items"])
        elif result.get("type") == "object":
            # A pattern of keys is checked by Python alone: no schema of Kubernetes' has one.
            patterns = schema.get("patternProperties", {}).values()
            values = schema.get("additionalProperties", next(iter(patterns), {"type": "string"}))
            result["additionalProperties"] = self._property(values)
        elif result.get("type") == "integer":
            result["format"] = "int64"
        return result


def structural_schema(model: type[ApiModel]) -> dict[str, Any]:
    """Return a model's structural schema: no $ref, no null, rules as CEL."""
    return _Structural(model).build()


def _default_objects(schema: dict[str, Any]) -> None:
    """Give every optional object an empty default, so that its fields' defaults are visible."""
    for name, value in schema.get("properties", {}).items():
        if value.get("type") == "object" and "default" in value and name != "status":
            value["default"] = {}
        _default_objects(value)
        if value.get("type") == "array":
            _default_objects(value["items"])


def custom_resource_definition() -> dict[str, Any]:
    """Return the CRD of ModelOptimizations as a dict, ready for the API server."""
    return _definition(
        names=_names(KIND, PLURAL, "mopt") | {"categories": ["all"]},
        scope="Namespaced",
        columns=COLUMNS,
        description="Finds, proves and publishes the fastest faithful form of a model for each "
        "kind of hardware.",
        spec=structural_schema(ModelOptimizationSpec),
        status=structural_schema(ModelOptimizationStatus),
        name_rule={
            "rule": f"size(self.metadata.name) <= {MAX_NAME}",
            "message": f"metadata.name must have at most {MAX_NAME} characters",
        },
    )


def profile_definition() -> dict[str, Any]:
    """Return the CRD of OptimizationProfiles as a dict, ready for the API server."""
    return _definition(
        names=_names(PROFILE_KIND, PROFILE_PLURAL, "mprof"),
        scope="Cluster",
        columns=PROFILE_COLUMNS,
        description="A kind of node that targets of ModelOptimizations name by spec.targets[]."
        "profile. The one named default prepares models.",
        spec=structural_schema(OptimizationProfileSpec),
        status=structural_schema(OptimizationProfileStatus),
        name_rule={
            "rule": f"size(self.metadata.name) <= {MAX_PROFILE_NAME} && "
            "!self.metadata.name.contains('.')",
            "message": f"metadata.name must have at most {MAX_PROFILE_NAME} characters and no dot",
        },
    )


def _names(kind: str, plural: str, short: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "shortNames": [short],
    }


def _definition(
    *,
    names: dict[str, Any],
    scope: str,
    columns: list[tuple[str, str, str, int]],
    description: str,
    spec: dict[str, Any],
    status: dict[str, Any],
    name_rule: dict[str, str],
) -> dict[str, Any]:
    _default_objects(spec)
    status["default"] = {"observedGeneration": -1}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names['plural']}.{GROUP}",
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": names,
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "priority": priority}
                        for name, kind, path, priority in columns
                    ],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": description,
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": spec,
                                "status": status,
                            },
                            "x-kubernetes-validations": [name_rule],
                        }
                    },
                }
            ],
        },
    }
