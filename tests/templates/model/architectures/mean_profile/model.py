"""The model: its settings, and what it is when it is fitted."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.architectures.mean_profile._shares import shares
from corpuscle.model.checkpoint import LoadsSaved, Parts, Saved, SavedModel
from corpuscle.model.families.log_expression import check_genes
from corpuscle.model.model import Progress, WithoutSteps, no_history, silent


@component
class MeanProfile(LoadsSaved, WithoutSteps):
    """Expect of every cell what the corpus' cells have on average.

    Parameters
    ----------
    pseudocount
        Counts that each gene has besides those of the cells.
    """

    pseudocount: Annotated[float, Field(ge=0, le=1e6)] = 0.0

    @property
    def uses_seed(self) -> bool:
        """Return False: the corpus alone decides."""
        return False

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> "FittedMeanProfile":
        """Add up the counts; see `Model.fit`."""
        return FittedMeanProfile(self, corpus.space.ids, shares(corpus, self.pseudocount))

    def restored(self, saved: Saved) -> "FittedMeanProfile":
        """Return the profile that was saved; see `LoadsSaved`."""
        return FittedMeanProfile(self, saved.genes, saved.arrays["share_G"])


class FittedMeanProfile(SavedModel):
    """A corpus' mean expression."""

    def __init__(self, settings: MeanProfile, genes: tuple[str, ...], share_G: NDArray[np.float64]) -> None:
        self.settings, self.genes, self.share_G, self.history = settings, genes, share_G, no_history()

    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Put every cell at one point; see `FittedModel.embed`."""
        check_genes(cells, self.genes)
        return np.zeros((len(cells), 1), np.float32)

    def expected_fractions(
        self, cells: Corpus, samples: np.random.Generator | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Expect the mean of every cell: this makes it a model that reconstructs, see `Reconstructs`."""
        check_genes(cells, self.genes)
        for rows, counts_NG in cells.blocks():
            yield rows, np.tile(self.share_G, (counts_NG.shape[0], 1)).astype(np.float32)

    def parts(self) -> Parts:
        """Return the profile, to be saved; see `SavedModel`."""
        return {"share_G": self.share_G}, {}
