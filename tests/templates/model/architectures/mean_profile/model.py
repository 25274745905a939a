"""The model: its settings, and what it is when it is fitted."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from corpuscle.model.architectures.mean_profile._shares import shares
from numpy.typing import NDArray

from corpuscle.core.components import component
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.model import FittedModel, Progress, WithoutSteps, no_history, silent


class FittedMeanProfile(FittedModel):
    """A corpus' mean expression."""

    def __init__(self, genes: tuple[str, ...], share_G: NDArray[np.float64]) -> None:
        self.genes, self.share_G, self.history = genes, share_G, no_history()

    def embed(self, cells: Corpus) -> NDArray[np.float32]:
        """Put every cell at one point; see `FittedModel.embed`."""
        return np.zeros((len(cells), 1), np.float32)

    def expected_fractions(
        self, cells: Corpus, samples: np.random.Generator | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Expect the mean of every cell: this makes it a model that reconstructs, see `Reconstructs`."""
        for rows, counts_NG in cells.blocks():
            yield rows, np.tile(self.share_G, (counts_NG.shape[0], 1)).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write the profile; see `FittedModel.save`."""
        np.savez(folder / "profile.npz", genes=np.array(self.genes), share_G=self.share_G)


@component
class MeanProfile(WithoutSteps):
    """Expect of every cell what the corpus' cells have on average."""

    pseudocount: float = 0.0

    def fit(self, corpus: Corpus, seed: int, progress: Progress = silent) -> FittedMeanProfile:
        """Add up the counts; see `Model.fit`."""
        return FittedMeanProfile(corpus.space.ids, shares(corpus, self.pseudocount))

    def load_fitted(self, folder: Path) -> FittedMeanProfile:
        """Read what `save` wrote."""
        with np.load(folder / "profile.npz") as file:
            return FittedMeanProfile(tuple(file["genes"].tolist()), file["share_G"])
