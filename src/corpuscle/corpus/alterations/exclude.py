"""Exclude: leave out all cells that match a filter."""

import numpy as np

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.alteration import Alteration, Altered, counted, matching, times_used
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.source import cell_filter as where_expression


@component
class Exclude(Alteration):
    """Leave out the cells that match a filter, after the corpus was drawn: it gets smaller.

    A corpus' own ``exclude`` leaves cells out before its parts are drawn, so that it keeps its size.

    Parameters
    ----------
    where
        Which cells: a filter on labels. Every source of the corpus must have the columns that it uses.

    Examples
    --------
    >>> str(Exclude(where="cell_type == 'B'"))
    "exclude (where = cell_type == 'B')"
    """

    where: str

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Leave them out; see `Alteration.apply`."""
        gone_N = matching(corpus, self.where, self)
        for column in sorted(where_expression.columns(self.where)):
            for at, source in enumerate(corpus.sources):
                if (corpus.labels(column)[corpus.source_codes == at] == "").all():
                    raise CorpusError(
                        f"exclude: where uses {column}, which source {source!r} does not have: whether its cells are "
                        "meant cannot be known; label the source"
                    )
        times_N = times_used(corpus)[gone_N]
        left_out = {"left_out": int(times_N.sum()), "by_source": counted(times_N, corpus.labels("source")[gone_N])}
        return Altered(corpus.take(~gone_N), left_out)
