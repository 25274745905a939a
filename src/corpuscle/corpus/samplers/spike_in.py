"""Spike-in: replace a share of a uniform draw by cells of another source."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.core.randomness import drawn_key
from corpuscle.corpus.balanced_order import smallest
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.sampler import Sampler, cell_numbers


@component
class SpikeIn(Sampler):
    """Draw cells uniformly, a given share of them from another source.

    At one seed, the cells that are not replaced are cells of the uniform draw of that size: the two corpora differ in
    what was replaced. With one generator state, a smaller draw is contained in a larger. This is the spike-in of
    DenAdel et al. 2024 (doi 10.1101/2024.12.13.628448), who replaced 10 % and 50 % by perturbed cells.

    Parameters
    ----------
    spike
        The source of the cells to put in.
    share
        Which share of the cells they are to be; the number of them is rounded to the nearest.

    Examples
    --------
    >>> SpikeIn(spike="tumour", share=0.1).sources
    ('tumour',)
    """

    spike: str
    share: Annotated[float, Field(gt=0, lt=1)]

    @property
    def sources(self) -> tuple[str, ...]:
        """The source of the cells to put in."""
        return (self.spike,)

    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator, context: Context) -> NDArray[np.int64]:
        """Choose cells; see `Sampler.choose`."""
        number_N = cell_numbers(pool, drawn_key(rng))
        is_spike = pool.cells["source"].to_numpy() == self.spike
        if is_spike.all():
            raise CorpusError(f"spike_in: {self.spike!r} is itself the source that its cells are to be put into")
        n_spike = int(self.share * n_cells + 0.5)
        drawn = []
        for of_kind, n in ((~is_spike, n_cells - n_spike), (is_spike, n_spike)):
            rows = np.flatnonzero(of_kind)
            if n > len(rows):
                source = self.spike if of_kind is is_spike else "the part's own source"
                raise CorpusError(
                    f"spike_in: {self.share:.0%} of {n_cells:,} cells from {self.spike!r} needs {n:,} cells of "
                    f"{source}, which has {len(rows):,} left; ask for fewer cells, or change share"
                )
            drawn.append(rows[smallest(number_N[rows], n)])
        return np.concatenate(drawn)

    def notes(self, chosen: Corpus) -> dict[str, Any]:
        """Count the cells that were put in."""
        return {"spiked": int(np.sum(chosen.cells["source"].to_numpy() == self.spike))}
