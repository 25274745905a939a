"""Logged: how a run goes, as messages of the logger `corpuscle`: a readable log of a batch job."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from corpuscle.core.errors import Problem
from corpuscle.core.text import shown
from corpuscle.execution.listener import Listener
from corpuscle.execution.tally import Tally
from corpuscle.study.plan import Run

if TYPE_CHECKING:
    from corpuscle.execution.results import Results

LOGGER = logging.getLogger("corpuscle")
# A long stage, or a long training, is heard of so often.
SECONDS = 60.0


class Logged(Listener):
    """Logs stages, each training's end, and failures and warnings as such; what comes often, once a minute.

    Parameters
    ----------
    clock
        Gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.what, self.logged_at = "", clock()
        self.tally = Tally({})

    def notice(self, what: str, share: float) -> None:
        """Log a stage when it begins, and how far it is once a minute."""
        if what != self.what:
            self.what = what
            self._log("%s", what)
        elif self._is_time():
            self._log("%s, %d %%", what, int(100 * share))

    def warned(self, warnings: Sequence[Problem]) -> None:
        """Log them as warnings."""
        for warning in warnings:
            LOGGER.warning("%s", shown(warning))

    def said(self, text: str) -> None:
        """Log it."""
        self._log("%s", text)

    def planned(self, n_steps: Mapping[Run, int], reused: int) -> None:
        """Log what is to do."""
        self.tally = Tally(n_steps)
        self._log("%d runs to do, %d there already", len(n_steps), reused)

    def update(self, run: Run, share: float) -> None:
        """Log a training that is done, and how far the whole is once a minute."""
        if self.tally.update(run, share):
            self._log("done: %s (%s)", run, self.tally)
        elif self._is_time():
            self._log("%s", self.tally)

    def failed(self, what: str, why: str) -> None:
        """Log it as an error."""
        LOGGER.error("failed: %s: %s", shown(what), shown(why))

    def left(self, seconds: float) -> None:
        """Note it for the next message."""
        self.tally.seconds_left = seconds

    def finished(self, results: "Results") -> None:
        """Log where the report is."""
        failed = f", {len(results.failures)} runs failed" if results.failures else ""
        self._log("%s scores%s; report: %s", f"{len(results.scores):,}", failed, results.report)

    def _is_time(self) -> bool:
        return self.clock() - self.logged_at >= SECONDS

    def _log(self, message: str, *values: object) -> None:
        self.logged_at = self.clock()
        LOGGER.info(message, *(value if isinstance(value, int) else shown(value) for value in values))


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Print what is logged, each line with its time, while the block lasts: Corpuscle's messages, others' warnings."""
    root, before = logging.getLogger(), LOGGER.level
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    root.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.setLevel(before)
        root.removeHandler(handler)
