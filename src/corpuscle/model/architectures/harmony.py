"""Harmony: principal components of the corpus, in which the batches of the cells to embed are brought together.

Korsunsky et al. 2019, doi 10.1038/s41592-019-0619-0, as the package harmonypy has it (extra ``harmony``).
Axes in names: N cells, G genes, K components.
"""

from importlib.util import find_spec
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from corpuscle.core.components import component
from corpuscle.core.randomness import generator
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.principal_components import Axes
from corpuscle.model.checkpoint import LoadsSaved, Parts, Saved, SavedModel
from corpuscle.model.families.log_expression import check_genes
from corpuscle.model.families.principal_components import axes_of, coordinates, corpus_axes
from corpuscle.model.model import Progress, WithoutSteps, no_history, silent

# harmonypy's own rule: a cluster for each 30 cells, at most 100. It forgets that there must be one.
CELLS_PER_CLUSTER, MOST_CLUSTERS = 30, 100


@component
class Harmony(LoadsSaved, WithoutSteps):
    """Harmony on the corpus' principal components.

    Harmony has no map for new cells: it moves the cells that it is given, together. So what is learned of the corpus
    are the components, and Harmony is run anew on each set of cells that is embedded. A cell's embedding depends on
    which others are embedded with it, but not on their order. Cells of one batch keep their coordinates, as `PCA`
    gives them. A gene that a target's source did not measure counts as absent.

    Parameters
    ----------
    by
        The column with the batches to bring together: ``"batch"``, or another such as ``"donor"``. Cells without a
        label are a batch of their own.
    theta
        How strongly clusters are made to mix batches; 0: not at all.
    n_components, n_genes
        As those of `PCA`.

    Examples
    --------
    >>> Harmony(by="donor").name
    'harmony'
    """

    by: Annotated[str, Field(min_length=1)] = "batch"
    theta: Annotated[float, Field(ge=0, le=1e6)] = 2.0
    n_components: Annotated[int, Field(gt=0, le=10_000)] = 50
    n_genes: Annotated[int, Field(gt=0)] = 2000

    @model_validator(mode="after")
    def _is_installed(self) -> Self:
        if find_spec("harmonypy") is None:
            raise ValueError('harmony needs the package harmonypy: pip install "corpuscle[harmony]"')
        return self

    @property
    def fewest_cells(self) -> int:
        """Two: one has nothing that varies."""
        return 2

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> "FittedHarmony":
        """Find the corpus' components; the seed is for Harmony's clusters.

        Raises
        ------
        ModelError
            When nothing varies over the corpus.
        """
        axes = corpus_axes(corpus, self.n_genes, self.n_components, progress)
        return FittedHarmony(self, corpus.space.ids, axes, int(generator(seed, "model", "harmony").integers(2**31)))

    def restored(self, saved: Saved) -> "FittedHarmony":
        """Return the components and the random state that were saved."""
        return FittedHarmony(self, saved.genes, axes_of(saved.arrays), saved.facts["state"])


class FittedHarmony(SavedModel):
    """The principal components of a corpus, and the random state that Harmony starts from.

    Attributes
    ----------
    axes
        The components.
    state
        Harmony's random state.
    """

    def __init__(self, settings: Harmony, genes: tuple[str, ...], axes: Axes, state: int) -> None:
        self.settings, self.genes, self.axes, self.state, self.history = settings, genes, axes, state, no_history()

    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Bring the batches of these cells together, shape (N, K)."""
        check_genes(cells, self.genes)
        # Harmony depends on the order of the cells, in its first clusters and in rounding: it sees one order always.
        order = np.lexsort([cells.cells["row"].to_numpy(np.int64), cells.cells["source"].to_numpy(str)])
        ordered = cells.take(order)
        embedded_NK = np.empty((len(cells), len(self.axes.variance_K)), np.float32)
        embedded_NK[order] = self._harmonised(coordinates(ordered, self.axes), ordered.labels(self.settings.by))
        return embedded_NK

    def parts(self) -> Parts:
        """Return the components, and the random state."""
        return self.axes._asdict(), {"state": self.state}

    def _harmonised(self, coordinate_NK: NDArray[np.float32], batch_N: NDArray[np.str_]) -> NDArray[np.float32]:
        if len(np.unique(batch_N)) < 2:
            return coordinate_NK
        from harmonypy import run_harmony

        found = run_harmony(
            coordinate_NK.T,  # K × N: one of the two forms that it takes, and the one it looks for first
            {"batch": batch_N},
            "batch",
            theta=self.settings.theta,
            nclust=int(np.clip(round(len(batch_N) / CELLS_PER_CLUSTER), 1, MOST_CLUSTERS)),
            random_state=self.state,
            ncores=1,
            verbose=False,
        )
        harmonised_NK: NDArray[np.float32] = found.Z_corr.astype(np.float32)
        return harmonised_NK
