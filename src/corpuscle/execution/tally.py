"""Tally: how far a run is, counted from what its listener hears."""

from collections.abc import Mapping
from datetime import timedelta

from corpuscle.study.plan import Run


class Tally:
    """Which share of a run's trainings is done, and how long the rest takes.

    Attributes
    ----------
    shares
        The share of each training that was heard of; 1: done.
    seconds_left
        How long the rest takes; None: not known.

    Examples
    --------
    >>> tally = Tally({Run("Blood", "pca", 0): 0, Run("Blood", "ldvae", 0): 300})
    >>> tally.update(Run("Blood", "pca", 0), 1.0), tally.update(Run("Blood", "ldvae", 0), 0.5)
    (True, False)
    >>> tally.seconds_left = 75
    >>> str(tally)
    '1 of 2 runs done, 50 %, about 0:01:15 left'
    """

    def __init__(self, n_steps: Mapping[Run, int]) -> None:
        self._steps = {run: max(1, n) for run, n in n_steps.items()}
        self.shares: dict[Run, float] = {}
        self.seconds_left: float | None = None

    def update(self, run: Run, share: float) -> bool:
        """Take note of which share of a training is done; return whether that is news of its end."""
        ended = share >= 1 > self.shares.get(run, 0.0)
        self.shares[run] = share
        return ended

    @property
    def n_done(self) -> int:
        """How many are done."""
        return sum(1 for share in self.shares.values() if share >= 1)

    @property
    def share(self) -> float:
        """Which share of all steps is done."""
        done = sum(self._steps.get(run, 1) * share for run, share in self.shares.items())
        return min(1.0, done / max(1, sum(self._steps.values())))

    def __str__(self) -> str:
        left = self.seconds_left
        rest = f", about {timedelta(seconds=round(left))} left" if left is not None and self.share < 1 else ""
        return f"{self.n_done:,} of {len(self._steps):,} runs done, {int(100 * self.share)} %{rest}"
