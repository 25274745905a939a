"""Synthesize from bulk: draw cells around a bulk profile of each label, with the spread of single cells."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from corpuscle.core.components import component, legal_names
from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import drawn_key, row_generators
from corpuscle.corpus.alteration import MOST_MADE, Alteration, Altered, label_or_refuse, refuse_to_make, times_used
from corpuscle.corpus.alterations.synthesize_from_bulk.bulk_profiles import CellMoments, cell_moments, read_profiles
from corpuscle.corpus.alterations.synthesize_from_bulk.cell_distributions import (
    CorrelatedCounts,
    Law,
    TruncatedNormal,
    restored,
)
from corpuscle.corpus.alterations.synthesize_from_bulk.gaussian_copula import CorrelationFactors, Margins, find_factors
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.derived import Derived, from_rows, with_made
from corpuscle.corpus.named_labels import NamedLabels, named_labels


@component
class SynthesizeFromBulk(Alteration):
    """Draw synthetic cells of each label around its bulk profile.

    As published (``method = "gaussian"``): each gene is normal with the bulk's mean and the single cells' variance,
    drawn anew outside [0, max of the single cells], genes independent of each other. Nearly every gene is then above
    zero, and numbers are not whole. ``method = "counts"``: each gene is negative binomial with the bulk's mean and the
    single cells' dispersion, by moments (Poisson where they vary no more), and a Gaussian copula of a few factors keeps
    the correlations of the most expressed genes (at most 1,000); whole numbers.

    A bulk profile is scaled to the single cells' mean total: per label, over the genes that both have.

    Parameters
    ----------
    n_cells
        How many cells of each label.
    method
        ``"gaussian"`` or ``"counts"``.
    labels
        Which labels. None: all that the bulk has; of the corpus, where there is no bulk.
    by
        The label column.
    bulk
        A CSV or TSV of raw bulk counts, genes × labels, relative to the study file. None: each label's training cells,
        added up.
    spread
        Whose variance, dispersion, maximum and correlation: ``"label"``, the label's cells; ``"all"``, those of all
        labels together, which allows for labels that the corpus does not have.
    only
        Whether the corpus shall have the synthetic cells only.
    source
        Which source's cells are looked at, and whose genes are drawn; may be left out where the corpus has one.
    n_factors
        How many factors of ``method = "counts"``.

    Examples
    --------
    >>> SynthesizeFromBulk(n_cells=500, bulk="profiles.csv").method
    'gaussian'
    """

    n_cells: Annotated[int, Field(gt=0, le=MOST_MADE)]
    method: Literal["gaussian", "counts"] = "gaussian"
    labels: Annotated[list[str], Field(min_length=1)] | None = None
    by: str = "cell_type"
    bulk: str | None = None
    spread: Literal["label", "all"] = "label"
    only: bool = False
    source: str | None = None
    n_factors: Annotated[int, Field(gt=0, le=1000)] = 20

    @property
    def names_labels(self) -> tuple[NamedLabels, ...]:
        """The labels to draw; those of a bulk are called as it calls them."""
        return () if self.bulk else named_labels("labels", self.by, self.labels)

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Find what to draw from; see `Alteration.apply`."""
        source = self._source(corpus)
        cells = corpus.take((corpus.labels("source") == source) & (label_or_refuse(corpus, self.by, self) != ""))
        known = np.unique(cells.labels(self.by)).tolist()
        table = read_profiles(context.folder / self.bulk, corpus.space) if self.bulk is not None else None
        labels = self._labels(known, known if table is None else [str(name) for name in table.index])
        refuse_to_make(self.n_cells * len(labels), self)
        # Only cells that count are parents.
        if self.spread == "label":
            cells = cells.take(np.isin(cells.labels(self.by), labels))
        law = self._law(cells, labels, table, context)
        derived = _Synthetic(cells, law, np.repeat(np.arange(len(labels)), self.n_cells), drawn_key(rng))
        new = pd.DataFrame({"source": source, self.by: np.repeat(labels, self.n_cells)})
        kept = replace(corpus.take(np.zeros(len(corpus), bool)), makers={}) if self.only else corpus
        touched = [{"source": source, self.by: label, "made": self.n_cells} for label in labels]
        account: dict[str, Any] = {"touched": touched, "looked_at": int(times_used(cells).sum())}
        if table is not None:
            lacking = corpus.space.measured(source) & table.isna().all().to_numpy()
            account["genes_without_bulk"] = int(lacking.sum())
        return Altered(with_made(kept, derived, "synthesize_from_bulk", new), account)

    def _source(self, corpus: Corpus) -> str:
        if self.source is None and len(corpus.sources) == 1:
            return corpus.sources[0]
        if self.source is None or self.source not in corpus.sources:
            missing = "say which source's cells to look at" if self.source is None else f"no cell is of {self.source!r}"
            raise CorpusError(f"{self.name}: {missing}; {legal_names(self.source or '', corpus.sources)}")
        return self.source

    def _labels(self, known: list[str], offered: list[str]) -> list[str]:
        """Return the labels to draw; refuse those that have no profile, or no single cells where these are needed."""
        labels = list(dict.fromkeys(self.labels or offered))
        for label in labels:
            if label not in offered:
                raise CorpusError(f"{self.name}: there is no bulk profile of {label!r}; {legal_names(label, offered)}")
            if self.spread == "label" and label not in known:
                raise CorpusError(
                    f"{self.name}: the corpus has no cell of {self.by} {label!r}, whose variance is needed; "
                    f'{legal_names(label, known)}. Or take that of all cells, spread = "all"'
                )
        return labels

    def _law(self, cells: Corpus, labels: list[str], table: pd.DataFrame | None, context: Context) -> Law:
        names, label_N = np.unique(cells.labels(self.by), return_inverse=True)
        by_label, place = cell_moments(cells, label_N, len(names)), {name: at for at, name in enumerate(names.tolist())}
        if self.spread == "label":
            if few := [label for label in labels if by_label.n_R[place[label]] < 2]:
                raise CorpusError(f"{self.name}: {', '.join(few)} has one cell only, which has no variance")
            group_L, group_N, moments = np.array([place[label] for label in labels]), label_N, by_label
        else:
            group_L, group_N = np.zeros(len(labels), np.int64), np.zeros(len(cells), np.int64)
            moments = cell_moments(cells, group_N, 1)
        if table is None:
            mean_LG = by_label.mean_RG[[place[label] for label in labels]]
        else:
            mean_LG = self._scaled(table.loc[labels], moments.mean_RG[group_L])
        if self.method == "gaussian":
            return TruncatedNormal(mean_LG, np.sqrt(moments.variance_RG), moments.largest_RG, group_L)
        notice = context.notice
        size_RG, factors = _correlated(
            cells, group_N, moments, self.n_factors, lambda share: notice(f"{self.name}: finding correlations", share)
        )
        return CorrelatedCounts(mean_LG, size_RG, factors, group_L)

    def _scaled(self, table: pd.DataFrame, single_LG: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring bulk profiles to the single cells' mean total over the genes that the bulk has."""
        bulk_LG = table.to_numpy(np.float64)
        n_has, n_genes = int(np.isfinite(bulk_LG[0]).sum()), bulk_LG.shape[1]
        if 2 * n_has < n_genes:
            raise CorpusError(
                f"{self.name}: the bulk has {n_has:,} of the study's {n_genes:,} genes, fewer than half, and what it "
                "lacks would count as not expressed. Name genes as the study does, or list the bulk's under [genes]"
            )
        # Genes that no single cell has stay so: their spread is unknown, or the source did not measure them.
        has_LG = np.isfinite(bulk_LG) & (single_LG > 0)
        bulk_LG = np.where(has_LG, bulk_LG, 0)
        total_L = bulk_LG.sum(axis=1)
        if (total_L == 0).any():
            empty = table.index[total_L == 0].tolist()
            raise CorpusError(f"{self.name}: the bulk profile of {', '.join(map(str, empty))} has no counts")
        scaled_LG: NDArray[np.float64] = bulk_LG * (np.where(has_LG, single_LG, 0).sum(axis=1) / total_L)[:, None]
        return scaled_LG


def _correlated(
    cells: Corpus,
    group_N: NDArray[np.int64],
    moments: CellMoments,
    n_factors: int,
    progress: Callable[[float], None],
) -> tuple[NDArray[np.float64], list[CorrelationFactors]]:
    """Return each group's inverse dispersions, by moments, and the factors of its genes."""
    excess_RG = moments.variance_RG - moments.mean_RG
    size_RG = np.divide(moments.mean_RG**2, excess_RG, out=np.full(excess_RG.shape, np.inf), where=excess_RG > 0)
    factors = []
    for group, (mean_G, size_G) in enumerate(zip(moments.mean_RG, size_RG, strict=True)):
        here = cells.take(group_N == group)
        factors.append(find_factors(here, Margins(mean_G, size_G), mean_G, n_factors, progress))
    return size_RG, factors


class _Synthetic(Derived):
    """Cells drawn from the law of their label."""

    def __init__(self, parents: Corpus, law: Law, label_N: NDArray[np.int64], key: int) -> None:
        super().__init__(parents)
        self.law, self.label_N, self.key = law, label_N, key
        self._prepared: dict[int, Any] = {}

    @property
    def is_whole(self) -> bool:
        """Whether the law is of whole numbers."""
        return self.law.is_whole

    def counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Draw cells, one by one."""
        genes, counts = [], []
        for row, rng in zip(rows.tolist(), row_generators(self.key, rows.tolist()), strict=True):
            label = int(self.label_N[row])
            if label not in self._prepared:
                self._prepared[label] = self.law.prepare(label)
            drawn_G = self.law.draw(self._prepared[label], rng).astype(np.float32)
            genes.append(np.flatnonzero(drawn_G))
            counts.append(drawn_G[genes[-1]])
        return from_rows(genes, counts, self.parents.n_genes)

    def weights(self, rows: NDArray[np.int64]) -> csr_matrix:
        """All cells of a label contributed: none is named."""
        return csr_matrix((len(rows), len(self.parents)), dtype=np.float32)

    def state(self) -> dict[str, Any]:
        """Return the law (which the bulk's content is part of), the labels and the random key."""
        return {"law": [type(self.law).__name__, self.law.state()], "label_N": self.label_N, "key": self.key}

    @classmethod
    def restored(cls, parents: Corpus, state: dict[str, Any], context: Context) -> Self:
        """Return what had a state; see `Derived.restored`."""
        return cls(parents, restored(*state["law"]), state["label_N"], state["key"])
