"""Verified: groups of cells with equal hashes, compared count by count; a hash is a candidate, not a proof."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

# Pairs whose counts are in memory at once.
BLOCK_PAIRS = 4096


def verified(
    table: pd.DataFrame, counts_at: Callable[[NDArray[np.int64]], csr_matrix], shared_G: NDArray[np.bool_]
) -> pd.DataFrame:
    """Leave out the cells whose counts are not those of the first of their group.

    Parameters
    ----------
    table
        Cells by ``group``.
    counts_at
        Reads the counts of cells, in the genes of all sources.
    shared_G
        Which genes are compared.
    """
    first = table.groupby("group")["cell"].transform("min").to_numpy(np.int64)
    cell = table["cell"].to_numpy(np.int64)
    others = np.flatnonzero(cell != first)
    others = others[np.argsort(first[others], kind="stable")]
    equal = np.ones(len(table), bool)
    for start in range(0, len(others), BLOCK_PAIRS):
        here = others[start : start + BLOCK_PAIRS]
        difference = counts_at(first[here]) - counts_at(cell[here])
        differs = (shared_G[difference.indices] & (difference.data != 0)).astype(np.int8)
        rows = csr_matrix((differs, difference.indices, difference.indptr), difference.shape)
        equal[here] = np.asarray(rows.sum(axis=1)).ravel() == 0
    kept = table[equal]
    return kept[kept.duplicated("group", keep=False)].reset_index(drop=True)
