"""A prepare Job whose child lies: it ends in a named reason or goes on, and stores nothing else."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import dataclass, field
from typing import Any

import pytest
from attacker import Plan

from mopt_api.enums import ModelFormat
from mopt_api.jobs.termination import PrepareSummary
from mopt_api.reasons import Reason

from .ground import DISK_BYTES, SECRET, Ground
from .known import through
from .stages import PREPARE, Work, changed

pytestmark = pytest.mark.hostile

FILE = "fp32/model.onnx"
MODEL = ["file", FILE, "any bytes"]
INT64 = 2**63 - 1


def honest() -> dict[str, Any]:
    """Return what a child could answer that exported the model."""
    verification = {"dimensions": {"batch": 1}, "maxAbsError": 0.0, "passed": True}
    exported = {
        "opset": 18,
        "parameters": 160,
        "file": FILE,
        "verifications": [verification],
        "passes": [],
        "operators": {"MatMul": 1},
        "seconds": 0.1,
    }
    return {"exported": exported, "quantized": [], "seconds": {"load": 0.1}}


@dataclass(frozen=True)
class Lie:
    """What the child changes of an honest answer, and makes in its folder.

    Attributes:
        changes: Fields by their paths; {outside} stands for the closed folder.
        goes_on: Whether the Job succeeds: what is claimed is of no weight; None is either.
        why: Why it is not held yet.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    make: list[list[Any]] = field(default_factory=lambda: [MODEL])
    goes_on: bool | None = False
    why: str = ""


LIES = [
    Lie("honest", goes_on=True),
    Lie("file-absolute", {"exported.file": "{outside}/secrets/token"}),
    Lie("file-above", {"exported.file": "../../../outside/secrets/token"}),
    Lie("file-of-two-slashes", {"exported.file": "/{outside}/secrets/token"}),
    Lie("file-environment-of-parent", {"exported.file": "//proc/{parent}/environ"}),
    Lie("file-own-environment", {"exported.file": "/proc/self/environ"}),
    Lie("file-nothing", {"exported.file": ""}),
    Lie("file-nul", {"exported.file": "fp32/model\0.onnx"}),
    Lie("file-too-long", {"exported.file": "x" * 100_000}),
    Lie("file-a-folder", {"exported.file": "fp32"}),
    Lie("file-not-there", {"exported.file": "fp32/other.onnx"}),
    Lie("file-two-names", make=[MODEL, ["second-name", FILE, "other"]]),
    Lie("weights-two-names", make=[MODEL, ["file", f"{FILE}.data", "x"],
                                   ["second-name", f"{FILE}.data", "other"]]),
    Lie("weights-a-folder", make=[MODEL, ["folder", f"{FILE}.data"]]),
    Lie(
        "file-larger-than-the-disk",
        make=[["sparse", FILE, 4 * DISK_BYTES]], goes_on=None),
    Lie(
        "folders-deeper-than-any-path",
        make=[MODEL, ["nest", 1200]], goes_on=None),
    Lie("parameters-below-zero", {"exported.parameters": -5}),
    Lie("parameters-of-400-digits", {"exported.parameters": 10**400}),
    Lie("opset-of-400-digits", {"exported.opset": 10**400}),
    Lie("seconds-no-number", {"exported.seconds": math.nan}),
    Lie("seconds-infinite", {"seconds": {"load": math.inf}}),
    Lie("error-no-number", {"exported.verifications": [
        {"dimensions": {}, "maxAbsError": math.nan, "passed": True}]}),
    Lie("operators-of-300-digits", {"exported.operators": {"MatMul": 10**300}}),
        Lie("exported-a-list", {"exported": []}),
    Lie("nothing-exported", {"exported": None}),
    Lie("steps-without-end", {"seconds": {f"s{n}": 1.0 for n in range(100_000)}}, goes_on=True),
    Lie("forms-nobody-asked-for",
        {"quantized": [{"name": f"n{n}", "file": FILE} for n in range(10_000)]}, goes_on=True),
]  # fmt: skip


def _params(lies: list[Lie]) -> list[Any]:
    return [
        pytest.param(lie, id=lie.name, marks=[through(lie.why)] if lie.why else []) for lie in lies
    ]


@pytest.fixture
def work(ground: Ground) -> Work:
    return Work(ground)


@pytest.mark.parametrize("lie", _params(LIES))
def test_a_lie_is_found_or_of_no_weight(work: Work, lie: Lie) -> None:
    outside = str(work.ground.outside)
    told = {
        path: value.replace("{outside}", outside) if isinstance(value, str) else value
        for path, value in lie.changes.items()
    }
    options = {"make": lie.make, "answer": changed(honest(), told)}
    ended = work.prepare(work.ground.plan(PREPARE, behaviour="answer", options=options))
    work.check_ended(ended)
    if not lie.goes_on and (lie.goes_on is False or ended.reason is not None):
        assert ended.reason is Reason.INVALID_MODEL
        assert ended.done.returncode == 65
        return
    assert isinstance(ended.summary, PrepareSummary)
    source = ended.summary.source
    assert (source.sha256, source.format) == (work.sha256, ModelFormat.ONNX)
    assert source.size_bytes == work.model.stat().st_size
    assert [made.name for made in work.manifest(ended.summary.result).artifacts] == ["fp32"]


@dataclass(frozen=True)
class End:
    """A behaviour, and what the termination message says."""

    name: str
    behaviour: str
    reason: Reason
    words: str
    options: dict[str, Any] = field(default_factory=dict)
    why: str = ""


ENDS = [
    End("ends", "gone", Reason.INVALID_MODEL, "ended with exit status 0"),
    End("killed", "killed", Reason.OUT_OF_MEMORY, "was ended by SIGKILL"),
    End("closes-everything", "closed", Reason.INVALID_MODEL, "closed its output without ending"),
    End("nonsense", "raw", Reason.INVALID_MODEL, "answered what is no answer", {"text": "x\n"}),
    End("endless", "raw", Reason.INVALID_MODEL, "answered what is no answer",
        {"text": "x" * 65536, "endless": True}),
    End("fills-the-disk", "disk", Reason.INVALID_MODEL, "wrote more than",
        {"how": "plain", "bytes": 3 * DISK_BYTES}),
    End("error-with-controls", "error", Reason.INVALID_MODEL, "red",
        {"kind": "ModelError", "reason": "InvalidModel", "message": "\x1b[31mred\n"}),
    End("error-of-the-stores", "error", Reason.INVALID_MODEL, "",
        {"kind": "StoreUnreachable", "reason": "StoreUnreachable", "message": "try again"}),
    End("standard-error", "standard-error", Reason.INVALID_MODEL, "",
        {"text": "\x1b[31m" * 4096 + "\n"}),
]  # fmt: skip


@pytest.mark.parametrize(
    "end",
    [pytest.param(e, id=e.name, marks=[through(e.why)] if e.why else []) for e in ENDS],
)
def test_an_end_has_a_name(work: Work, end: End) -> None:
    options = end.options
    if end.behaviour == "standard-error":
        # Honest after that: the file is no model.
        work.model.write_bytes(b"no model")
        work.ground.remember()
    ended = work.prepare(work.ground.plan(PREPARE, behaviour=end.behaviour, options=options))
    work.check_ended(ended)
    assert ended.reason is end.reason
    assert end.words in ended.done.err


def test_a_job_that_is_ended_leaves_nobody(work: Work) -> None:
    """SIGTERM, as from the kubelet, while the child does what it can to stay."""
    plan: Plan = work.ground.plan(PREPARE, behaviour="lasting")
    job = work.start_prepare(plan)
    try:
        work.wait_for("pid")
        os.kill(job.pid, signal.SIGTERM)
        out, err = job.communicate(timeout=120)
    finally:
        job.kill()
    assert job.returncode == 128 + signal.SIGTERM
    assert SECRET not in out + err
    assert work.ground.left() == []
    assert list(work.ground.work.iterdir()) == []
