"""Top genes: which genes are the strongest, where several are as strong as each other.

Axes in names: G genes.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def among_top(strength_G: Array, n: int) -> Array:
    """Return how likely each gene is to be one of the n strongest, where ties are ordered at random.

    Which of equally strong genes stands first in a file says nothing. The sum of two such arrays' products is the
    overlap that is expected of the two lists.

    Parameters
    ----------
    strength_G
        How strong each gene is, 0 or more; a gene of strength 0 is never among them, however few there are.
    n
        How many are asked for.

    Returns
    -------
    Probabilities, shape (G,), whose sum is n, or how many genes have a strength, where these are fewer.

    Examples
    --------
    >>> among_top(np.array([0.0, 1, 3, 1, 2]), 3).tolist()
    [0.0, 0.5, 1.0, 0.5, 1.0]
    >>> among_top(np.array([0.0, 1, 0]), 2).tolist()
    [0.0, 1.0, 0.0]
    """
    is_strong_G = strength_G > 0
    if is_strong_G.sum() <= n:
        return is_strong_G.astype(np.float64)
    least = np.partition(strength_G, -n)[-n]
    above_G, tied_G = strength_G > least, strength_G == least
    found: Array = above_G + tied_G * (n - above_G.sum()) / tied_G.sum()
    return found
