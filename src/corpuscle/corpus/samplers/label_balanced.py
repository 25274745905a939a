"""Label-balanced: as many cells of each label as there can be."""

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.components import component
from corpuscle.core.errors import CorpusError
from corpuscle.corpus.corpus import Corpus
from corpuscle.corpus.sampler import Sampler


@component
class LabelBalanced(Sampler):
    """Draw the same number of cells of each label; labels too small for their share give all they have.

    What small labels leave over is shared among the larger ones (water-filling), so that the budget is met exactly.
    Cells without a label are a group of their own. With one generator state, a smaller draw is contained in a larger.

    Parameters
    ----------
    by
        The label column to balance.
    """

    by: str = "cell_type"

    def choose(self, pool: Corpus, n_cells: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Choose cells; see `Sampler.choose`."""
        if self.by not in pool.cells:
            raise CorpusError(f"label_balanced: there is no column {self.by!r} in {', '.join(pool.sources)}")
        _, label_N = np.unique(pool.labels(self.by), return_inverse=True)
        # Cells in random order, then stably by label: each label's first cells are a uniform draw of it.
        shuffled = rng.permutation(len(pool))
        shares = water_fill(np.bincount(label_N), n_cells, rng)
        by_label = shuffled[np.argsort(label_N[shuffled], kind="stable")]
        label_sorted = label_N[by_label]
        rank = np.arange(len(pool)) - np.searchsorted(label_sorted, label_sorted)
        return by_label[rank < shares[label_sorted]]


def water_fill(sizes: NDArray[np.int64], budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Share a budget as equally as the sizes allow.

    Parameters
    ----------
    sizes
        What each of K groups has, shape (K,).
    budget
        What to share, at most the sum of `sizes`.
    rng
        Decides which of the groups that are not exhausted get the odd cells.

    Returns
    -------
    What each group gives, shape (K,): it sums to `budget`, and no group gives less than another unless it gives all.

    Examples
    --------
    >>> water_fill(np.array([2, 50, 50]), 12, np.random.default_rng(0)).tolist()
    [2, 5, 5]
    """
    order = np.argsort(sizes, kind="stable")
    ascending = sizes[order]
    groups_left = np.arange(len(sizes), 0, -1)
    # Give `level` to everyone still in: the first group (ascending) that has more than an equal share ends it.
    used = np.concatenate([[0], np.cumsum(ascending)[:-1]])
    exhausted = ascending * groups_left <= budget - used
    n_exhausted = int(np.argmin(exhausted)) if not exhausted.all() else len(sizes)
    shares = ascending.copy()
    if n_exhausted < len(sizes):
        left = budget - int(used[n_exhausted])
        level, odd = divmod(left, len(sizes) - n_exhausted)
        shares[n_exhausted:] = level
        shares[n_exhausted + rng.permutation(len(sizes) - n_exhausted)[:odd]] += 1
    result = np.empty_like(shares)
    result[order] = shares
    return result
