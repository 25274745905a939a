"""Rank match: whether a model ranks genes as a target's cells do."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from scipy.stats import spearmanr

from corpuscle.core.components import component
from corpuscle.core.errors import ModelError
from corpuscle.core.scores import Metric, Score
from corpuscle.corpus.corpus import Corpus
from corpuscle.evaluation.task import Task, units
from corpuscle.model.model import FittedModel, Reconstructs

MATCH = Metric(
    "rank_match",
    "Match of gene ranks",
    "Spearman correlation of expected and counted mean expression.",
    "higher",
    "correlation",
)


@component
class RankMatch(Task):
    """Correlate the ranks of genes by what a model expects with those by what was counted."""

    needs: ClassVar[type] = Reconstructs
    ability: ClassVar[str] = "reconstruct counts"
    metrics: ClassVar[tuple[Metric, ...]] = (MATCH,)

    def run(self, model: FittedModel, train: Corpus, target: Corpus, rng: np.random.Generator) -> Iterator[Score]:
        """Compare ranks over all cells, and in each donor; see `Task.run`."""
        if not isinstance(model, Reconstructs):
            raise ModelError(self.refusal)
        expected_NG = np.concatenate([share_NG for _, share_NG in model.expected_fractions(target)])
        counts_NG = target.counts()
        for unit, mask_N in units(target).items():
            counted_G = np.asarray(counts_NG[np.flatnonzero(mask_N)].sum(axis=0)).ravel()
            found = spearmanr(expected_NG[mask_N].mean(axis=0), counted_G).statistic
            yield MATCH.score(unit, float(found), int(mask_N.sum()))
