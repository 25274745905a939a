"""Advice on a candidate: what `advise` found: what a source that nobody has trained on would add."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from corpuscle.mixture.ranking import rank_correlation

# Chance of taking noise for a prediction of what sources add.
ALPHA = 0.05


@dataclass(frozen=True, repr=False)
class Advice:
    """What a candidate would add, and how well known sources were predicted the same way.

    Attributes
    ----------
    candidate
        Its name.
    folder
        Where everything is written.
    values
        A row per score: ``output``, ``value`` (how much better it is expected to be with the candidate; positive is
        good), ``low``, ``high`` (90 %), and ``chance``, the probability that it adds anything.
    known
        A row per known source and score: ``value``, what it adds to all others, its ``se``, and ``predicted``, ``low``
        and ``high`` as if nobody had trained on it.
    features
        What both were predicted from: how much nearer the corpus is to the target with the source.
    slopes
        How much a feature counts.
    summary
        Where the candidate was known by a table of means alone: from what both it and known sources were predicted.
    """

    candidate: str
    folder: Path
    values: pd.DataFrame
    known: pd.DataFrame
    features: pd.DataFrame
    slopes: "pd.Series[float]"
    summary: str = ""

    @property
    def check(self) -> dict[str, float]:
        """How well known sources were predicted.

        Returns
        -------
        ``correlation``, Spearman's, between what left-out sources add and what was predicted, each score in its own
        unit, and its chance ``p``; ``n_sure``, the values beyond two standard errors, and ``sign``, the share of these
        with the right sign; ``within``, the share of values in their intervals.
        """
        unit = self.known.groupby("output")["value"].transform(lambda one: np.sqrt((one**2).mean()) or 1.0)
        correlation, p = rank_correlation(
            (self.known["predicted"] / unit).to_numpy(float), (self.known["value"] / unit).to_numpy(float)
        )
        sure = self.known[self.known["value"].abs() > 2 * self.known["se"]]
        inside = (self.known["low"] <= self.known["value"]) & (self.known["value"] <= self.known["high"])
        return {
            "correlation": correlation, "p": p, "n_sure": float(len(sure)),
            "sign": float((np.sign(sure["predicted"]) == np.sign(sure["value"])).mean()) if len(sure) else np.nan,
            "within": float(inside.mean()),
        }  # fmt: skip

    @property
    def abstains(self) -> bool:
        """Whether known sources were not predicted better than by chance."""
        return not self.check["p"] <= ALPHA

    def sentence(self) -> str:
        """Say what to expect of the candidate, or why nothing can be said; and that it was a summary, if so."""
        return f"{self._expected()}{f' {self.summary}.' if self.summary else ''}"

    def _expected(self) -> str:
        if self.abstains:
            found = self.check["correlation"]
            shown = "no order" if np.isnan(found) else f"a rank correlation of {found:.2f}"
            return (
                f"No advice on {self.candidate}: what known sources add is predicted with {shown}, which is not beyond "
                "chance. Train with it and see."
            )
        better, worse = (self.values[self.values["low"] > 0], self.values[self.values["high"] < 0])
        parts = [f"{verb} {self._listed(rows)}" for verb, rows in (("better", better), ("worse", worse)) if len(rows)]
        rest = self.values[(self.values["low"] <= 0) & (self.values["high"] >= 0)]
        likely = rest[(rest["chance"] >= 0.8) | (rest["chance"] <= 0.2)]
        parts += [f"likely {'better' if up else 'worse'} {self._listed(rows)}"
                  for up, rows in ((True, likely[likely["chance"] > 0.5]), (False, likely[likely["chance"] < 0.5]))
                  if len(rows)]  # fmt: skip
        if len(open_ones := rest.drop(likely.index)):
            parts.append(f"not known of {self._listed(open_ones)}")
        return f"With {self.candidate}, expect: {'; '.join(parts)}."

    def _listed(self, rows: pd.DataFrame) -> str:
        return ", ".join(f"{row.output} ({row.value:+.3g})" for row in rows.head(6).itertuples())

    def __repr__(self) -> str:
        return f"Advice({self.sentence()})"
