"""History: all trials that the stages of a search have made so far, and what follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from corpuscle.mixture import FittedMixture, Utility, fit
from corpuscle.mixture.fitting import SURROGATES
from corpuscle.mixture.surrogate import Array
from corpuscle.oracle.outputs import Output, trials_of
from corpuscle.oracle.stages import Stage, joined
from corpuscle.statistics.divergence import RUN, without_diverged


class _Left(NamedTuple):
    """What a stage left: its name, its runs, their scores, and how the fits were checked."""

    stage: str
    runs: pd.DataFrame
    scores: pd.DataFrame
    fits: pd.DataFrame


@dataclass
class History:
    """Scores, fits and mixtures of the stages that were run.

    Attributes
    ----------
    outputs
        What counts.
    combine
        What of the outputs counts: the weighted ``"mean"``, the ``"worst"``, or their front, ``"pareto"``.
    mixtures
        All mixtures that were trained on, by name.
    better
        Which way is better, by output, as far as there are scores.
    """

    outputs: Sequence[Output]
    combine: str = "mean"
    mixtures: pd.DataFrame = field(default_factory=pd.DataFrame)
    better: dict[str, str] = field(default_factory=dict)
    _left: list[_Left] = field(default_factory=list)
    _table: pd.DataFrame | None = None

    @property
    def utility(self) -> Utility:
        """What is to be high, of the outputs that have scores."""
        weights = {one.name: one.weight for one in self.outputs if one.name in self.better}
        return Utility(weights, worst=self.worst, pareto=self.combine == "pareto")

    @property
    def worst(self) -> bool:
        """Whether the worst output counts, rather than the weighted mean."""
        return self.combine == "worst"

    def add(self, stage: Stage, scores: pd.DataFrame, fits: pd.DataFrame) -> None:
        """Take in what a stage has left."""
        labels = [str(model["label"]) for model in stage.models]
        grid = list(product(map(str, stage.mixtures.index), labels, stage.seeds))
        tasks = {one.task for one in self.outputs}
        counted = scores[(scores["unit"] == "all") & scores["task"].isin(tasks)].reset_index(drop=True)
        self._left.append(_Left(stage.name, pd.DataFrame(grid, columns=RUN), counted, fits))
        self._table = None
        known = joined(self.mixtures, stage.mixtures)
        self.mixtures = known[~known.index.duplicated()]
        self.better |= trials_of(counted, self.outputs, self._left[-1].runs)[1]

    def trials(self, model: str | None = None, stages: Sequence[str] | None = None) -> pd.DataFrame:
        """Return trials of a model, of some stages; one that two stages have is there once.

        A fit that diverged is missing. Whether one did is judged with all seeds of its mixture, whatever their stage.
        """
        table = self._all
        kept = table["stage"].isin(stages) if stages is not None else table["stage"].notna()
        if model is not None:
            kept &= table["model"] == model
        return table[kept].drop_duplicates(["mixture", "model", "seed"]).reset_index(drop=True)

    @property
    def _all(self) -> pd.DataFrame:
        """All trials, once more for each stage that has them; found when a stage was added."""
        if self._table is None:
            columns = ["mixture", "model", "seed", *(one.name for one in self.outputs), "stage"]
            self._table = pd.concat(self._checked(), ignore_index=True) if self._left else pd.DataFrame(columns=columns)
        return self._table

    def _checked(self) -> list[pd.DataFrame]:
        """Return each stage's trials, those of diverged fits missing."""
        fits = pd.concat([left.fits for left in self._left], ignore_index=True).drop_duplicates(RUN)
        filled = [left.scores.assign(stage=left.stage) for left in self._left if len(left.scores)]
        scores = without_diverged(pd.concat(filled, ignore_index=True), fits) if filled else self._left[0].scores
        parts = []
        for left in self._left:
            here = scores[scores["stage"] == left.stage] if filled else scores
            parts.append(trials_of(here, self.outputs, left.runs)[0].assign(stage=left.stage))
        return parts

    def fitted(self, trials: pd.DataFrame) -> FittedMixture:
        """Fit surrogates to trials; see `corpuscle.mixture.fit`."""
        names = [one.name for one in self.outputs if one.name in self.better]
        weights = self.mixtures.loc[trials["mixture"]].reset_index(drop=True)
        better = {name: self.better[name] for name in names}
        return fit(weights, trials[names].reset_index(drop=True), better=better, surrogates=SURROGATES)

    def utilities(self, fitted: FittedMixture, trials: pd.DataFrame) -> Array:
        """Return the utility of each trial, in standard deviations over the mixtures that were learnt from."""
        return np.asarray(self.utility.of(fitted.table, trials[list(fitted.table.outputs)].to_numpy(float)))
