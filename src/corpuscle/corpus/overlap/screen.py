"""Screen: for each cell of a source, the cells of another that it could be drawn from, by one matrix product.

Marks find copies where cells have rare genes; on a panel, whose genes most cells have, they do not. The product finds
copies of either kind, of all pairs of cells, so it is for some ten thousand cells.

Axes in names: N cells of one source, M of the other, G genes that are compared.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

# Genes that are looked at: those whose detection says most. Of pbmc3k and four panels of 300 to 500 genes, thinned to a
# half, every copy's original came first among 2,000 cells: `benchmarks/overlap.py`.
GENES = 256
# Cells of the other source that are looked at for each cell.
NEAREST = 4
# Multiplications that a screen may take: half a minute on one core, two sources of 20,000 cells.
PRODUCTS = 4e11
# Share of the average profile in a cell's: else a gene that it lacks by chance would rule out a copy.
SMOOTHING = 0.1
# Cells of one source, for the memory: 100 MB.
MOST_CELLS = 50_000
_BLOCK = 512


def affordable(n_one: int, n_two: int, n_genes: int) -> bool:
    """Return whether two sources of so many cells are screened."""
    return max(n_one, n_two) <= MOST_CELLS and 2.0 * n_one * n_two * min(GENES, n_genes) <= PRODUCTS


def informative(detected_G: NDArray[np.float64]) -> NDArray[np.int64]:
    """Choose the genes that are detected in about half of the cells, from the share of cells that have each."""
    order = np.argsort(np.abs(detected_G - 0.5), kind="stable")
    found: NDArray[np.int64] = np.sort(order[detected_G[order] > 0][:GENES])
    return found


def likeliest(one_NG: csr_matrix, two_MG: csr_matrix, *, within: bool) -> Iterator[NDArray[np.int64]]:
    """Pair each cell of either source with those of the other that it is likeliest drawn from.

    The score is the multinomial log-likelihood of a cell's counts under another's profile, against the average one's.

    Parameters
    ----------
    one_NG, two_MG
        Counts over the genes that are looked at.
    within
        Whether both are of the same cells: then no cell is paired with itself.

    Yields
    ------
    Positions in the two, shape (P, 2).
    """
    cells = [counts.toarray().astype(np.float32) for counts in (one_NG, two_MG)]
    average_G = cells[0].sum(axis=0) + cells[1].sum(axis=0) + 1
    average_G /= average_G.sum()
    for side in range(1 if within else 2):
        drawn, from_ = cells[side], cells[1 - side]
        ratio_GM = _log_ratios(from_, average_G).T
        for start in range(0, len(drawn), _BLOCK):
            score_nM = drawn[start : start + _BLOCK] @ ratio_GM
            at = np.arange(start, start + len(score_nM))
            if within:
                score_nM[at - start, at] = -np.inf
            n_nearest = min(NEAREST, score_nM.shape[1])
            best = np.argpartition(score_nM, -n_nearest, axis=1)[:, -n_nearest:]
            pairs = np.stack([np.repeat(at, n_nearest), best.ravel()], axis=1)
            yield pairs if side == 0 else pairs[:, ::-1]


def _log_ratios(counts_MG: NDArray[np.float32], average_G: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the log of each gene's share in each cell, against the average share."""
    total_M1 = np.maximum(counts_MG.sum(axis=1, keepdims=True), 1)
    share_MG = (counts_MG / total_M1 + SMOOTHING * average_G) / (1 + SMOOTHING)
    ratios: NDArray[np.float32] = np.log(share_MG / average_G).astype(np.float32)
    return ratios
