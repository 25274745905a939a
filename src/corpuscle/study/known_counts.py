"""Known counts: which models cannot read most of what corpora have, found before anything is trained."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import guarded
from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.tokenisers.gene_tokens import gene_totals
from corpuscle.source.genes import GeneSpace
from corpuscle.study.findings import Findings

# So many cells of a source say how its counts lie on genes: a share of counts is then known to about a hundredth.
MOST_CELLS = 1_000


def check_counts(
    findings: Findings, space: GeneSpace, pools: Mapping[str, Corpus], corpora: Mapping[tuple[str, int], Corpus]
) -> None:
    """Refuse models that cannot read most counts of a corpus; see `Model.check_counts`.

    What a corpus has is worked out from some cells of each of its sources, which are read once, if a model asks.
    """
    totals = _Totals(pools, {name: corpus for (name, _), corpus in corpora.items()})
    for at, model in enumerate(findings.study.models):
        place = f"models[{at}]"
        with findings.noting(place), guarded(model.model):
            try:
                model.model.check_counts(space, totals)
            except ModelError as error:
                findings.refuse(place, f"model {model.label!r}: {error}")


class _Totals:
    """The corpora, each with about how many counts it has of each gene."""

    def __init__(self, pools: Mapping[str, Corpus], corpora: Mapping[str, Corpus]) -> None:
        self._pools, self._corpora = pools, corpora
        self._means: dict[str, NDArray[np.float64]] = {}

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        for name, corpus in self._corpora.items():
            n_cells = corpus.cells["source"].value_counts()
            # Made cells are made of cells of their source.
            known = [source for source in corpus.sources if source in self._pools]
            if known:
                yield name, np.sum([n_cells[source] * self._mean(source) for source in known], axis=0)

    def _mean(self, source: str) -> NDArray[np.float64]:
        """Return a cell's mean counts of each gene, shape (G,)."""
        if source not in self._means:
            pool = self._pools[source]
            some = pool.take(np.unique(np.linspace(0, len(pool) - 1, min(len(pool), MOST_CELLS)).astype(np.int64)))
            self._means[source] = gene_totals(some) / max(1, len(some))
        return self._means[source]
