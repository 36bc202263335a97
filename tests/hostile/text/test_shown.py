"""One hostile text in every field of every model that is shown: none does anything."""

from __future__ import annotations

import io
import json
import logging
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hostile_text import HOSTILE, filled, shows_only, texts
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType
from rich.text import Text

from mopt_api.enums import ObjectiveMetric
from mopt_api.jobs.crops import Crops
from mopt_api.jobs.measure_result import (
    BASELINE,
    LATENCY_QUANTILES,
    MeasureResult,
    PointResult,
    SearchEntry,
    VariantResult,
)
from mopt_api.jobs.plan import MeasurePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.jobs.termination import MeasureSummary
from mopt_api.log_lines import LogLine
from mopt_api.objective import Constraint, Objective
from mopt_api.reasons import MAX_MESSAGE, Reason
from mopt_api.status import ModelOptimizationStatus, Report, TargetStatus
from mopt_api.text import cleaned, one_line, plain
from mopt_api.verdict import RunnerUp, Verdict
from mopt_cli import main as cli_main
from mopt_cli import output, progress
from mopt_cli._errors import CliError, work_failed
from mopt_cli.commands.inspect import _shown as described
from mopt_cli.engines import shown as engine_shown
from mopt_cli.following import Following, LogSaid, PodsSeen, ResourceSeen, Troubled
from mopt_cli.output import Format, emit, note
from mopt_cli.table import place, render, render_target, verdict
from mopt_operator.config.logs import JsonFormatter, TextFormatter
from mopt_optimizer.errors import DataError, ModelError, OptimizerError, StoreUnreachable
from mopt_optimizer.formats.base import ModelDescription
from mopt_optimizer.runtimes.tensorrt.inspecting import EngineInspection
from mopt_optimizer.sandbox import report_of
from mopt_optimizer.stages.report.page.page import render_page

FORGED = "Ready=True Optimized: forged"


def nothing_forged(shown: str) -> bool:
    """Tell whether a text shows only, and no line of it is what the hostile text wants."""
    lines = shown.split("\n")
    return shows_only(shown, lines=True) and not any(line.startswith(FORGED) for line in lines)


def test_the_text_is_hostile() -> None:
    assert not nothing_forged(HOSTILE)
    assert any(line.startswith(FORGED) for line in HOSTILE.split("\n"))


def test_half_a_character_is_shown_as_its_escape() -> None:
    assert plain("a\ud800b") == "a\\ud800b"


@given(st.text(alphabet=st.characters()))
def test_plain_text_shows_and_stays(text: str) -> None:
    shown = plain(text)
    assert all(c.isprintable() or unicodedata.category(c) == "Zs" for c in shown)
    if text.isprintable():
        assert shown == text
    assert len(one_line(text).splitlines()) <= 1
    assert len(one_line(text, 10)) <= 10


MODELS = [
    ModelOptimizationStatus,
    MeasureResult,
    PrepareResult,
    MeasureSummary,
    ModelDescription,
    EngineInspection,
    LogLine,
    MeasurePlan,
]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("longer", [True, False])
def test_every_text_of_a_model_is_cleaned(kind: type[Any], longer: bool) -> None:
    hostile = filled(kind)
    before, after = list(texts(hostile)), list(texts(cleaned(hostile, longer=longer)))
    assert sum(HOSTILE in text for text in before) > 1
    assert len(before) == len(after)
    assert all(map(shows_only, after))
    if not longer:
        assert all(len(a) <= len(b) for a, b in zip(after, before, strict=True))


def test_clean_model_is_the_same_object() -> None:
    clean = filled(ModelOptimizationStatus, "a text")
    assert cleaned(clean) is clean


STATUS = filled(ModelOptimizationStatus)
RESULT = filled(MeasureResult)
TABLES: dict[str, Callable[[], RenderableType]] = {
    "mopt table": lambda: render({"status": legal(STATUS)}),
    "a target": lambda: render_target(filled(TargetStatus), [filled(SearchEntry)]),
    "a verdict": lambda: Text(verdict(RESULT)),
    "a place": lambda: place("result", HOSTILE),
    "a model": lambda: described(filled(ModelDescription)),
    "an engine": lambda: engine_shown(filled(EngineInspection)),
    "a text that nobody cleaned": lambda: Text(HOSTILE.replace("\n", "")),
    "markup that nobody cleaned": lambda: HOSTILE.replace("\n", ""),
}


def legal(status: ModelOptimizationStatus) -> dict[str, Any]:
    """Return a status that the API server would store, its texts as hostile as bounds let them."""
    target = filled(TargetStatus)
    condition = status.conditions[0]
    kept = {
        "conditions": [
            condition.model_copy(
                update={"type": HOSTILE[:40], "status": "True", "reason": HOSTILE[:64]}
            ),
        ],
        "targets": [
            target.model_copy(
                update={
                    "name": HOSTILE[-40:],
                    "point": HOSTILE[:40],
                    "reference": HOSTILE[:16],
                    "selected": HOSTILE[:40],
                    "warnings": [HOSTILE[:40], HOSTILE[-40:]],
                    "report": Report(digest="", uri="s3://" + HOSTILE, page="s3://" + HOSTILE),
                    "hardware": target.hardware.model_copy(
                        update={"architecture": None, "gpu": None, "cpu_features": []}
                    ),
                    "artifact": None,
                    "published": None,
                    "source": None,
                    "measured_at": None,
                    "baseline": None,
                    "variants": [],
                    "measurement": None,
                    "verification": None,
                    "verdict": Verdict(
                        winner=HOSTILE[:40],
                        stopped=HOSTILE[:16],
                        metric=HOSTILE[:32],
                        ties=[HOSTILE[:40]],
                        undecided=[HOSTILE[-40:]],
                        runner_up=RunnerUp(name=HOSTILE[-40:], ratio=2, interval=[1, 3]),
                    ),
                    "data": None,
                }
            )
        ],
    }
    return ModelOptimizationStatus().model_copy(update=kept).to_api()


@pytest.mark.parametrize("name", TABLES)
def test_no_table_does_more_than_show(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_PIPED_WIDTH", 100_000)
    emit({}, TABLES[name](), Format.TABLE)
    shown = capsys.readouterr().out
    assert "owned" in shown
    assert nothing_forged(shown)


@pytest.mark.parametrize("form", [Format.JSON, Format.YAML])
def test_data_is_shown_as_ascii_and_reads_as_it_was(
    form: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"text": HOSTILE, HOSTILE: ["é", HOSTILE]}
    emit(data, "", form)
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert nothing_forged(shown)
    assert (json.loads if form is Format.JSON else yaml.safe_load)(shown) == data


def test_notes_and_errors_are_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    note(HOSTILE)

    def fail() -> None:
        raise work_failed(report_of(ModelError(HOSTILE)))

    monkeypatch.setattr(cli_main, "app", fail)
    assert cli_main.run() == 1

    def refuse() -> None:
        raise CliError(HOSTILE)

    monkeypatch.setattr(cli_main, "app", refuse)
    assert cli_main.run() == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 3
    assert nothing_forged(shown)


def drawn(shown: RenderableType) -> str:
    text = io.StringIO()
    Console(file=text, width=100_000, force_terminal=True, color_system=None).print(
        progress._Shown(lambda: shown)
    )
    return text.getvalue()


def test_progress_of_a_job_only_shows() -> None:
    found, printed = progress.Progress(HOSTILE), io.StringIO()
    for event in (
        filled(LogLine).model_copy(update={"seconds": None}),
        filled(LogLine),
        LogLine(step="page", message=HOSTILE),
        LogLine(step=HOSTILE, message=HOSTILE, variant=HOSTILE),
    ):
        line = found.update(HOSTILE, event, 1.0)
        progress.print_line(Console(file=printed, width=80), line)
    assert len(printed.getvalue().splitlines()) == 4
    assert nothing_forged(printed.getvalue())
    assert nothing_forged(drawn(found.render(2.0)))


def test_watching_only_shows() -> None:
    uid = "uid-1"
    resource = {
        "metadata": {"uid": uid, "generation": 1, "name": "m"},
        "status": {
            "observedGeneration": 1,
            "conditions": [
                {"type": "Ready", "status": "False", "reason": HOSTILE, "message": HOSTILE}
            ],
        },
    }
    waiting = {"reason": HOSTILE, "message": HOSTILE}
    pods = [
        {
            "metadata": {
                "uid": f"pod-{number}",
                "name": HOSTILE,
                "creationTimestamp": "2026-11-01T00:00:00Z",
                "labels": {
                    "mopt.dev/uid": uid,
                    "mopt.dev/stage": f"{HOSTILE}{number}",
                    "mopt.dev/target": HOSTILE,
                },
            },
            "status": {
                "phase": "Pending",
                "containerStatuses": [{"name": "optimizer", "state": {state: waiting}}],
            },
        }
        for number, state in enumerate(("waiting", "running"))
    ]
    following, printed = Following("m"), io.StringIO()
    lines = [
        line
        for event in (
            ResourceSeen(resource),
            PodsSeen(pods),
            LogSaid("pod-1", 1, f"library: {HOSTILE}"),
            LogSaid("pod-1", 2, json.dumps({"step": HOSTILE, "message": HOSTILE})),
            Troubled(HOSTILE, HOSTILE),
        )
        for line in following.update(event)
    ]
    for line in lines:
        progress.print_line(Console(file=printed, width=80), line.text)
    assert len(printed.getvalue().splitlines()) == len(lines) == 6
    assert nothing_forged(printed.getvalue())
    assert nothing_forged(drawn(following.render(2.0)))


ERRORS = [
    OptimizerError(HOSTILE),
    DataError(HOSTILE * 100),
    StoreUnreachable(HOSTILE),
    ValueError(HOSTILE),
    OSError(28, HOSTILE),
    MemoryError(HOSTILE),
    KeyError(HOSTILE),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, HOSTILE),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_is_reported_in_clean_words(error: BaseException) -> None:
    report = report_of(error)
    assert shows_only(report.message)
    assert 0 < len(report.message) <= MAX_MESSAGE
    assert report.reason in Reason


def test_operator_s_log_lines_are_lines() -> None:
    error = ValueError(HOSTILE)
    fault = (type(error), error, None)
    record = logging.LogRecord("mopt", logging.ERROR, __file__, 1, "%s", (HOSTILE,), fault)
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == HOSTILE
    first, *others = TextFormatter().format(record).splitlines()
    assert nothing_forged(first)
    # Of the exception, which is many lines anyway.
    assert all(map(shows_only, others))


def test_page_only_shows() -> None:
    every = range(LATENCY_QUANTILES)
    point = filled(PointResult).model_copy(update={"quantiles_ms": [1.0 + n for n in every]})
    variant = filled(VariantResult).model_copy(update={"points": [point]})
    result = RESULT.model_copy(
        update={"selected": BASELINE, "baseline": variant, "variants": [variant]}
    )
    # What no pattern admits is no bound.
    bound = Constraint(metric=ObjectiveMetric.LATENCY_P99, maximum="50ms")
    objective = filled(Objective).model_copy(update={"constraints": [bound]})
    page = render_page(
        result,
        filled(MeasurePlan).model_copy(update={"objective": objective}),
        digest="sha256:" + "0" * 64,
        manifest=filled(PrepareResult),
        crops=filled(Crops),
    )
    assert "owned" in page
    assert shows_only(page.replace("\t", " "), lines=True)
