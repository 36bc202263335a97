"""Lines of a Job's log."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_api.log_lines import LogLine, parse_line
from mopt_optimizer.progress import json_log


def test_what_a_job_says_is_what_is_read() -> None:
    stream = io.StringIO()
    before = datetime.now(UTC).replace(microsecond=0)
    json_log(stream)("open", "ort is open", variant="ort", seconds=0.5, path=Path("/x"), nodes=7)
    line = parse_line(stream.getvalue())
    assert line is not None
    assert line.time is not None
    assert before <= line.time <= datetime.now(UTC)
    assert line == LogLine(
        step="open", message="ort is open", variant="ort", seconds=0.5, time=line.time
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        "W1125 17:27:01 torchvision is not installed",
        "7",
        "[]",
        "{}",
        '{"step": "open"}',
        '{"step": "open", "message": 5}',
        '{"step": "open", "message": "x", "seconds": "soon"}',
        '{"step": "open", "message": "x", "seconds": NaN}',
        '{"step": "open", "message": "x", "time": "soon"}',
        '{"step": "open", "message": "x"',
        b'{"step": "\xff", "message": "x"}',
        "[" * 10_000,
    ],
)
def test_what_others_print_is_not_ours(line: str | bytes) -> None:
    assert parse_line(line) is None


@given(st.text(), st.text(), st.none() | st.floats(allow_nan=False, allow_infinity=False))
def test_any_words_survive(step: str, message: str, seconds: float | None) -> None:
    line = json.dumps({"step": step, "message": message, "seconds": seconds})
    try:
        step.encode(), message.encode()
    except UnicodeEncodeError:  # Half a surrogate pair is no text.
        assert parse_line(line) is None
    else:
        assert parse_line(line) == LogLine(step=step, message=message, seconds=seconds)
