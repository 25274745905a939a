"""Expression as models without a count likelihood see it: log1p of counts per 10,000 of the corpus' variable genes.

Genes that a cell's source did not measure have no counts, so they count as absent. Axes in names: N cells, B cells of
a block, G genes of the study, H variable genes.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.variable_genes import cp10k, gene_moments, most_variable
from corpuscle.model.model import Progress


def repeated(corpus: Corpus) -> Corpus:
    """Return a corpus in which a cell that counts several times in training stands as often."""
    times_N = corpus.cells["times"].to_numpy(np.int64)
    return corpus if (times_N == 1).all() else corpus.take(np.repeat(np.arange(len(corpus)), times_N))


def variable_genes(corpus: Corpus, n_genes: int, progress: Progress) -> NDArray[np.int64]:
    """Choose the corpus' most variable genes, as `most_variable` does.

    Parameters
    ----------
    corpus
        The corpus; it is read once.
    n_genes
        How many; where fewer genes vary, all that do.
    progress
        Called now and then with which share is done.

    Returns
    -------
    Positions of the genes, sorted, shape (H,).

    Raises
    ------
    ModelError
        When no gene varies over the corpus.
    """
    genes_H = most_variable(gene_moments(corpus, progress), n_genes) if len(corpus) else np.empty(0, np.int64)
    if not len(genes_H):
        raise ModelError(
            f"no gene varies over corpus {corpus.name!r} ({len(corpus)} cells, {corpus.n_genes} genes): "
            "there is nothing to fit a model to"
        )
    return genes_H


def scaled_blocks(cells: Corpus, genes_H: NDArray[np.int64]) -> Iterator[tuple[slice, csr_matrix]]:
    """Stream counts per 10,000 of some genes: yields the rows of the table and float32 of shape (B, H).

    A cell's 10,000 counts are over all genes of the study.
    """
    for rows, counts_BG in cells.blocks():
        yield rows, cp10k(counts_BG)[:, genes_H].astype(np.float32)


def check_genes(cells: Corpus, genes: tuple[str, ...]) -> None:
    """Refuse cells that are in another gene space than a model was fitted in.

    Raises
    ------
    ModelError
        When they are.
    """
    if cells.space.ids != genes:
        raise ModelError(
            f"corpus {cells.name!r} has other genes ({cells.n_genes}) than this model was fitted on ({len(genes)}); "
            "make it in the same gene space"
        )
