"""Fits: what the page says of the trainings themselves: which had not converged, and which diverged."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from corpuscle.report import numbers
from corpuscle.statistics.convergence import convergence
from corpuscle.statistics.divergence import diverged


@dataclass(frozen=True)
class FlaggedRow:
    """The flagged runs of one corpus and model: which seeds, and why (of the first of them), in words."""

    corpus: str
    model: str
    seeds: str
    why: str


@dataclass(frozen=True)
class Fits:
    """What is known of a study's trainings.

    Attributes
    ----------
    trends
        See `convergence`; with the ``title`` of each quantity.
    checks
        See `diverged`.
    """

    trends: pd.DataFrame
    checks: pd.DataFrame

    @classmethod
    def of(cls, curves: pd.DataFrame, fits: pd.DataFrame) -> "Fits":
        """Judge the trainings of a run by their curves and by what was checked when they ended."""
        names = curves["quantity"].astype(str).str.replace(r"_(train|validation)$", "", regex=True)
        titles = dict(zip(names, curves["title"], strict=True))
        trends = convergence(curves)
        trends["title"] = [titles.get(name) or name.replace("_", " ") for name in trends["quantity"]]
        return cls(trends, diverged(fits))

    @property
    def unconverged(self) -> pd.DataFrame:
        """The runs that were still getting better."""
        return self.trends[~self.trends["converged"].astype(bool)]

    @property
    def strays(self) -> pd.DataFrame:
        """The runs that diverged."""
        return self.checks[self.checks["diverged"].astype(bool)]

    @property
    def sentences(self) -> list[str]:
        """What the section on training says in words."""
        found = []
        if len(self.trends):
            found.append(_of_trends(len(self.unconverged), len(self.trends)))
        if len(self.strays):
            share = f"{len(self.strays)} of {numbers.plural(len(self.checks), 'fit')}"
            found.append(f"{share} diverged: their scores are left out of all means, and counted as missing.")
        return found

    @property
    def rows(self) -> list[FlaggedRow]:
        """What the table of flagged runs shows."""
        return [*_rows(self.unconverged, _why_unconverged), *_rows(self.strays, lambda run: str(run["reason"]))]

    def remarks(self, models: Iterable[str]) -> list[str]:
        """Return what an answer about some models must say of their trainings; empty where nothing is flagged."""
        known, found = list(models), []
        late = self.unconverged["model"].isin(known).sum()
        if late:
            all_runs = numbers.plural(int(self.trends["model"].isin(known).sum()), "training")
            found.append(f"{late} of {all_runs} had not converged: more steps may change the answer (see Training).")
        strays = self.strays["model"].isin(known).sum()
        if strays:
            all_runs = numbers.plural(int(self.checks["model"].isin(known).sum()), "fit")
            found.append(f"{strays} of {all_runs} diverged and are left out (see Training).")
        return found


def _of_trends(late: int, total: int) -> str:
    rule = (
        "over the last fifth of the steps, what is minimised fell on held-out cells by more than seeds scatter, and by "
        "more than the noise of the curve explains"
    )
    trainings = numbers.plural(total, "training")
    if not late:
        return f"Of {trainings}, none is known to have ended too early: that would be where, {rule}."
    return (
        f"{late} of {trainings} had not converged: {rule}. With more steps their scores may change, and differences "
        "between corpora with them."
    )


def _why_unconverged(run: pd.Series) -> str:
    scatter = f"; seeds scatter by {numbers.number(run['scatter'])}" if run["scatter"] == run["scatter"] else ""
    fall, noise = numbers.number(run["fall"]), numbers.number(run["noise"])
    return f"not converged: {run['title']} fell by {fall} over the last fifth (noise {noise}{scatter})"


def _rows(flagged: pd.DataFrame, why: Callable[[pd.Series], str]) -> list[FlaggedRow]:
    """Make one row per corpus and model; what is said is of the first of its seeds."""
    return [
        FlaggedRow(str(corpus), str(model), ", ".join(map(str, here["seed"])), why(here.iloc[0]))
        for (corpus, model), here in flagged.groupby(["corpus", "model"], sort=False)
    ]
