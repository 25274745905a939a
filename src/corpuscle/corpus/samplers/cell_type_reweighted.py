"""Cell-type re-weighted: the published water-filling over cell types, with its fault fixed or kept."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import component
from corpuscle.core.randomness import drawn_key, name_numbers
from corpuscle.corpus.balanced_order import rank_within, take_turns
from corpuscle.corpus.context import Context
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.sampler import Groups, Sampler, cell_numbers, label_groups, n_missing


@component
class CellTypeReweighted(Sampler):
    """Draw the same number of cells of each cell type; types smaller than their share give all they have.

    DenAdel et al. 2024 (doi 10.1101/2024.12.13.628448) call this re-weighting. Their code takes all cells of each
    type that has fewer than an equal share, shares what is left among the others, and repeats. It loses cells:
    while there are smaller types, a type that has exactly its share is dropped, whole; an equal share is rounded
    down; cells without a type are never drawn. Fixed, a type that has its share gives it, odd cells go to types by
    chance, cells without a type are a group of their own, and the budget is met exactly.

    Parameters
    ----------
    published
        Keep the published faults: fewer cells than asked for may be drawn.
    """

    published: bool = False

    @property
    def exact(self) -> bool:
        """Whether exactly as many cells are drawn as asked for: see `Sampler.exact`."""
        return not self.published

    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator, context: Context) -> NDArray[np.int64]:
        """Choose cells; see `Sampler.choose`."""
        groups = label_groups(pool, "cell_type", self)
        number_N = cell_numbers(pool, drawn_key(rng))
        if not self.published:
            return take_turns(groups.group_N, n_cells, number_N, name_numbers(drawn_key(rng), groups.names))
        share_K = _published_shares(groups, n_cells)
        shuffled = np.argsort(number_N)
        group_N = groups.group_N[shuffled]
        return shuffled[rank_within(group_N) < share_K[group_N]]

    def notes(self, chosen: Corpus) -> dict[str, Any]:
        """Count the cells without a type."""
        return {"without_label": n_missing(chosen, "cell_type")}


def _published_shares(groups: Groups, budget: int) -> NDArray[np.int64]:
    """Return how many cells of each type the published code draws, shape (K,)."""
    size_K = np.bincount(groups.group_N, minlength=len(groups.names))
    share_K = np.zeros(len(size_K), np.int64)
    left_K = (size_K > 0) & (np.array(groups.names) != "")
    while left_K.any():
        share = budget // int(left_K.sum())
        small_K = left_K & (size_K < share)
        if not small_K.any():
            share_K[left_K] = share
            break
        share_K[small_K] = size_K[small_K]
        budget -= int(size_K[small_K].sum())
        # The fault: a type of exactly this size is in neither.
        left_K &= size_K > share
    return share_K
