"""Where a fit's time goes, in seconds by phase."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Stopwatch:
    """A clock that adds up what phases take, by the wall.

    Parameters
    ----------
    before
        Seconds by phase that were taken before.

    Examples
    --------
    >>> phases = Stopwatch({"reading": 2.0})
    >>> with phases.timed("steps"):
    ...     pass
    >>> list(phases.seconds)
    ['reading', 'steps']
    """

    def __init__(self, before: Mapping[str, float] | None = None) -> None:
        self.seconds: dict[str, float] = dict(before or {})

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Count the time of the block to a phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started
