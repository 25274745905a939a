"""Downsample: keep a share of given or random cell types in given or random batches."""

from typing import Annotated

import numpy as np
from pydantic import Field

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.alteration import Altered, drawn_uses, times_used, with_uses
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.type_batch_groups import GroupAlteration, account_of, patches


@component
class Downsample(GroupAlteration):
    """Keep a share of the cells of some types in some batches, as Maan et al. 2024 (doi 10.1038/s41587-023-02097-9) do.

    Theirs is ``keep = 0.1, types = 1, batches = 1`` on a corpus of two balanced batches, repeated over seeds. Each seed
    chooses anew. With neither types nor batches it makes the whole corpus smaller.

    Parameters
    ----------
    keep
        Which share of each type's cells in each batch is kept, rounded down; at least one cell.
    types, batches, where, by, batch
        Which cells; see `GroupAlteration`.

    Examples
    --------
    >>> str(Downsample(keep=0.1, types=1, batches=1))
    'downsample (types = 1, batches = 1, by = cell_type, batch = batch, keep = 0.1)'
    """

    keep: Annotated[float, Field(gt=0, lt=1)]

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Take the others away; see `Alteration.apply`."""
        found, times_N = patches(corpus, rng, self), times_used(corpus)
        left = []
        for patch in found:
            n_kept = max(1, int(self.keep * patch.n_cells + 1e-6))
            if n_kept == patch.n_cells:
                raise CorpusError(
                    f"downsample: there is only {patch.n_cells} cell of {patch.type!r} in batch {patch.batch!r}, which "
                    "would stay; name another, or take ablate"
                )
            times_N = np.where(patch.mask_N, drawn_uses(times_N * patch.mask_N, n_kept, rng), times_N)
            left.append(n_kept)
        return Altered(with_uses(corpus, times_N), account_of(found, left, self.by))
