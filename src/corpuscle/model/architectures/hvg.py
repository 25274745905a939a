"""HVG, the plainest baseline: a cell is its expression of the corpus' most variable genes.

Axes in names: N cells, G genes of the study, H variable genes.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.checkpoint import LoadsSaved, Parts, Saved, SavedModel
from corpuscle.model.families.log_expression import check_genes, repeated, scaled_blocks, variable_genes
from corpuscle.model.model import Progress, WithoutSteps, no_history, silent


@component
class HVG(LoadsSaved, WithoutSteps):
    """log1p of counts per 10,000 of the corpus' most variable genes.

    They are chosen as scanpy's ``flavor="seurat"`` does, on the corpus and never on the target. A gene that a target's
    source did not measure counts as absent.

    Parameters
    ----------
    n_genes
        How many genes; where fewer vary over the corpus, all that do.

    Examples
    --------
    >>> HVG(n_genes=1000).n_steps(n_cells=5000)
    0
    """

    n_genes: Annotated[int, Field(gt=0)] = 2000

    @property
    def uses_seed(self) -> bool:
        """Return False: the corpus alone decides."""
        return False

    @property
    def fewest_cells(self) -> int:
        """Two: one has nothing that varies."""
        return 2

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> "FittedHVG":
        """Choose the genes; nothing depends on the seed.

        Raises
        ------
        ModelError
            When no gene varies over the corpus.
        """
        return FittedHVG(self, corpus.space.ids, variable_genes(repeated(corpus), self.n_genes, progress))

    def restored(self, saved: Saved) -> "FittedHVG":
        """Return the genes that were saved."""
        return FittedHVG(self, saved.genes, saved.arrays["genes_H"])


class FittedHVG(SavedModel):
    """Which genes a corpus' most variable ones are.

    Attributes
    ----------
    genes_H
        Positions of the variable genes, sorted.
    """

    def __init__(self, settings: HVG, genes: tuple[str, ...], genes_H: NDArray[np.int64]) -> None:
        self.settings, self.genes, self.genes_H, self.history = settings, genes, genes_H, no_history()

    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Return log1p counts per 10,000 of the variable genes, shape (N, H)."""
        check_genes(cells, self.genes)
        embedded_NH = np.empty((len(cells), len(self.genes_H)), np.float32)
        for rows, scaled_BH in scaled_blocks(cells, self.genes_H):
            embedded_NH[rows] = np.log1p(scaled_BH.toarray())
        return embedded_NH

    def parts(self) -> Parts:
        """Return the genes."""
        return {"genes_H": self.genes_H}, {}
