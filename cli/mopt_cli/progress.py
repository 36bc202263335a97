"""What the stages' JSON lines tell, and how a terminal shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from .output import plain

Event = Mapping[str, Any]
OnEvent = Callable[[str, Event], None]


@dataclass
class Step:
    """One timed step of a stage.

    Attributes:
        words: What it does.
        seconds: None while it runs.
        detail: The newest thing said within it.
    """

    stage: str
    name: str
    words: str
    started: float
    seconds: float | None = None
    detail: str = ""


@dataclass
class Progress:
    """Everything told so far.

    Attributes:
        variants: The newest thing said of each.
        notes: What stages said between steps, such as being served from the store.
    """

    steps: list[Step] = field(default_factory=list)
    variants: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def update(self, stage: str, event: Event, now: float) -> str:
        """Take in one event and return it as a line of text.

        Args:
            stage: Which process said it.
            now: Seconds of a monotonic clock.
        """
        name, message = plain(str(event.get("step", ""))), plain(str(event.get("message", "")))
        running = self.running
        if running and name == running.name and "seconds" in event:
            running.seconds, running.detail = float(event["seconds"]), ""
            return f"{stage} {name}: {running.seconds:.1f} s"
        if running:
            running.detail = message
            if "variant" in event:
                variant = plain(str(event["variant"]))
                self.variants[variant] = message.removeprefix(variant).lstrip(": ")
        elif name in (stage, "failed"):
            self.notes.append(f"{stage}: {message}")
        else:
            self.steps.append(Step(stage, name, message, now))
        return f"{stage} {name}: {message}"

    @property
    def running(self) -> Step | None:
        """The step that has begun and not ended."""
        last = self.steps[-1] if self.steps else None
        return last if last and last.seconds is None else None

    def render(self, now: float) -> RenderableType:
        """Return what a terminal shows."""
        rows = Table.grid(padding=(0, 2))
        for step in self.steps:
            done = step.seconds is not None
            seconds = step.seconds if step.seconds is not None else now - step.started
            mark = Text("✓", style="green") if done else Spinner("dots")
            words = step.words if done or not step.detail else f"{step.words}: {step.detail}"
            rows.add_row(mark, step.stage, Text(words), f"{seconds:.1f} s")
        variants = Table.grid(padding=(0, 2))
        for name, words in self.variants.items():
            variants.add_row("", Text(name, style="bold"), Text(words))
        return Group(rows, variants, *map(Text, self.notes))


class _Shown:
    """Draws anew at each refresh, so that seconds go on between events."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich__(self) -> RenderableType:
        return self._progress.render(time.monotonic())


@contextmanager
def showing(console: Console) -> Iterator[OnEvent]:
    """Give what to call with each event: a live picture on a terminal, else one line each.

    Args:
        console: Of standard error. NO_COLOR asks for lines too.
    """
    progress = Progress()

    def line(stage: str, event: Event) -> None:
        text = progress.update(stage, event, time.monotonic())
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    def picture(stage: str, event: Event) -> None:
        progress.update(stage, event, time.monotonic())

    if not console.is_terminal or console.no_color:
        yield line
    else:
        with Live(_Shown(progress), console=console, refresh_per_second=8):
            yield picture
