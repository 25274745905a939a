"""Ablate: remove given or random cell types from given or random batches."""

import numpy as np

from corpuscle.core.components import component
from corpuscle.corpus.alteration import Altered
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.type_batch_groups import GroupAlteration, account_of, patches


@component
class Ablate(GroupAlteration):
    """Remove all cells of some types from some batches, as Maan et al. 2024 (doi 10.1038/s41587-023-02097-9) do.

    Theirs is ``types = 1, batches = 1`` on a corpus of two balanced batches, repeated over seeds; with ``downsample``
    for the arm that keeps a tenth. Each seed chooses anew.

    Parameters
    ----------
    types, batches, where, by, batch
        Which cells; see `GroupAlteration`.

    Examples
    --------
    >>> str(Ablate(types=["NK"], batches=1))
    "ablate (types = ['NK'], batches = 1, by = cell_type, batch = batch)"
    """

    def apply(self, corpus: Corpus, rng: np.random.Generator, context: Context) -> Altered:
        """Remove them; see `Alteration.apply`."""
        found = patches(corpus, rng, self)
        gone_N = np.any([patch.mask_N for patch in found], axis=0)
        return Altered(corpus.take(~gone_N), account_of(found, [0] * len(found), self.by))
