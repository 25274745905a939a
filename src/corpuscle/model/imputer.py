"""Imputer: a model as an alteration uses it, to make cells; see `corpuscle.corpus.context`.

It works on one thread: the cells that it makes are part of a corpus, and must be the same on every machine's number of
cores.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpuscle.core import components
from corpuscle.core.errors import ModelError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.model import Model, Progress, Reconstructs
from corpuscle.model.threads import one_thread


@dataclass(frozen=True)
class ModelImputer:
    """A model to be fitted.

    Attributes
    ----------
    model
        Its settings.
    """

    model: Model

    def spec(self) -> dict[str, Any]:
        """Return name and settings as plain data."""
        return self.model.spec()

    def identity(self) -> list[Any]:
        """Return plain data that differ where its settings or its code do."""
        return self.model.identity()

    def fit(self, cells: Corpus, seed: int, progress: Progress) -> "FittedImputer":
        """Fit on some cells.

        Raises
        ------
        ModelError
            When the model cannot be fitted on them, or says nothing about expected counts.
        """
        fitted = self.model.fit(cells, seed, progress)
        if not isinstance(fitted, Reconstructs):
            raise ModelError(f"model {self.model.name!r} does not reconstruct counts, so it cannot make cells")
        return FittedImputer(fitted)


def model_imputer(name: str, settings: Mapping[str, Any]) -> ModelImputer:
    """Return the model of a name and settings, as alterations use it; see `corpuscle.corpus.context.Context`."""
    return ModelImputer(components.build(Model, name, settings))


@dataclass(frozen=True)
class FittedImputer:
    """A fitted model that reconstructs, on one thread."""

    fitted: Reconstructs

    def expected_fractions(
        self, cells: Corpus, samples: np.random.Generator | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield the expected share of each gene, block by block; see `Reconstruction.expected_fractions`."""
        blocks = self.fitted.expected_fractions(cells, samples)
        while True:
            with one_thread():
                block = next(blocks, None)
            if block is None:
                return
            yield block
