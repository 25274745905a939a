"""InNotebook: how a run goes, shown below a notebook's cell."""

import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from corpuscle.core.errors import Problem
from corpuscle.core.text import shown
from corpuscle.execution.listener import Listener
from corpuscle.execution.tally import Tally
from corpuscle.study.plan import Run

if TYPE_CHECKING:
    from corpuscle.execution.results import Results

# A notebook is sent no more than so many pictures a second.
PER_SECOND = 4.0
# Of warnings and failures, so many are shown: the folder has all.
MOST = 20


class InNotebook(Listener):
    """One bar for the whole, the trainings at work, and the warnings and failures so far.

    Parameters
    ----------
    show
        Shows HTML in place of what it showed before; by default below the notebook's cell.
    clock
        Gives seconds.
    """

    def __init__(self, show: Callable[[str], None] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.show, self.clock = show or _Below(), clock
        self.text, self.share = "opening the study", 0.0
        self.problems: list[str] = []
        self.tally, self.is_planned = Tally({}), False
        self.shown_at = float("-inf")

    def notice(self, what: str, share: float) -> None:
        """Show a stage of the preparation."""
        self.text, self.share = what, share
        self._draw()

    def warned(self, warnings: Sequence[Problem]) -> None:
        """Show them below the bar."""
        self.problems += [f"warning: {warning}" for warning in warnings]
        self._draw(at_once=True)

    def said(self, text: str) -> None:
        """Show it as the stage."""
        self.text = text
        self._draw(at_once=True)

    def planned(self, n_steps: Mapping[Run, int], reused: int) -> None:
        """Show what is to do."""
        self.tally, self.is_planned = Tally(n_steps), True
        self._draw(at_once=True)

    def update(self, run: Run, share: float) -> None:
        """Move the bar."""
        self.tally.update(run, share)
        self._draw()

    def failed(self, what: str, why: str) -> None:
        """Show it below the bar."""
        self.problems.append(f"failed: {what}: {why}")
        self._draw(at_once=True)

    def left(self, seconds: float) -> None:
        """Note it for the next picture."""
        self.tally.seconds_left = seconds

    def finished(self, results: "Results") -> None:
        """Show where the report is."""
        self.is_planned, self.share = False, 1.0
        self.text = f"{len(results.scores):,} scores; report: {results.report}"
        self._draw(at_once=True)

    def _draw(self, *, at_once: bool = False) -> None:
        now = self.clock()
        if not at_once and now - self.shown_at < 1 / PER_SECOND:
            return
        self.shown_at = now
        self.show(self._html())

    def _html(self) -> str:
        share = self.tally.share if self.is_planned else self.share
        lines = [str(self.tally) if self.is_planned else self.text]
        if self.is_planned:
            at_work = [run for run, done in self.tally.shares.items() if 0 < done < 1]
            lines += [f"{run}: {int(100 * self.tally.shares[run])} %" for run in at_work[:MOST]]
        lines += self.problems[:MOST]
        if len(self.problems) > MOST:
            lines.append(f"… and {len(self.problems) - MOST:,} more")
        bar = f'<progress max="1" value="{share:.3f}" style="width: 20em"></progress>'
        return f"<div>{bar} {'<br>'.join(escape(shown(line)) for line in lines)}</div>"


class _Below:
    """Shows HTML below the notebook's cell, in place of what it showed there before."""

    def __init__(self) -> None:
        self.handle: Any = None

    def __call__(self, html: str) -> None:
        """Show it."""
        from IPython.display import HTML, display

        if self.handle is None:
            self.handle = display(HTML(html), display_id=True)
        else:
            self.handle.update(HTML(html))
