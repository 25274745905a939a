"""Thin: keep each molecule with a probability, as if cells had been sequenced less deeply."""

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import drawn_key
from corpuscle.corpus.alteration import Alteration, Altered, counted, matching, times_used
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.derived import Derived, free_key, picked, thinned


@component
class Thin(Alteration):
    """Thin counts binomially: each count becomes a draw from ``Binomial(count, keep)``. They stay whole numbers.

    A cell that is used several times is the same thinned cell each time.

    Parameters
    ----------
    keep
        With which probability each molecule is kept.
    where
        Only cells that match this filter are meant.

    Examples
    --------
    >>> str(Thin(keep=0.25))
    'thin (keep = 0.25)'
    """

    keep: Annotated[float, Field(gt=0, lt=1)]
    where: str | None = None

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Thin them; see `Alteration.apply`."""
        here_N = matching(corpus, self.where, self)
        touched = corpus.take(here_N)
        if not touched.is_whole:
            raise CorpusError("thin: a step before made cells whose counts are no whole numbers; thin before that step")
        derived, key = _Thinned(touched, self.keep, drawn_key(rng)), free_key(corpus, "thin")
        cells = corpus.cells.assign(made=corpus.labels("made").astype(object))
        cells.loc[here_N, "row"] = np.arange(len(touched))
        cells.loc[here_N, "made"] = key
        changed = replace(corpus, cells=cells, makers={**corpus.makers, key: derived})
        times_N = times_used(corpus)[here_N]
        by_source = counted(times_N, touched.labels("source"))
        return Altered(changed, {"thinned": int(times_N.sum()), "by_source": by_source})


class _Thinned(Derived):
    """A thinned cell for each parent."""

    is_whole = True

    def __init__(self, parents: Corpus, keep: float, key: int) -> None:
        super().__init__(parents)
        self.keep, self.key = keep, key

    def counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Thin some parents' counts."""
        counts_NG = self.parents.counts(rows)
        return thinned(counts_NG, self.keep, self.key, rows)

    def weights(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Each is of one parent."""
        return picked(rows, len(self.parents))

    def state(self) -> dict[str, Any]:
        """Return the share and the random key."""
        return {"keep": self.keep, "key": self.key}
