"""Progress: what is being done, how far it is and how long the rest takes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as ProgressTask
from rich.text import Text

from corpuscle.core.errors import Problem
from corpuscle.execution.listener import Listener
from corpuscle.execution.logged import Logged, logging_to_stderr
from corpuscle.execution.tally import Tally
from corpuscle.study.plan import Run
from corpuscle.terminal.printing import escape, show_warnings


class Preparing:
    """What is being done, how far it is and how long it will take; shown while its `progress` is entered."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.percentage:>3.0f}%"))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        # Over minutes: how fast counts are read differs from stretch to stretch.
        self.progress = Progress(*columns, *times, console=console, transient=True, speed_estimate_period=120)
        self.task, self.what = self.progress.add_task("starting", total=1.0), "starting"

    def notice(self, what: str, share: float) -> None:
        """Show what is being done, and which share of it is."""
        if what != self.what:
            self.what = what
            self.progress.reset(self.task, total=1.0, description=escape(what))
        self.progress.update(self.task, completed=share)


class Running(Listener):
    """One bar for the whole study, with time left, and one for each model in training; see `Preparing`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        bar = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
        self.progress = Progress(TextColumn("{task.description}"), *bar, _Left(), console=console)
        self.whole = self.progress.add_task("preparing", total=None)
        self.share, self.stage_began = 0.0, time.monotonic()
        self.tally = Tally({})
        self.bars: dict[Run, TaskID] = {}

    def notice(self, what: str, share: float) -> None:
        """Show a step of the preparation."""
        if share <= self.share:
            # Another stage, which has a time of its own.
            self.stage_began = time.monotonic()
        self.share, passed = share, time.monotonic() - self.stage_began
        left = passed * (1 - share) / share if share else None
        self.progress.update(self.whole, description=escape(what), total=1.0, completed=share, left=left)

    def warned(self, warnings: Sequence[Problem]) -> None:
        """Show them above the bars."""
        show_warnings(self.console, warnings)

    def said(self, text: str) -> None:
        """Show it above the bars."""
        self.console.print(escape(text), soft_wrap=True)

    def planned(self, n_steps: Mapping[Run, int], reused: int) -> None:
        """Count what is to do."""
        self.tally = Tally(n_steps)
        if reused:
            self.console.print(f"{reused} of {len(n_steps) + reused} runs are there already")
        total = 1.0 if n_steps else None
        self.progress.reset(self.whole, total=total, description=f"{len(n_steps)} runs", left=None)

    def update(self, run: Run, share: float) -> None:
        """Move a run's bar, and the whole's."""
        if run not in self.bars:
            self.bars[run] = self.progress.add_task(escape(str(run)), total=1.0)
        self.tally.update(run, share)
        self.progress.update(self.bars[run], completed=share, visible=share < 1)
        self.progress.update(self.whole, completed=self.tally.share)

    def failed(self, what: str, why: str) -> None:
        """Show it above the bars."""
        self.console.print(f"[red]failed[/red] {escape(what)}: {escape(why)}", soft_wrap=True)

    def left(self, seconds: float) -> None:
        """Show how long the rest takes."""
        self.progress.update(self.whole, left=seconds)


@contextmanager
def listening(console: Console) -> Iterator[Listener]:
    """Give what shows a run: bars on a terminal; where output goes to a file, lines with their times."""
    if console.is_terminal:
        running = Running(console)
        with running.progress:
            yield running
    else:
        with logging_to_stderr():
            yield Logged()


class _Left(ProgressColumn):
    """How long the rest takes, where that is known."""

    def render(self, task: ProgressTask) -> Text:
        """Show it."""
        seconds = task.fields.get("left")
        if seconds is None or task.finished:
            return Text("")
        return Text(f"{timedelta(seconds=round(seconds))} left", style="progress.remaining")
