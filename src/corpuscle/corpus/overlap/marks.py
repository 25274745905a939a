"""Marks of cells: what is equal for a cell and its copies, so that candidates are found by sorting, not by comparing.

A cell has a hash of its counts, the core of its barcode, and bands. A band is made of `ROWS` draws of a detected gene;
each draw picks rare genes first, and picks the same gene in every cell that has it, unless the cell has one that goes
before it (weighted minwise sampling, by exponential races: Ioffe 2010, Moulton & Jiang 2018). Two cells have one draw
in common with the probability that their weighted sets have in common: above a half for a copy that was thinned to a
half, below a hundredth for two cells of one type.

Axes in names: N cells, G genes, D draws, W bands.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

# Chosen on pbmc3k and the SNARE-seq lines, of copies thinned to a half over half of the genes, so that 99.6 % and more
# have a band in common, and 1 or 2 in 10,000 pairs of different cells: `benchmarks/overlap.py`.
ROWS = 3
BANDS = 64
STEEPNESS = -2.0
# Frequencies below are taken for this one: else the one rarest gene, which a copy may lack, were all that counts.
RAREST = 0.02
# A mark that more cells have in common than this distinguishes none of them.
CROWD = 64
# A nucleotide sequence in the names of more cells than this is no barcode: a sample's index, say.
MOST_OF_A_BARCODE = 1000
# Pairs that crowds give at most, if each of their cells has one: 10^6 cells of one mark are no 10^12 pairs.
MOST_OF_CROWDS = 20_000_000

_NUCLEOTIDES = re.compile(r"[ACGTN]{10,}")
_SUFFIX = re.compile(r"[-_.]\d{1,3}$")


def barcode_cores(barcodes: Sequence[str]) -> list[str]:
    """Return what of a barcode stays when files are merged: its nucleotides, or its text without a number at the end.

    A bare number is a position, no name: its core is empty. A number at the end is part of the name where several of
    the barcodes, all of one file, would be one without it.

    Examples
    --------
    >>> barcode_cores(["AAACATACAACCAC-1", "donor2_AAACATACAACCAC", "cell7-0", "12"])
    ['AAACATACAACCAC', 'AAACATACAACCAC', 'cell7', '']
    >>> barcode_cores(["c0_1", "c0_2"])
    ['c0_1', 'c0_2']
    """
    stripped = [barcode.strip() for barcode in barcodes]
    sequences = [max(_NUCLEOTIDES.findall(name), key=len, default="") for name in stripped]
    shortened = [_SUFFIX.sub("", name) for name in stripped]
    times = Counter(core for core, sequence in zip(shortened, sequences, strict=True) if not sequence)
    cores = [
        sequence or (core if times[core] == 1 else name)
        for name, sequence, core in zip(stripped, sequences, shortened, strict=True)
    ]
    return ["" if core.isdigit() else core for core in cores]


def races(frequency_G: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return when each gene arrives in each draw, shape (G, D); the first of a cell's genes is its mark.

    Parameters
    ----------
    frequency_G
        The share of cells in which each gene is detected.
    """
    weight_G = np.maximum(frequency_G, RAREST) ** STEEPNESS
    arrival_GD = np.random.default_rng(1).exponential(size=(len(frequency_G), ROWS * BANDS)).astype(np.float32)
    arrival_GD /= weight_G[:, None].astype(np.float32)
    return arrival_GD


def bands(counts_NG: csr_matrix, shared_G: NDArray[np.bool_], arrival_GD: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return the bands of each cell over some genes, shape (N, W)."""
    found: NDArray[np.uint32] = _bands(counts_NG.indptr, counts_NG.indices, shared_G, arrival_GD)
    return found


def hashes(counts_NG: csr_matrix, shared_G: NDArray[np.bool_]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return 64-bit hashes over some genes: of each cell's counts, and of which genes it has; 0 for a cell of none."""
    counts, genes = _hashes(counts_NG.indptr, counts_NG.indices, counts_NG.data.astype(np.float64), shared_G)
    return counts, genes


def matching_marks(
    mark_N: NDArray[np.unsignedinteger],
    *,
    all_of_crowds: bool = False,
    one_N: NDArray[np.uint64] | None = None,
    crowd: int = CROWD,
    firsts: tuple[int, int] | None = None,
) -> NDArray[np.int64]:
    """Pair cells whose marks are equal.

    Parameters
    ----------
    mark_N
        One mark for each cell; 0 is none.
    all_of_crowds
        Whether cells are paired of which more than `CROWD` have one mark, each with so many (fewer, where these were
        more than `MOST_OF_CROWDS` pairs); by default, with none.
    one_N
        Cells with one number here, if it is not 0, are known to be one cell: they are not paired.
    crowd
        How many cells are no crowd.
    firsts
        From which position on, and before which, the first cell of a pair is; by default anywhere.

    Returns
    -------
    Shape (P, 2): positions, the lower one first.

    Examples
    --------
    >>> matching_marks(np.array([5, 6, 5, 0, 0], np.uint64)).tolist()
    [[0, 2]]
    """
    order = np.argsort(mark_N, kind="stable")
    marks, known = mark_N[order], np.zeros(len(order), np.uint64) if one_N is None else one_N[order]
    n_others = 0
    if all_of_crowds:
        n_in_crowds = int(_n_in_crowds(marks, crowd))
        n_others = max(1, min(crowd, MOST_OF_CROWDS // max(1, n_in_crowds)))
    reach = crowd, n_others
    pairs: NDArray[np.int64] = _matches(marks, order, known, reach, firsts or (0, len(order)))
    return pairs


def once_and_more(number_P: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers that are there once, and those that are there more often, each once and ascending.

    Parameters
    ----------
    number_P
        Numbers, which are sorted in place, and written over: tens of millions of pairs are not in memory twice.

    Examples
    --------
    >>> once, more = once_and_more(np.array([5, 2, 1, 2, 3, 5, 2]))
    >>> once.tolist(), more.tolist()
    ([1, 3], [2, 5])
    """
    number_P.sort()
    once, more = _once_and_more(number_P)
    return once, more


def parts(band_NW: NDArray[np.uint32], able: NDArray[np.int64], most_at_once: int, most: int) -> tuple[list[int], int]:
    """Part cells so that the pairs of equal bands whose first cell is in one part are not too many.

    Parameters
    ----------
    band_NW
        The bands of all cells.
    able
        Positions of the cells that are parted.
    most_at_once
        The pairs of one part, but for those of its last cell.
    most
        All pairs: were there more, bands that fewer cells share are used.

    Returns
    -------
    Where parts begin and end; and how many cells of one band are no crowd, fewer than `CROWD` where all pairs would be
    more than `most`.

    Examples
    --------
    >>> parts(np.array([[1], [1], [1], [2]], np.uint32), np.arange(4), most_at_once=2, most=100)
    ([0, 1, 4], 64)
    """
    n, crowd = len(able), CROWD
    times_C = np.zeros(CROWD + 1, np.int64)
    for band_N in band_NW.T:
        _run_lengths(np.sort(band_N[able]), times_C)
    pairs_C = np.cumsum(times_C * np.arange(CROWD + 1) * np.arange(-1, CROWD) // 2)
    while crowd > 2 and pairs_C[crowd] > most:
        crowd //= 2
    if pairs_C[crowd] <= most_at_once:
        return [0, n], crowd
    n_firsts_N = np.zeros(n, np.int64)
    for band_N in band_NW.T:
        order = np.argsort(band_N[able], kind="stable")
        _count_firsts(band_N[able][order], order, crowd, n_firsts_N)
    done_N = np.cumsum(n_firsts_N)
    ends = np.searchsorted(done_N, np.arange(most_at_once, done_N[-1], most_at_once))
    return [0, *np.unique(np.clip(ends, 1, n - 1)).tolist(), n], crowd


@njit(cache=True, nogil=True)
def _mix(x):  # type: ignore[no-untyped-def]  # compiled
    """Scramble 64 bits (the finaliser of splitmix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def _hashes(starts, genes, counts, shared_G):  # type: ignore[no-untyped-def]  # compiled
    by_count, by_gene = np.zeros(len(starts) - 1, np.uint64), np.zeros(len(starts) - 1, np.uint64)
    for cell in range(len(by_count)):
        # Sums, so that the order of genes is no matter.
        for at in range(starts[cell], starts[cell + 1]):
            if shared_G[genes[at]]:
                gene = _mix(np.uint64(genes[at] + 1))
                by_gene[cell] += gene
                by_count[cell] += _mix(gene + np.uint64(counts[at]) * np.uint64(0x9E3779B97F4A7C15))
    return by_count, by_gene


@njit(cache=True, nogil=True)
def _bands(starts, genes, shared_G, arrival_GD):  # type: ignore[no-untyped-def]  # compiled
    n_draws = arrival_GD.shape[1]
    found = np.zeros((len(starts) - 1, n_draws // ROWS), np.uint32)
    first = np.empty(n_draws, np.float32)
    # Which gene came first can be read from when it did.
    bits = first.view(np.uint32)
    for cell in range(len(found)):
        first[:] = np.inf
        for at in range(starts[cell], starts[cell + 1]):
            gene = genes[at]
            if shared_G[gene]:
                for draw in range(n_draws):
                    first[draw] = min(first[draw], arrival_GD[gene, draw])
        for band in range(found.shape[1]):
            mark = np.uint64(1)
            for draw in range(ROWS * band, ROWS * (band + 1)):
                mark = _mix(mark ^ np.uint64(bits[draw]))
            found[cell, band] = np.uint32(mark >> np.uint64(32))
    return found


@njit(cache=True, nogil=True)
def _n_in_crowds(marks, crowd):  # type: ignore[no-untyped-def]  # compiled
    n, start = 0, 0
    while start < len(marks):
        stop = start + 1
        while stop < len(marks) and marks[stop] == marks[start]:
            stop += 1
        if marks[start] != 0 and stop - start > crowd:
            n += stop - start
        start = stop
    return n


@njit(cache=True, nogil=True)
def _run_lengths(marks, times_C):  # type: ignore[no-untyped-def]  # compiled
    start = 0
    while start < len(marks):
        stop = start + 1
        while stop < len(marks) and marks[stop] == marks[start]:
            stop += 1
        if marks[start] != 0 and stop - start < len(times_C):
            times_C[stop - start] += 1
        start = stop


@njit(cache=True, nogil=True)
def _count_firsts(marks, order, crowd, n_firsts_N):  # type: ignore[no-untyped-def]  # compiled
    start = 0
    while start < len(marks):
        stop = start + 1
        while stop < len(marks) and marks[stop] == marks[start]:
            stop += 1
        if marks[start] != 0 and stop - start <= crowd:
            for a in range(start, stop):
                n_firsts_N[order[a]] += stop - a - 1
        start = stop


@njit(cache=True, nogil=True)
def _once_and_more(number_P):  # type: ignore[no-untyped-def]  # compiled
    n_more = 0
    for at in range(1, len(number_P)):
        # The second of a run.
        n_more += number_P[at] == number_P[at - 1] and (at == 1 or number_P[at - 2] != number_P[at])
    more = np.empty(n_more, np.int64)
    n_once, n_more, start = 0, 0, 0
    while start < len(number_P):
        number, stop = number_P[start], start + 1
        while stop < len(number_P) and number_P[stop] == number:
            stop += 1
        if stop - start == 1:
            # At or before what is read: nothing that is still to be read is lost.
            number_P[n_once] = number
            n_once += 1
        else:
            more[n_more] = number
            n_more += 1
        start = stop
    return number_P[:n_once], more


@njit(cache=True, nogil=True)
def _matches(marks, order, known, reach_of, firsts):  # type: ignore[no-untyped-def]  # compiled
    found = np.empty((1024, 2), np.int64)
    crowd, n_others = reach_of
    n, start = 0, 0
    while start < len(marks):
        stop = start + 1
        while stop < len(marks) and marks[stop] == marks[start]:
            stop += 1
        reach = crowd if stop - start <= crowd else n_others
        if marks[start] != 0 and reach > 0:
            for a in range(start, stop):
                if order[a] < firsts[0] or order[a] >= firsts[1]:
                    continue
                for b in range(a + 1, min(stop, a + 1 + reach)):
                    if known[a] != 0 and known[a] == known[b]:
                        continue
                    if n == len(found):
                        grown = np.empty((2 * n, 2), np.int64)
                        grown[:n] = found
                        found = grown
                    found[n, 0], found[n, 1] = order[a], order[b]
                    n += 1
        start = stop
    return found[:n]
