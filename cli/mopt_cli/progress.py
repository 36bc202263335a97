"""The progress in the stages' log lines, and its display on a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mopt_api.log_lines import LogLine
from mopt_api.text import cleaned, one_line

from .output import Plain

OnEvent = Callable[[str, LogLine], None]

# Logged once, between steps, without an end. So are lines under the name of the stage.
_UNTIMED = frozenset({"failed", "page"})
# One for all: it turns with the time since it was first drawn.
_SPINNER = Spinner("dots")
_DONE = Text("✓", style="green")


@dataclass
class Step:
    """One timed step of a stage.

    Attributes:
        stage: Its stage and target.
        title: What it does.
        seconds: None while it runs.
        detail: The latest message within it.
    """

    stage: str
    name: str
    title: str
    started: float
    seconds: float | None = None
    detail: str = ""


@dataclass
class Progress:
    """The events so far of stages that run one after the other.

    Attributes:
        target: Their target; empty where there is only one.
        variants: The latest message about each.
        notes: Messages between steps, such as a result served from the store.
    """

    target: str = ""
    steps: list[Step] = field(default_factory=list)
    variants: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def update(self, stage: str, event: LogLine, now: float) -> str:
        """Take in one event and return it as a line of text.

        Args:
            stage: The process that logged it.
            now: Seconds, of the same clock as in render.
        """
        event = cleaned(event)
        name, message = event.step, event.message
        label = one_line(f"{stage} {self.target}")
        running = self.running
        if running and name == running.name and event.seconds is not None:
            running.seconds, running.detail = event.seconds, ""
            return f"{label} {name}: {running.seconds:.1f} s"
        if running:
            running.detail = message
            if event.variant is not None:
                self.variants[event.variant] = message.removeprefix(event.variant).lstrip(": ")
        elif name == stage or name in _UNTIMED:
            self.notes.append(f"{label}: {message}")
        else:
            self.steps.append(Step(label, name, message, now))
        return f"{label} {name}: {message}"

    @property
    def running(self) -> Step | None:
        """The step that has begun and not ended."""
        last = self.steps[-1] if self.steps else None
        return last if last and last.seconds is None else None

    def render(self, now: float) -> RenderableType:
        """Return what a terminal shows."""
        return picture([self], now)


def picture(stages: Iterable[Progress], now: float) -> RenderableType:
    """Return a display of work that runs side by side.

    Another thread may draw while an event is added: hence the copies.
    """
    rows, variants = Table.grid(padding=(0, 2)), Table.grid(padding=(0, 2))
    notes: list[str] = []
    for progress in list(stages):
        for step in list(progress.steps):
            seconds, detail = step.seconds, step.detail
            mark = _SPINNER if seconds is None else _DONE
            text = f"{step.title}: {detail}" if detail else step.title
            shown = max(0.0, now - step.started) if seconds is None else seconds
            rows.add_row(mark, Text(step.stage), Text(text), f"{shown:.1f} s")
        for name, message in list(progress.variants.items()):
            target = Text(one_line(progress.target))
            variants.add_row("", target, Text(name, style="bold"), Text(message))
        notes += progress.notes
    return Group(rows, variants, *map(Text, notes))


def draws(console: Console) -> bool:
    """Return whether a live display may be drawn; else lines are printed."""
    return (
        console.is_terminal
        and not console.is_dumb_terminal
        and not console.no_color
        and not os.environ.get("CI")
    )


class _Shown:
    """Draws again at each refresh, so that the seconds advance between events."""

    def __init__(self, render: Callable[[], RenderableType]) -> None:
        self._render = render

    def __rich__(self) -> RenderableType:
        return Plain(self._render())


def drawing(console: Console, render: Callable[[], RenderableType]) -> Live:
    """Return what keeps a live picture on a terminal, while it is entered.

    Args:
        render: Called in another thread.
    """
    return Live(_Shown(render), console=console, refresh_per_second=8)


def print_line(console: Console, text: str, *, dim: bool = False) -> None:
    """Print one line, see one_line; a live picture stays below it."""
    style = "dim" if dim else None
    console.print(one_line(text), markup=False, highlight=False, soft_wrap=True, style=style)


@contextmanager
def showing(console: Console) -> Iterator[OnEvent]:
    """Give what to call with each event: a live picture on a terminal, else one line each.

    Args:
        console: Of standard error. NO_COLOR and CI ask for lines too.
    """
    progress = Progress()

    def line(stage: str, event: LogLine) -> None:
        print_line(console, progress.update(stage, event, time.monotonic()))

    def update(stage: str, event: LogLine) -> None:
        progress.update(stage, event, time.monotonic())

    if not draws(console):
        yield line
    else:
        with drawing(console, lambda: progress.render(time.monotonic())):
            yield update
