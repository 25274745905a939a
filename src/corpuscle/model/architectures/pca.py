"""PCA, the baseline that is hard to beat: principal components of the corpus, on which new cells are placed.

Axes in names: N cells, G genes, K components.
"""

from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.principal_components import Axes
from corpuscle.model.checkpoint import LoadsSaved, Parts, Saved, SavedModel
from corpuscle.model.families.log_expression import check_genes
from corpuscle.model.families.principal_components import axes_of, coordinates, corpus_axes
from corpuscle.model.model import Progress, WithoutSteps, no_history, silent


@component
class PCA(LoadsSaved, WithoutSteps):
    """Principal components of the corpus' most variable genes.

    They are found on the corpus alone, out of core, of log1p counts per 10,000, which are centred but not scaled. The
    corpus' mean is kept: a new cell is centred by it, never by its own data set's. (The published study fitted its
    baseline on training and test cells together, and did not keep the mean of the one that it pre-trained.) A gene
    that a target's source did not measure counts as absent.

    Parameters
    ----------
    n_components
        How many components; fewer where the corpus has fewer cells or genes that vary.
    n_genes
        How many variable genes, chosen as `HVG` does.

    Examples
    --------
    >>> PCA(n_components=20).spec()
    {'name': 'pca', 'n_components': 20, 'n_genes': 2000}
    """

    n_components: Annotated[int, Field(gt=0, le=10_000)] = 50
    n_genes: Annotated[int, Field(gt=0)] = 2000

    @property
    def uses_seed(self) -> bool:
        """Return False: the corpus alone decides."""
        return False

    @property
    def fewest_cells(self) -> int:
        """Two: one has nothing that varies."""
        return 2

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> "FittedPCA":
        """Find the components; nothing depends on the seed.

        Raises
        ------
        ModelError
            When nothing varies over the corpus.
        """
        axes = corpus_axes(corpus, self.n_genes, self.n_components, progress)
        return FittedPCA(self, corpus.space.ids, axes)

    def restored(self, saved: Saved) -> "FittedPCA":
        """Return the components that were saved."""
        return FittedPCA(self, saved.genes, axes_of(saved.arrays))


class FittedPCA(SavedModel):
    """The principal components of a corpus.

    Attributes
    ----------
    axes
        The components.
    """

    def __init__(self, settings: PCA, genes: tuple[str, ...], axes: Axes) -> None:
        self.settings, self.genes, self.axes, self.history = settings, genes, axes, no_history()

    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Return the cells' coordinates, shape (N, K); a component's variance over the corpus falls with its number."""
        check_genes(cells, self.genes)
        return coordinates(cells, self.axes)

    def loadings(self) -> pd.DataFrame:
        """Return the components as genes × components, each of length 1; 0 for genes that are not variable."""
        loading_GK = np.zeros((len(self.genes), self.axes.axes_HK.shape[1]))
        loading_GK[self.axes.genes_H] = self.axes.axes_HK
        columns = [f"PC_{component}" for component in range(loading_GK.shape[1])]
        return pd.DataFrame(loading_GK, index=pd.Index(self.genes, name="gene"), columns=columns)

    def parts(self) -> Parts:
        """Return the components."""
        return self.axes._asdict(), {}
