"""result.json files, as `mopt run` and the Jobs write them."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from mopt_api.jobs.measure_result import MeasureResult

from ._errors import CliError

RESULT_SUFFIX = ".json"
_MAX_RESULT_BYTES = 64 * 1024 * 1024


def read_result(file: Path) -> MeasureResult:
    """Return the result in a file.

    Raises:
        CliError: It is no result.json.
    """
    if file.stat().st_size > _MAX_RESULT_BYTES:
        raise CliError(f"{file} is larger than any result.json")
    return parsed_result(file.read_bytes(), str(file))


def parsed_result(content: bytes, where: str) -> MeasureResult:
    """Return the result in the bytes of a file.

    Args:
        where: They are from, for messages.

    Raises:
        CliError: They are no result.json.
    """
    try:
        return MeasureResult.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise CliError(f"{where} is not a result.json: {place}: {first['msg']}") from error
