"""Candidates: pairs of cells that may be one cell, by marks that are equal; and cells whose counts are equal.

Axes in names: N cells, S sources, W bands, P pairs of cells.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpuscle.corpus.overlap import marks
from corpuscle.corpus.overlap.chance import LEAST_IDENTICAL, Evidence

# Pairs that are in memory at once: of more, those of some of the cells are gone through before those of others.
MOST_AT_ONCE = 25_000_000
# Pairs with a band in common, each as often as it has one: were there more, bands that fewer cells share are used.
MOST_PAIRS = 200_000_000
# Where bands give more pairs than this, those that share one band only are left out: of a million cells there are tens
# of millions that share one by chance. A copy thinned to a half, over half of the genes, shares eight on average.
MOST_OF_ONE_BAND = 2_000_000
# Groups of one turn are numbered from a multiple of this.
GROUPS = int(1e12)


class Marked(NamedTuple):
    """The marks of all cells that are compared over the same genes, source by source."""

    place_N: NDArray[np.int64]
    source_N: NDArray[np.int64]
    barcode_N: NDArray[np.uint64]
    count_N: NDArray[np.uint64]
    gene_N: NDArray[np.uint64]
    detected_N: NDArray[np.int32]
    presence_N: NDArray[np.float64]
    equal_N: NDArray[np.float64]
    band_NW: NDArray[np.uint32]

    def of(self, source: int) -> slice:
        """Return where the cells of a source are."""
        first, last = np.searchsorted(self.source_N, [source, source + 1])
        return slice(int(first), int(last))


class Tried(NamedTuple):
    """How many pairs of two sources are compared, and how many cells are known to be identical."""

    n_pairs: float
    n_known: int


class Found(NamedTuple):
    """Pairs of cells to look at.

    Attributes
    ----------
    pairs_P2
        Positions in `Marked`, ascending, each pair once.
    fewest_bands
        How many bands two cells must have in common to be among them, if nothing else is equal.
    """

    pairs_P2: NDArray[np.int64]
    fewest_bands: int


def identical(marked: Marked, bars: Evidence, n_genes: int, turn: int) -> pd.DataFrame:
    """Group the cells with equal hashes of their counts, where these are not so few that they are equal by chance."""
    at = np.flatnonzero((marked.count_N != 0) & (marked.equal_N >= bars.identical))
    table = pd.DataFrame({"cell": marked.place_N[at], "group": pd.factorize(marked.count_N[at])[0], "at": at})
    table = table[table.duplicated("group", keep=False)].astype(np.int64)
    at = table.pop("at").to_numpy()
    group, evidence = table["group"] + turn * GROUPS, marked.equal_N[at]
    return table.assign(group=group, n_genes=n_genes, n_detected=marked.detected_N[at], evidence=evidence)


def candidates(marked: Marked, allowed_SS: NDArray[np.bool_], banded_SS: NDArray[np.bool_], bars: Evidence) -> Found:
    """Return the pairs of cells to look at.

    Parameters
    ----------
    marked
        The cells.
    allowed_SS
        Which sources are compared: by the same set of detected genes, and by barcode.
    banded_SS
        Which of them also by bands.
    bars
        Cells with less evidence have no copy that could be recognised.
    """
    n = len(marked.place_N)

    def keys(pairs_P2: NDArray[np.int64], among_SS: NDArray[np.bool_]) -> NDArray[np.int64]:
        source_P2 = marked.source_N[pairs_P2]
        ordered = np.sort(unknown(marked, pairs_P2[among_SS[source_P2[:, 0], source_P2[:, 1]]], bars), axis=1)
        found: NDArray[np.int64] = ordered[:, 0] * n + ordered[:, 1]
        return found

    # Of cells with less evidence than this no pair is likely: a million empty cells make no pairs.
    some_N = np.maximum(marked.presence_N, marked.equal_N) >= LEAST_IDENTICAL
    one_N = np.where(marked.equal_N >= bars.identical, marked.count_N, 0).astype(np.uint64)
    known = [np.where(some_N, mark_N, np.uint64(0)) for mark_N in (marked.gene_N, marked.barcode_N)]
    exact = [keys(marks.matching_marks(mark_N, all_of_crowds=True, one_N=one_N), allowed_SS) for mark_N in known]
    in_banded_S = np.asarray(banded_SS.any(axis=1))
    able_N = (np.maximum(marked.presence_N, marked.equal_N) >= bars.near) & in_banded_S[marked.source_N]
    able = np.flatnonzero(able_N)
    pair_P, fewest = _of_bands(marked.band_NW, able, lambda pairs_P2: keys(able[pairs_P2], banded_SS))
    found = np.unique(np.concatenate([*exact, pair_P]))
    return Found(np.stack([found // n, found % n], axis=1), fewest)


def _of_bands(
    band_NW: NDArray[np.uint32], able: NDArray[np.int64], keys: Callable[[NDArray[np.int64]], NDArray[np.int64]]
) -> tuple[NDArray[np.int64], int]:
    """Return the keys of pairs with bands in common, and how many they must have; memory is bounded, nothing forgotten.

    Parameters
    ----------
    band_NW
        The bands of all cells. They are most of the memory, and never copied but for one band at a time.
    able
        Positions of the cells that are compared so.
    keys
        Makes keys of pairs of positions in `able`, leaving out those that are not compared.
    """
    cuts, crowd = marks.parts(band_NW, able, MOST_AT_ONCE, MOST_PAIRS)
    of_one, of_more, n_of_one, fewest = [], [np.empty(0, np.int64)], 0, 1
    for firsts in pairwise(cuts):
        pair_P = np.concatenate([
            keys(marks.matching_marks(band_N[able], crowd=crowd, firsts=firsts)) for band_N in band_NW.T
        ])  # fmt: skip
        once_P, more_P = marks.once_and_more(pair_P)
        of_more.append(more_P)
        if fewest == 1:
            of_one.append(once_P.copy())
            n_of_one += len(once_P)
        if n_of_one > MOST_OF_ONE_BAND:
            of_one, fewest = [], 2
    return np.concatenate([*of_one, *of_more]), fewest


def unknown(marked: Marked, pairs_P2: NDArray[np.int64], bars: Evidence) -> NDArray[np.int64]:
    """Leave out pairs that are identical beyond chance: these are known already."""
    equal = marked.count_N[pairs_P2[:, 0]] == marked.count_N[pairs_P2[:, 1]]
    found: NDArray[np.int64] = pairs_P2[~(equal & (marked.equal_N[pairs_P2].min(axis=1) >= bars.identical))]
    return found


def tried(marked: Marked, one: int, two: int, bars: Evidence) -> tuple[Tried, Tried]:
    """Count the pairs of two sources, all of them and those with the same barcode, and the identical cells in them."""
    sides = [marked.of(one), marked.of(two)]
    sizes = [side.stop - side.start for side in sides]
    every = sizes[0] * (sizes[0] - 1) / 2 if one == two else float(sizes[0]) * sizes[1]
    codes, times = zip(*(np.unique(marked.barcode_N[side], return_counts=True) for side in sides), strict=True)
    _, at, there = np.intersect1d(codes[0][codes[0] > 0], codes[1][codes[1] > 0], return_indices=True)
    counts = [times[0][codes[0] > 0][at].astype(float), times[1][codes[1] > 0][there].astype(float)]
    same = float(np.sum(counts[0] * (counts[0] - 1) / 2 if one == two else counts[0] * counts[1]))
    if one == two:
        # Identical cells of one source are no sign that others have copies there.
        return Tried(every, 0), Tried(same, 0)
    rich = [np.flatnonzero((marked.count_N[side] != 0) & (marked.equal_N[side] >= bars.identical)) + side.start
            for side in sides]  # fmt: skip
    named = [at[marked.barcode_N[at] > 0] for at in rich]
    both = [marked.count_N[at] ^ (marked.barcode_N[at] * np.uint64(0x9E3779B97F4A7C15)) for at in named]
    n_equal = int(np.isin(marked.count_N[rich[0]], marked.count_N[rich[1]]).sum())
    return Tried(every, n_equal), Tried(same, int(np.isin(both[0], both[1]).sum()))
