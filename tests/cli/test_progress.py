"""Progress from the stages' JSON lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mopt_api.log_lines import LogLine
from mopt_cli.progress import Progress, draws, showing


def test_steps_open_tell_details_and_close() -> None:
    progress = Progress()
    progress.update("prepare", LogLine(step="passes", message="optimizing"), 10.0)
    progress.update("prepare", LogLine(step="passes", message="fuse: Kept"), 11.0)
    assert progress.running is not None
    assert (progress.running.title, progress.running.detail) == ("optimizing", "fuse: Kept")
    progress.update("prepare", LogLine(step="passes", message="done", seconds=2.5), 12.5)
    assert progress.running is None
    (step,) = progress.steps
    assert (step.stage, step.name, step.seconds, step.detail) == ("prepare", "passes", 2.5, "")


def test_variants_show_the_newest_thing_said_of_them() -> None:
    progress = Progress()
    progress.update("measure", LogLine(step="trials", message="timing"), 0.0)
    for message in ("fp32 is open", "fp32: p50 3.1 ms at opt"):
        progress.update("measure", LogLine(step="x", message=message, variant="fp32"), 1.0)
    assert progress.variants == {"fp32": "p50 3.1 ms at opt"}


def test_what_is_said_between_steps_is_a_note() -> None:
    progress = Progress()
    event = LogLine(step="measure", message="served from the store")
    progress.update("measure", event, 0.0)
    assert progress.notes == ["measure: served from the store"]


def test_control_characters_of_a_model_are_shown() -> None:
    progress = Progress()
    line = progress.update("prepare", LogLine(step="load", message="\x1b[2J[red]node"), 0.0)
    assert line == "prepare load: \\x1b[2J[red]node"


def test_lines_where_there_is_no_terminal() -> None:
    text = io.StringIO()
    with showing(Console(file=text, width=20)) as on_event:
        on_event("prepare", LogLine(step="load", message="opening [a long] line of text"))
        on_event("prepare", LogLine(step="load", message="done", seconds=1.25))
    assert text.getvalue() == ("prepare load: opening [a long] line of text\nprepare load: 1.2 s\n")


def test_no_color_asks_for_lines_on_a_terminal_too() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, no_color=True, width=80)
    with showing(console) as on_event:
        on_event("prepare", LogLine(step="load", message="opening"))
    assert "\x1b[" not in text.getvalue()


def test_ci_asks_for_lines_on_a_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert not draws(Console(file=io.StringIO(), force_terminal=True))


def test_what_is_told_once_after_the_steps_is_a_note() -> None:
    progress = Progress("l4")
    for name in ("page", "measure"):
        progress.update("measure", LogLine(step=name, message=f"of {name}"), 0.0)
    assert progress.notes == ["measure l4: of page", "measure l4: of measure"]
    assert progress.running is None


def test_terminal_shows_steps_variants_and_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    with showing(console) as on_event:
        on_event("measure", LogLine(step="trials", message="timing"))
        on_event("measure", LogLine(step="x", message="fp32 is open", variant="fp32"))
        on_event("measure", LogLine(step="trials", message="done", seconds=7.0))
        on_event("measure", LogLine(step="measure", message="selected fp32"))
    shown = text.getvalue()
    assert all(words in shown for words in ("timing", "7.0 s", "is open", "selected fp32"))
