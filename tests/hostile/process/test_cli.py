"""`mopt inspect` and `mopt compare` whose child lies: words for people, no traceback, no control
characters, and nothing left behind."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, field
from typing import Any

import pytest

from .ground import DISK_BYTES, SECRET, Done, Ground
from .known import through
from .stages import COMPARE, DESCRIBE, Work, changed

pytestmark = pytest.mark.hostile

DESCRIPTION: dict[str, Any] = {
    "format": "ONNX",
    "sizeBytes": 5,
    "opset": 18,
    "parameters": 160,
    "inputs": [{"name": "x", "dtype": "float32", "axes": []}],
    "outputs": [],
    "operators": {"MatMul": 1},
    "nodes": 1,
    "externalData": [],
    "dimensions": {},
}
CONTROLS = "\x1b[2J\x1b]0;title\x07\r\u202e\x9b31mend"


@dataclass(frozen=True)
class Case:
    """What the child does, and how the command ends.

    Attributes:
        status: Exit status.
        words: In standard error or output.
        command: inspect or compare.
        arguments: Of the command.
        why: Why it is not so yet.
    """

    name: str
    behaviour: str
    options: dict[str, Any] = field(default_factory=dict)
    status: int = 1
    words: str = "mopt: InvalidModel: "
    command: str = "inspect"
    arguments: tuple[str, ...] = ()
    why: str = ""


def told(**changes: Any) -> dict[str, Any]:
    """Return options of an answer that is a description, with fields changed."""
    return {"answer": changed(DESCRIPTION, changes)}


def shown(name: str, why: str = "", *arguments: str, **changes: Any) -> Case:
    """Return the case of a description that is shown."""
    return Case(name, "answer", told(**changes), 0, "MatMul", arguments=arguments, why=why)


CASES = [
    shown("honest"),
    shown("parameters-of-400-digits", parameters=10**400),
    shown("parameters-below-zero", parameters=-1),
    shown("controls-in-names", inputs=[{"name": CONTROLS, "dtype": CONTROLS, "axes": []}]),
    shown("controls-as-json", "", "-o", "json", externalData=[CONTROLS]),
    shown(
        "controls-as-yaml", "",
        *("-o", "yaml"),
        externalData=[CONTROLS],
    ),
    Case("no-answer-of-inspect", "answer", {"answer": {}}),
    Case("figures-no-numbers", "answer", told(parameters=math.nan)),
    Case("no-answer-of-compare", "answer", {"answer": {}}, command="compare"),
    Case("rows-no-rows", "answer", {"answer": {"rows": 5}}, command="compare"),
    Case("ends", "gone", words="ended with exit status 0"),
    Case("killed", "killed", words="was ended by SIGKILL"),
    Case("closes-everything", "closed", words="closed its output without ending"),
    Case("nonsense", "raw", {"text": "x\n"}, words="answered what is no answer"),
    Case("nonsense-to-compare", "raw", {"text": "x\n"}, command="compare"),
    Case("fills-the-disk", "disk", {"how": "plain", "bytes": 3 * DISK_BYTES},
         words="wrote more than"),
    Case("error-with-controls", "error",
         {"kind": "ModelError", "reason": "InvalidModel", "message": CONTROLS}, words="end"),
    Case("error-of-the-stores", "error",
         {"kind": "StoreUnreachable", "reason": "StoreUnreachable", "message": "try again"}),
    Case("progress-of-no-seconds", "log",
         {"step": "s", "message": "m", "fields": {"seconds": "abc"}}, 0, "MatMul"),
    Case("progress-of-no-time", "log",
         {"step": "s", "message": "m", "fields": {"time": "abc"}}, 0, "MatMul"),
    Case("progress-with-controls", "log",
         {"step": CONTROLS, "message": CONTROLS, "fields": {"variant": CONTROLS}}, 0, "MatMul"),
    Case("standard-error-with-controls", "standard-error",
         {"text": CONTROLS.encode().decode("latin-1") + "\n"}, 0, "MatMul"),
    Case("folders-deeper-than-any-path", "answer",
         told() | {"make": [["nest", 1200]]}, 0, "MatMul"),
]  # fmt: skip


def ran(work: Work, case: Case) -> Done:
    """Run the command while its child behaves so."""
    place = {"inspect": DESCRIBE, "compare": COMPARE}[case.command]
    plan = work.ground.plan(place, behaviour=case.behaviour, options=case.options)
    return work.ground.run(
        *("-m", "mopt_cli.main", case.command, str(work.model), "--verbose", *case.arguments),
        environ=work.ground.environ(plan) | {"TMPDIR": str(work.ground.work)},
    )


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c.name, marks=[through(c.why)] if c.why else []) for c in CASES],
)
def test_command_ends_in_words(ground: Ground, case: Case) -> None:
    done = ran(Work(ground), case)
    assert not done.hung
    assert "Traceback" not in done.err, done.err[-2000:]
    assert done.returncode == case.status, done.err[-2000:]
    assert case.words in done.out + done.err
    assert {c for c in done.out + done.err if unicodedata.category(c) in {"Cc", "Cf"}} <= {"\n"}
    assert SECRET not in done.out + done.err
    assert list(ground.work.iterdir()) == []
    assert ground.changed() == []
    assert ground.left() == []
