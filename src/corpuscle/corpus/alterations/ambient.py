"""Ambient: a share of each cell's molecules is of the average profile, as of RNA that floats in the liquid."""

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import drawn_key, row_generators
from corpuscle.corpus.alteration import Alteration, Altered, batch_labels, counted, matching, times_used
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.derived import Derived, free_key, from_rows, picked


@component
class Ambient(Alteration):
    """Replace a share of each cell's molecules by molecules of the mean profile of its source and batch.

    Each molecule of a cell is kept with probability ``1 - share``; those that are lost are drawn anew from the profile
    of all cells of the corpus of that source and batch. Depths stay as they are, and counts whole.

    Parameters
    ----------
    share
        Which share of a cell's molecules is ambient, on average.
    where
        Only cells that match this filter are meant.
    batch
        The label column of batches.

    References
    ----------
    Young and Behjati 2020, GigaScience 9:giaa151 (SoupX): ambient RNA as a mixture with a batch's profile.

    Examples
    --------
    >>> str(Ambient(share=0.1))
    'ambient (share = 0.1, batch = batch)'
    """

    share: Annotated[float, Field(gt=0, lt=1)]
    where: str | None = None
    batch: str = "batch"

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Find the profiles; see `Alteration.apply`."""
        here_N = matching(corpus, self.where, self)
        if not corpus.is_whole:
            raise CorpusError("ambient: a step before made cells whose counts are no whole numbers; do this step first")
        groups = np.char.add(np.char.add(corpus.labels("source"), "\x1f"), batch_labels(corpus, self.batch, self))
        names, group_N = np.unique(groups, return_inverse=True)
        profile_PG = np.zeros((len(names), corpus.n_genes))
        times_N = times_used(corpus)
        for rows, counts_NG in corpus.blocks():
            at = np.arange(len(corpus))[rows]
            members = csr_matrix((times_N[at], (group_N[at], np.arange(len(at)))), shape=(len(names), len(at)))
            profile_PG += np.asarray((members @ counts_NG).todense())
            context.notice("ambient: finding profiles", (at[-1] + 1) / len(corpus))
        touched = corpus.take(here_N)
        derived = _Ambient(touched, self.share, drawn_key(rng), profile_PG.cumsum(axis=1), group_N[here_N])
        key = free_key(corpus, self.name)
        cells = corpus.cells.assign(made=corpus.labels("made").astype(object))
        cells.loc[here_N, "row"] = np.arange(len(touched))
        cells.loc[here_N, "made"] = key
        changed = replace(corpus, cells=cells, makers={**corpus.makers, key: derived})
        by_source = counted(times_N[here_N], touched.labels("source"))
        return Altered(changed, {"changed": int(times_N[here_N].sum()), "by_source": by_source})


class _Ambient(Derived):
    """Each parent, with some molecules of its group's profile in place of its own."""

    is_whole = True

    def __init__(
        self, parents: Corpus, share: float, key: int, sums_PG: NDArray[np.float64], group_N: NDArray[np.int64]
    ) -> None:
        super().__init__(parents)
        self.share, self.key, self.sums_PG, self.group_N = share, key, sums_PG, group_N

    def counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Thin the parents' counts, and fill up with molecules of the profile."""
        counts_NG = self.parents.counts(rows)
        genes, counts = [], []
        for at, rng in enumerate(row_generators(self.key, rows.tolist())):
            here = slice(counts_NG.indptr[at], counts_NG.indptr[at + 1])
            own = counts_NG.data[here].astype(np.int64)
            kept = rng.binomial(own, 1 - self.share)
            sums_G = self.sums_PG[self.group_N[rows[at]]]
            drawn = np.searchsorted(sums_G, rng.random(int(own.sum() - kept.sum())) * sums_G[-1], side="right")
            found, place = np.unique(np.concatenate([counts_NG.indices[here], drawn]), return_inverse=True)
            total = np.bincount(place, np.concatenate([kept, np.ones(len(drawn), np.int64)]), len(found))
            genes.append(found[total > 0].astype(np.int32))
            counts.append(total[total > 0])
        return from_rows(genes, counts, self.parents.n_genes)

    def weights(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Each is of one parent; what the profile adds is of all."""
        return picked(rows, len(self.parents))

    def state(self) -> dict[str, Any]:
        """Return the share, the random key, and the profiles, as running sums over genes."""
        return {"share": self.share, "key": self.key, "sums_PG": self.sums_PG, "group_N": self.group_N}
