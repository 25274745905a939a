"""Moment forecasting: how well a model trained on any mixture of AnnData sources would reconstruct a target.

Nothing is trained, and cells are read once. Axes in names: N mixtures, S sources, H variable genes, T cells.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray

from corpuscle.alone.cells import corpora_of
from corpuscle.core.components import legal_names
from corpuscle.core.errors import InputError
from corpuscle.core.randomness import generator
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import cp10k, gene_moments, most_variable
from corpuscle.measures.common_space import basis_of
from corpuscle.measures.mixed_moments import MixedMoments
from corpuscle.measures.summary import BLOCK_CELLS, Moments
from corpuscle.measures.view import MOST_PAIRED
from corpuscle.mixture.table import checked_weights


@dataclass(frozen=True, eq=False, repr=False)
class MomentForecast:
    """The moment proxy of any mixture of some sources; `corpuscle.moment_forecast` makes one.

    Attributes
    ----------
    moments
        What it depends on.
    """

    moments: MixedMoments

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that have weights, in the order of columns."""
        return self.moments.sources

    def predict(
        self, weights: pd.DataFrame | Mapping[str, float] | ArrayLike, *, normalise: bool = False
    ) -> pd.DataFrame:
        """Forecast mixtures.

        Parameters
        ----------
        weights
            A mixture a row, a source a column, which sum to 1 or to 100; a table by the sources' names, or an array in
            their order. Or one mixture: its weights by source, where what is not named has none.
        normalise
            Divide each row by its sum, whatever it is: for amounts, such as numbers of cells.

        Returns
        -------
        DataFrame
            Mixtures × targets: the mean R² (squared Pearson correlation over genes) of a target's cells with their
            reconstruction; 0 to 1, higher is better.

        Raises
        ------
        InputError
            When a row is no mixture of these sources.
        """
        frame = self._framed(weights)
        weights_NS, _ = checked_weights(frame, normalise=normalise)
        found = [self.moments.forecast(weights_S) for weights_S in weights_NS]
        return pd.DataFrame(found, frame.index, list(self.moments.targets), dtype=float)

    def _framed(self, weights: pd.DataFrame | Mapping[str, float] | ArrayLike) -> pd.DataFrame:
        names = list(self.sources)
        if isinstance(weights, Mapping):
            weights = pd.DataFrame([{**dict.fromkeys(names, 0.0), **weights}])
        if not isinstance(weights, pd.DataFrame):
            array = np.atleast_2d(np.asarray(weights))
            if array.ndim != 2 or array.shape[1] != len(names):
                raise InputError(
                    f"weights: expected a column for each of {len(names)} sources ({', '.join(names)}); got an array "
                    f"of shape {np.shape(weights)}"
                )
            return pd.DataFrame(array, columns=names)
        if not weights.columns.is_unique:
            raise InputError(f"weights: expected a column for each source; got two of one name among {list(weights)}")
        if wrong := [name for name in weights if name not in names]:
            raise InputError(f"weights: there is no source {wrong[0]!r}; {legal_names(str(wrong[0]), names)}")
        if lacking := [name for name in names if name not in weights]:
            raise InputError(f"weights: expected a column for each source; there is none for {lacking[0]!r}")
        return weights[names]

    def __repr__(self) -> str:
        return f"MomentForecast({', '.join(self.sources)} → {', '.join(self.moments.targets)})"


def moment_forecast(
    sources: Mapping[str, AnnData],
    targets: Mapping[str, AnnData],
    *,
    n_genes: int = 2000,
    n_latent: int = 10,
    layer: str | None = None,
) -> MomentForecast:
    """Find what the moment proxy of any mixture of sources depends on, in one pass over their cells.

    The proxy is the measure ``moment_proxy`` of a corpus that has the sources in these shares, all of their cells and
    as many times as the shares need. A linear model of K latents knows of its corpus the mean and the K directions of
    most variance; both follow from the sources' first and second moments.

    Parameters
    ----------
    sources
        Cells by name, with raw counts in ``X`` or `layer`; two or more. They may be backed: blocks of them are read.
    targets
        Cells to reconstruct, by name; of more than 5,000 so many are drawn.
    n_genes
        How many variable genes, of those that all have; chosen over cells drawn evenly from the sources.
    n_latent
        How many latents the model would have.
    layer
        As for `sample`.

    Raises
    ------
    InputError
        When there are fewer than two sources or no target, no raw counts, or too few genes that all have.

    Examples
    --------
    >>> import anndata, corpuscle
    >>> names = ("kang2018", "baron2016", "pbmc3k")
    >>> blood, islets, other = (anndata.read_h5ad(corpuscle.dataset_path(name)) for name in names)
    >>> found = corpuscle.moment_forecast({"blood": blood, "islets": islets}, {"new blood": other}, n_genes=300)
    >>> found.predict([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]).round(2)["new blood"].tolist()
    [0.53, 0.47, 0.27]
    """
    if len(sources) < 2 or not targets:
        raise InputError(
            f"expected two sources or more, and a target; got {len(sources)} of the first and {len(targets)} of the "
            "second"
        )
    named = {f"source {name}": cells for name, cells in sources.items()}
    named |= {f"target {name}": cells for name, cells in targets.items()}
    found = corpora_of(named, layer=layer, labels=None)
    readers = {name: reader for one in found.values() for name, reader in one.readers.items()}
    found = {name: replace(one, readers=readers) for name, one in found.items()}
    pools = {name: found[f"source {name}"] for name in sources}
    common = basis_of({f"source {name}": pool for name, pool in pools.items()})
    genes_H = common.genes_C[most_variable(gene_moments(common.cells), n_genes)]
    moments = {name: _moments(pool, genes_H) for name, pool in pools.items()}
    logs = {name: np.concatenate([*_blocks(_some(name, found[f"target {name}"]), genes_H)]) for name in targets}
    return MomentForecast(MixedMoments(moments, logs, n_latent))


def _some(name: str, cells: Corpus) -> Corpus:
    """Return a target's cells, as many as a study would compare with."""
    if len(cells) <= MOST_PAIRED:
        return cells
    drawn = generator(0, "measure", "target", name).choice(len(cells), MOST_PAIRED, replace=False)
    return cells.take(np.sort(drawn))


def _blocks(cells: Corpus, genes_H: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """Yield log1p of counts per 10,000 in some genes, dense, a block of cells at a time."""
    for _, counts_BG in cells.blocks(BLOCK_CELLS):
        yield np.log1p(cp10k(counts_BG)[:, genes_H].astype(np.float32).toarray())


def _moments(cells: Corpus, genes_H: NDArray[np.int64]) -> Moments:
    total_H, second_HH = np.zeros(len(genes_H)), np.zeros((len(genes_H),) * 2)
    for log_BH in _blocks(cells, genes_H):
        total_H += log_BH.sum(axis=0, dtype=np.float64)
        second_HH += log_BH.T @ log_BH
    return Moments(total_H / len(cells), second_HH / len(cells))
