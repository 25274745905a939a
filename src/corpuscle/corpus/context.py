"""Context: what a study gives to samplers and alterations in addition to the cells; this layer knows no model."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.expression.principal_components import PrincipalComponents
from corpuscle.store import Store


class ImputedCounts(Protocol):
    """A fitted model that says which counts it expects of a cell."""

    def expected_fractions(
        self, cells: Corpus, samples: np.random.Generator | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield, block by block, the share of each gene that the model expects in each cell.

        Parameters
        ----------
        cells
            The cells to encode and decode.
        samples
            None: decode the posterior mean (deterministic). A generator: decode one sample of the posterior per
            cell, as the published study did.

        Yields
        ------
        The block's rows of the corpus' table, and an array (n block, G) whose rows sum to one over the genes that
        the cell's source measured (0 elsewhere).
        """
        ...


class Imputer(Protocol):
    """A model that can be fitted; the same cells and seed give the same."""

    def spec(self) -> dict[str, Any]:
        """Return name and settings as plain data."""
        ...

    def identity(self) -> list[Any]:
        """Return plain data that differ where its settings or its code do."""
        ...

    def fit(self, cells: Corpus, seed: int, progress: Callable[[float], None]) -> ImputedCounts:
        """Fit on some cells."""
        ...


def _no_model(name: str, _settings: Mapping[str, Any]) -> Imputer:
    raise LookupError(f"this context has no model {name!r}; alter the corpus in a study")


@dataclass(frozen=True)
class Context:
    """What a study gives to samplers and alterations.

    Attributes
    ----------
    pools
        By source, the cells that training may use, whatever a corpus excludes.
    folder
        What relative paths among a component's parameters are relative to.
    imputer
        Makes the model of a name and settings.
    store
        Where what is costly to make is kept; None: in memory.
    notice
        Called with what is being done, and which share of it is done.
    """

    pools: Mapping[str, Corpus] = field(default_factory=dict)
    folder: Path = Path()
    imputer: Callable[[str, Mapping[str, Any]], Imputer] = _no_model
    store: Store | None = None
    notice: Callable[[str, float], None] = lambda _what, _share: None
    _components: dict[str, PrincipalComponents] = field(default_factory=dict, repr=False, compare=False)

    def components(self, cells: Corpus) -> PrincipalComponents:
        """Return the principal components of the source that the first of some cells is of.

        In a study these are the components of all cells that the source has for training, found when they are first
        asked for. Cells outside a study have no such source: theirs are the components of the cells themselves.
        """
        source = str(cells.cells["source"].iloc[0]) if len(cells) else ""
        if source not in self.pools:
            own = {name: cells.take(cells.source_codes == at) for at, name in enumerate(cells.sources)}
            return PrincipalComponents(cells, own)
        if source not in self._components:
            notice = partial(self.notice, f"finding principal components of {source}")
            self._components[source] = PrincipalComponents(self.pools[source], self.pools, self.store, notice)
        return self._components[source]
