"""Listener: hears how a run goes. The command line and notebooks show it; elsewhere it is logged."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from corpuscle.core.errors import Problem
from corpuscle.study.plan import Run

if TYPE_CHECKING:
    from corpuscle.execution.results import Results


class Listener:
    """Hears how a run goes; this one says nothing."""

    def notice(self, what: str, share: float) -> None:
        """Hear what the preparation is doing, and which share of it is done."""

    def warned(self, warnings: Sequence[Problem]) -> None:
        """Hear what is legal and yet likely not meant."""

    def planned(self, n_steps: Mapping[Run, int], reused: int) -> None:
        """Hear which runs are to do, with their optimisation steps, and how many are there already."""

    def update(self, run: Run, share: float) -> None:
        """Hear which share of a run is done."""

    def failed(self, what: str, why: str) -> None:
        """Hear what could not be made, as soon as it is known."""

    def left(self, seconds: float) -> None:
        """Hear how long the rest takes, by what was done so far."""

    def finished(self, results: "Results") -> None:
        """Hear what the run left."""

    def said(self, text: str) -> None:
        """Hear something about the cluster that the study is done on."""
