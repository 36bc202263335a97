"""What the API server would reject in a spec, in words that say what to write instead. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from mopt_api.inputs import MAX_FIXED_SIZE
from mopt_api.spec import ModelOptimizationSpec

_TEXT_FAULTS = ("string_pattern_mismatch", "string_too_short", "string_too_long")
_INSTEAD = {
    "sha256": "write the 64 lowercase hex digits that sha256sum prints",
    "uri": "write s3://BUCKET/KEY or pvc://CLAIM/PATH; models and archives of data also lie in "
    "https://HOST/PATH, models in oci://HOST/REPOSITORY:TAG; mopt run also takes paths",
    "name": "write lowercase letters, digits and - inside, at most 40 characters",
}
_SIZE = f"write a number from 1 to {MAX_FIXED_SIZE}, or a name that dimensions declares"


def problems(spec: Any) -> list[str]:
    """Return what the API server would reject in a spec, each with its field's path.

    Types are those of JSON, as there: the text "8" is no number, and data_range no dataRange.
    """
    try:
        ModelOptimizationSpec.model_validate_json(
            # A date is text to the API server.
            json.dumps(spec, default=str),
            strict=True,
            by_alias=True,
            by_name=False,
        )
    except ValidationError as error:
        found = (_problem(e) for e in error.errors(include_url=False))
        # One per field: a union has one for each kind of value that it could be.
        return list(dict(reversed([*found])).values())[::-1]
    return []


def _problem(error: ErrorDetails) -> tuple[str, str]:
    """Return a field's path, and the path with what is wrong there."""
    place = [part for part in error["loc"] if not _is_branch(part)]
    field = ".".join(["spec", *map(str, place)])
    return (f"{field} {error['type']}" if not place else field), f"{field}: {_words(error, place)}"


def _is_branch(part: int | str) -> bool:
    """Whether it is one of a union's kinds, such as constrained-int, and no field."""
    return isinstance(part, str) and (
        part in ("int", "str") or part.startswith(("constrained-", "function-"))
    )


def _words(error: ErrorDetails, place: Sequence[int | str]) -> str:
    kind, value = error["type"], error["input"]
    name = str(place[-1]) if place else ""
    if kind == "extra_forbidden":
        camel = to_camel(name)
        return "unknown field" + (f": write {camel}" if camel != name else "")
    if kind == "missing":
        return "Field required"
    message = error["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return message
    given = f", not {json.dumps(value, default=str)[:80]}"
    if "shape" in place[-2:]:
        return _SIZE + given
    if kind in _TEXT_FAULTS and name in _INSTEAD:
        prefix = ", without sha256:" if str(value).startswith("sha256:") else ""
        return _INSTEAD[name] + prefix + given
    return message + ("" if isinstance(value, dict | list) else given)
