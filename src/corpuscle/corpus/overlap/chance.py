"""How likely it is that two different cells agree as much as these two do, and which cells are too poor to be judged.

Two cells are compared over the genes that both files measured. Two ratios of likelihoods weigh "one cell" against
"another cell of such a kind", and the larger one counts:

- presence: the genes detected in the poorer cell are detected in the richer one, but for a share `ERROR` of them. This
  holds for copies that were thinned, multiplied, normalised, rounded or log-transformed.
- counts: the poorer cell's counts are a binomial draw from the richer one's. This is for panels of few genes, where
  most genes are detected in most cells.

"Another cell" is one of the same depth: zeros of a shallow cell among deep ones, or high counts of a deep one, are as
likely in any other cell of its depth.

By Wald's inequality, the chance that another cell reaches a log-ratio of t is at most exp(-t), where the frequencies
of "another cell" are not too low. They are the highest of any group of alike cells (k-means of a sample), so that what
is common in one cell type is not taken for evidence.

Axes in names: N cells, G genes (of all sources), K groups, L levels of depth, B bins of counts, P pairs of cells.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from corpuscle.corpus.overlap.twin import expected_again, found_again, log_binomial, log_drawn_again, log_ratio, summary

# Share of a copy's genes that may disagree: another annotation or aligner moves a few percent of the counts.
ERROR = 0.1
# Agreement by chance that is accepted, of all pairs of a search together; the model of "another cell" is an
# approximation for near-duplicates, and none is needed for exact equality of independent counts.
NEAR_BY_CHANCE = 1e-6
IDENTICAL_BY_CHANCE = 1e-2
LEAST_NEAR = 20.0
# What a barcode in common is worth: they recur between libraries, so this is less than log(700,000).
BARCODE = 10.0
LEAST_IDENTICAL = 4.0
# Share of the copies of two sources that may be false, once some are certain.
FALSE_AMONG_COPIES = 1e-2
MANY, FALSE_AMONG_MANY = 10, 1e-3
# Cells of fewer genes are no near-duplicates without a barcode in common: erythrocytes have a dozen, and the same ones.
FEWEST_GENES = 20
# Of a copy's detected genes, so many are detected in the original.
CONTAINED = 0.85

SAMPLE = 1500
LEVELS = 16
BINS = 40
GROUP_CELLS = 40
# Few cells are parted, too: of one group of unlike cells, two alike ones would seem to be one cell.
FEW_GROUPS, FEW_GROUP_CELLS = 5, 7
RICH_GENES = 20
MAX_GROUPS = 10
FEWEST_CELLS = 5
_WHOLE = 10
# Of so many counts of a gene, or more, those of the richer cell say how many another one of its kind has: the first
# where depths differ much (standard deviation of their logarithm), as counts of all depths say little of one depth.
MANY_COUNTS, MIXED_DEPTHS = (3.0, 10.0), 0.7
# Cells that are shallower than so much of the typical one: others of their depth may be too few to be learned from.
SHALLOW = 0.25
# A cell whose genes are rarer than those of others, by so many standard deviations, has no peers. Of three packaged
# data sets, no cell is above 3.1.
ODD = 5.0


class Background(NamedTuple):
    """What cells of a source look like, over the genes shared with another.

    Attributes
    ----------
    shared_G
        Which genes are compared.
    level_L
        Numbers of detected genes, ascending.
    detected_LG
        The largest probability, over groups of cells, that a gene is detected in a cell with so many genes.
    log_count_GB
        Log of the largest probability, over groups, of a count (see `_bin`).
    log_none_LG
        Log of the largest probability, over groups, that a gene is not detected in a cell with so many genes.
    typical
        Counts of the median cell.
    spread_G
        The square of the coefficient of variation of a gene's mean, between cells of one group.
    many
        From how many counts of a gene on the richer cell is compared with; see `MANY_COUNTS`.
    """

    shared_G: NDArray[np.bool_]
    level_L: NDArray[np.float64]
    detected_LG: NDArray[np.float32]
    log_count_GB: NDArray[np.float32]
    log_none_LG: NDArray[np.float32]
    typical: float
    spread_G: NDArray[np.float32]
    many: float


def background(sample_NG: csr_matrix, shared_G: NDArray[np.bool_]) -> Background:
    """Learn from a sample of a source's cells how often its genes are detected, and with which counts.

    Parameters
    ----------
    sample_NG
        Counts of some hundred to thousand cells, in the genes of all sources.
    shared_G
        Which genes are compared.
    """
    genes = np.flatnonzero(shared_G)
    compared = _distinct(sample_NG[:, genes].astype(np.float32))
    group_N = _groups(compared)
    level_L = np.unique(np.round(np.geomspace(1, max(2, len(genes)), LEVELS)))
    detected_Lg = np.zeros((len(level_L), len(genes)), np.float32)
    none_Lg = np.zeros((len(level_L), len(genes)), np.float32)
    count_gB = np.zeros((len(genes), BINS), np.float32)
    excess_2g = np.zeros((2, len(genes)))
    sizes = np.bincount(group_N)
    # A few cells, one of which may be the very cell that is judged, do not show what others look like.
    for group in np.flatnonzero(sizes >= min(FEWEST_CELLS, sizes.max())):
        cells = compared[np.flatnonzero(group_N == group)]
        rate_g = (np.bincount(cells.indices, minlength=len(genes)) + 0.5) / (cells.shape[0] + 1)
        _raise_detected((detected_Lg, none_Lg), rate_g.astype(np.float32), level_L)
        np.maximum(count_gB, _count_rates(cells), out=count_gB)
        excess_2g += _excess(cells)
    # Genes that are not compared are never looked up.
    detected_LG = np.ones((len(level_L), len(shared_G)), np.float32)
    log_count_GB = np.zeros((len(shared_G), BINS), np.float32)
    detected_LG[:, genes], log_count_GB[genes] = detected_Lg, np.log(count_gB)
    log_none_LG = np.zeros_like(detected_LG)
    log_none_LG[:, genes] = np.log(np.maximum(none_Lg, count_gB[:, 0]))
    spread_G = np.zeros(len(shared_G), np.float32)
    spread_G[genes] = np.maximum(excess_2g[0], 0) / np.maximum(excess_2g[1], 1e-12)
    depth_N = np.asarray(compared.sum(axis=1), np.float64).ravel()
    many = MANY_COUNTS[int(np.std(np.log(np.maximum(depth_N, 1))) < MIXED_DEPTHS)]
    typical = max(float(np.median(depth_N)), 1.0)
    return Background(shared_G, level_L, detected_LG, log_count_GB, log_none_LG, typical, spread_G, many)


def _excess(cells: csr_matrix) -> NDArray[np.float64]:
    """Return by how much counts vary more than Poisson draws do, and the square of their mean, summed; shape (2, G)."""
    depth_n = np.asarray(cells.sum(axis=1), np.float64).ravel()
    total_g = np.asarray(cells.sum(axis=0), np.float64).ravel()
    share_g = total_g / max(depth_n.sum(), 1.0)
    squared_g = np.bincount(cells.indices, cells.data.astype(np.float64) ** 2, cells.shape[1])
    mean_squared_g = share_g**2 * np.sum(depth_n**2)
    return np.stack([squared_g - 2 * share_g * (cells.T @ depth_n) + mean_squared_g - total_g, mean_squared_g])


def _distinct(sample_NG: csr_matrix) -> csr_matrix:
    """Leave out repeated cells: their own copies would make them look common. Poor cells are equal by chance."""
    rows, seen, kept = np.split(sample_NG.indices, sample_NG.indptr[1:-1]), set(), []
    values = np.split(sample_NG.data, sample_NG.indptr[1:-1])
    for at, (genes, counts) in enumerate(zip(rows, values, strict=True)):
        key = (genes.tobytes(), counts.tobytes())
        if len(genes) < RICH_GENES or key not in seen:
            kept.append(at)
        seen.add(key)
    return sample_NG[np.array(kept)]


def _groups(sample_NG: csr_matrix) -> NDArray[np.int64]:
    """Group cells by their counts, so that both cell types and depths are kept apart."""
    from sklearn.cluster import KMeans

    n = sample_NG.shape[0]
    n_groups = min(MAX_GROUPS, max(n // GROUP_CELLS, min(FEW_GROUPS, n // FEW_GROUP_CELLS)))
    if n_groups < 2:
        return np.zeros(n, np.int64)
    logs = sample_NG.copy()
    logs.data = np.log1p(logs.data)
    directions = np.random.default_rng(0).standard_normal((logs.shape[1], 32)).astype(np.float32)
    points = logs @ directions
    # k-means warns where fewer points are distinct than it is to find groups.
    n_groups = min(n_groups, len(np.unique(points, axis=0)))
    groups: NDArray[np.int64] = KMeans(n_groups, n_init=1, max_iter=30, random_state=0).fit_predict(points)
    return groups


def _raise_detected(
    found_and_none: tuple[NDArray[np.float32], NDArray[np.float32]],
    rate_G: NDArray[np.float32],
    level_L: NDArray[np.float64],
) -> None:
    """Raise probabilities to those of one group: a cell k times as deep detects a gene with 1 - (1 - rate)^k."""
    detected_LG, none_LG = found_and_none
    intensity_G = -np.log1p(-np.minimum(rate_G, 0.999))
    depths = np.geomspace(1e-3, 1e3, 19, dtype=np.float32)
    found = np.array([np.sum(-np.expm1(-intensity_G * depth)) for depth in depths])
    depth_L = np.exp(np.interp(np.log(level_L), np.log(found), np.log(depths))).astype(np.float32)
    for at, depth in enumerate(depth_L):
        np.maximum(detected_LG[at], -np.expm1(-intensity_G * depth), out=detected_LG[at])
        np.maximum(none_LG[at], np.exp(-intensity_G * depth), out=none_LG[at])


def _count_rates(cells: csr_matrix) -> NDArray[np.float32]:
    """Return how probable each count of each gene is, shape (G, B): the bin's share, divided by its width."""
    n, n_genes = cells.shape
    bins = _bins(cells.data.astype(np.float64))
    times_GB = np.bincount(cells.indices.astype(np.int64) * BINS + bins, minlength=n_genes * BINS)
    times_GB = times_GB.reshape(n_genes, BINS)
    times_GB[:, 0] = n - times_GB[:, 1:].sum(axis=1)
    rates: NDArray[np.float32] = ((times_GB + 0.5) / (n + 1) / _widths()).astype(np.float32)
    return rates


def _widths() -> NDArray[np.float64]:
    edges = _WHOLE * 2.0 ** (np.arange(BINS - _WHOLE + 1) / 2)
    return np.concatenate([np.ones(_WHOLE), np.diff(edges)])


@njit(cache=True, nogil=True)
def _bin(count: float) -> int:
    """Return a count's bin: those below 10 have their own, then two per doubling."""
    if count < 10:
        return int(count)
    return min(10 + int(2 * np.log2(count / 10)), 39)


@njit(cache=True, nogil=True)
def _log_chance(log_counts, detected, count, depth):  # type: ignore[no-untyped-def]  # compiled
    """Return the log of the chance of a gene's count above 0 in a cell so many times as deep as the typical one.

    Of a cell far shallower than others, it is the chance that the gene is detected at all, which is more.
    """
    chance = log_counts[_bin(count)]
    if depth < SHALLOW:
        return max(chance, np.log(detected))
    return max(chance, log_counts[_bin(max(count / depth, 1.0))] - np.log(depth)) if depth > 1 else chance


@njit(cache=True, nogil=True)
def _bins(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    found = np.empty(len(counts), np.int64)
    for at in range(len(counts)):
        found[at] = _bin(counts[at])
    return found


def own_evidence(counts_NG: csr_matrix, behind: Background) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what a perfect copy of each cell would be recognised by, two arrays of shape (N,).

    Returns
    -------
    The log-ratio from presence, and minus the log of the chance of such counts. Of a cell with less than `Bars.near`
    in both, no copy can be found.
    """
    rows = counts_NG.indptr, counts_NG.indices, counts_NG.data
    presence_N, equal_N = _own_evidence(rows, tuple(behind))
    return presence_N, equal_N


@njit(cache=True, nogil=True)
def _own_evidence(rows, behind):  # type: ignore[no-untyped-def]  # compiled
    starts, genes, counts = rows
    shared_G, level_L, detected_LG, log_count_GB, log_none_LG, typical, _, _ = behind
    presence_N, equal_N = np.zeros(len(starts) - 1), np.zeros(len(starts) - 1)
    zeros_L, usual_L, varies_L = np.zeros(len(level_L)), np.zeros(len(level_L)), np.zeros(len(level_L))
    for level in range(len(level_L)):
        usual_L[level], varies_L[level] = _surprise(detected_LG[level], shared_G)
        for gene in range(len(shared_G)):
            if shared_G[gene]:
                zeros_L[level] -= log_none_LG[level, gene]
    for cell in range(len(presence_N)):
        n, total, unit = summary(rows, cell, shared_G)
        again = expected_again(rows, cell, shared_G, unit)
        level = min(int(np.searchsorted(level_L, n)), len(level_L) - 1)
        presence, again_present, surprise, equal = 0.0, 0.0, 0.0, zeros_L[level]
        for at in range(starts[cell], starts[cell + 1]):
            gene = genes[at]
            if shared_G[gene]:
                seen = detected_LG[level, gene]
                surprise -= np.log(seen)
                presence += np.log((1 - ERROR) / seen)
                again_present += np.log((1 - ERROR) / max(seen, found_again(counts[at] / unit, again, 1.0)))
                equal += log_none_LG[level, gene] - _log_chance(log_count_GB[gene], seen, counts[at], total / typical)
        if n > 0:
            odd = surprise - n * usual_L[level] > ODD * np.sqrt(n * varies_L[level])
            presence_N[cell], equal_N[cell] = again_present if odd else presence, equal
    return presence_N, equal_N


class Compared(NamedTuple):
    """P pairs of cells, compared.

    Attributes
    ----------
    evidence_P
        The log-ratio of one cell against two; for identical cells, minus the log of the chance of such counts; 0 where
        too few genes agree.
    identical_P
        Whether all counts are equal.
    n_detected_P, n_agree_P
        Genes detected in the poorer cell, and how many of those in the richer one.
    """

    evidence_P: NDArray[np.float64]
    identical_P: NDArray[np.bool_]
    n_detected_P: NDArray[np.int64]
    n_agree_P: NDArray[np.int64]


def compare(
    one_NG: csr_matrix, two_NG: csr_matrix, pairs_P2: NDArray[np.int64], behind: tuple[Background, Background]
) -> Compared:
    """Compare pairs of cells.

    Parameters
    ----------
    one_NG, two_NG
        Counts of cells of two sources, in the genes of all sources; indices sorted.
    pairs_P2
        Rows of the first and of the second matrix.
    behind
        What cells of the two sources look like.
    """
    rows = tuple((counts.indptr, counts.indices, counts.data) for counts in (one_NG, two_NG))
    evidence_P, how_P3 = _compare(rows, pairs_P2, tuple(behind[0]), tuple(behind[1]))
    return Compared(evidence_P, how_P3[:, 0] == 1, how_P3[:, 1], how_P3[:, 2])


@njit(cache=True, nogil=True)
def _in_common(one, two, pair, shared_G):  # type: ignore[no-untyped-def]  # compiled
    """Count the genes that both cells have."""
    a, b = one[0][pair[0]], two[0][pair[1]]
    a_end, b_end = one[0][pair[0] + 1], two[0][pair[1] + 1]
    n = 0
    while a < a_end and b < b_end:
        gene_a, gene_b = one[1][a], two[1][b]
        n += gene_a == gene_b and shared_G[gene_a]
        a += gene_a <= gene_b
        b += gene_b <= gene_a
    return n


@njit(cache=True, nogil=True)
def _surprise(detected_G, shared_G):  # type: ignore[no-untyped-def]  # compiled
    """Return mean and variance of minus the log of the rate of a gene, over those that a cell of such a depth has."""
    total, first, second = 0.0, 0.0, 0.0
    for gene in range(len(shared_G)):
        if shared_G[gene]:
            rate = detected_G[gene]
            total += rate
            first -= rate * np.log(rate)
            second += rate * np.log(rate) ** 2
    mean = first / total
    return mean, max(second / total - mean**2, 1e-9)


@njit(cache=True, nogil=True)
def _compare(rows, pairs_P2, behind_one, behind_two):  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915  # compiled
    one, two = rows
    shared_G, level_L = behind_one[0], behind_one[1]
    detected, log_counts = (behind_one[2], behind_two[2]), (behind_one[3], behind_two[3])
    log_none, typical = (behind_one[4], behind_two[4]), (behind_one[5], behind_two[5])
    spread, many = (behind_one[6], behind_two[6]), (behind_one[7], behind_two[7])
    usual, varies = np.zeros((2, len(level_L))), np.zeros((2, len(level_L)))
    evidence_P, how_P3 = np.zeros(len(pairs_P2)), np.zeros((len(pairs_P2), 3), np.int64)
    # What a gene that neither has says for one cell; summed over all genes once, for either source and each level.
    zeros = np.zeros((2, len(level_L), len(shared_G)))
    nothing = np.zeros((2, len(level_L)))
    for side in range(2):
        for level in range(len(level_L)):
            for gene in range(len(shared_G)):
                if shared_G[gene]:
                    zeros[side, level, gene] = np.log((1 - ERROR) * np.exp(-log_none[side][level, gene]) + ERROR)
                    nothing[side, level] += zeros[side, level, gene]
            usual[side, level], varies[side, level] = _surprise(detected[side][level], shared_G)
    for pair in range(len(pairs_P2)):
        n, total, unit = np.zeros(2, np.int64), np.zeros(2), np.zeros(2)
        for side in range(2):
            n[side], total[side], unit[side] = summary(one if side == 0 else two, pairs_P2[pair, side], shared_G)
        # Presence is asked of the cell with fewer genes, counts of the one with fewer counts.
        fewer = 0 if n[0] < n[1] or (n[0] == n[1] and total[0] <= total[1]) else 1
        thinner = 0 if total[0] <= total[1] else 1
        how_P3[pair, 1], how_P3[pair, 2] = n[fewer], _in_common(one, two, pairs_P2[pair], shared_G)
        # Most candidates end here, before any logarithm.
        if n[fewer] == 0 or how_P3[pair, 2] < CONTAINED * n[fewer]:
            continue
        share = total[thinner] / total[1 - thinner]
        level = min(np.searchsorted(level_L, n[1 - fewer]), len(level_L) - 1)
        thin_level = min(np.searchsorted(level_L, n[thinner]), len(level_L) - 1)
        depth = total[thinner] / typical[thinner]
        # Values that were scaled, with or without a logarithm, are counts of the smallest one; else genes say how deep.
        deeper = max(total[1 - fewer] / unit[1 - fewer] * unit[fewer] / total[fewer], (n[1 - fewer] / n[fewer]) ** 2)
        again = expected_again(one if fewer == 0 else two, pairs_P2[pair, fewer], shared_G, unit[fewer])
        own_level = min(np.searchsorted(level_L, n[fewer]), len(level_L) - 1)
        surprise, again_present = 0.0, 0.0
        presence, drawn, twin, equal = 0.0, nothing[thinner, thin_level], 0.0, True
        chance = 0.0
        a, b = one[0][pairs_P2[pair, 0]], two[0][pairs_P2[pair, 1]]
        a_end, b_end = one[0][pairs_P2[pair, 0] + 1], two[0][pairs_P2[pair, 1] + 1]
        while a < a_end or b < b_end:
            gene_a = one[1][a] if a < a_end else len(shared_G)
            gene_b = two[1][b] if b < b_end else len(shared_G)
            gene = min(gene_a, gene_b)
            x = float(one[2][a]) if gene_a == gene else 0.0
            y = float(two[2][b]) if gene_b == gene else 0.0
            a += gene_a == gene
            b += gene_b == gene
            if not shared_G[gene]:
                continue
            equal &= x == y
            poor, rich = (x, y) if fewer == 0 else (y, x)
            if poor > 0:
                seen = detected[1 - fewer][level, gene]
                surprise -= np.log(detected[fewer][own_level, gene])
                again_seen = max(seen, found_again(poor / unit[fewer], again, deeper))
                again_present += np.log((1 - ERROR) / again_seen if rich > 0 else ERROR / max(1 - again_seen, ERROR))
                presence += np.log((1 - ERROR) / seen) if rich > 0 else np.log(ERROR / max(1 - seen, ERROR))
            thin, thick = (x, y) if thinner == 0 else (y, x)
            none = log_none[thinner][thin_level, gene]
            other = none
            if thin > 0:
                seen = detected[thinner][thin_level, gene]
                other = _log_chance(
                    log_counts[thinner][gene], seen, thin, 1.0 if thick >= many[thinner] and depth < 1 else depth
                )
            if thick >= many[thinner]:
                other = max(other, log_drawn_again(thin, thick, share, spread[thinner][gene]))
            drawn += np.log((1 - ERROR) * np.exp(log_binomial(thin, thick, share) - other) + ERROR)
            drawn -= zeros[thinner, thin_level, gene]
            twin += np.log((1 - ERROR) * np.exp(log_ratio(thin, thick, share)) + ERROR)
            chance += none - other
        if equal:
            for gene in range(len(shared_G)):
                if shared_G[gene]:
                    chance -= log_none[thinner][thin_level, gene]
            drawn = twin = chance
        odd = surprise - n[fewer] * usual[fewer, own_level] > ODD * np.sqrt(n[fewer] * varies[fewer, own_level])
        if odd and not equal:
            presence, drawn = again_present, min(drawn, twin)
        evidence_P[pair] = max(presence, drawn)
        how_P3[pair, 0] = int(equal)
    return evidence_P, how_P3


class Evidence(NamedTuple):
    """The evidence that is asked for, minus the natural log of a chance per pair."""

    near: float
    identical: float

    @staticmethod
    def of(n_cells: int) -> "Evidence":
        """Return what is asked for where so many cells are compared with each other."""
        pairs = np.log(max(2, n_cells) ** 2 / 2)
        return Evidence(
            max(LEAST_NEAR, float(pairs - np.log(NEAR_BY_CHANCE))),
            max(LEAST_IDENTICAL, float(pairs - np.log(IDENTICAL_BY_CHANCE))),
        )

    def believed(
        self, evidence_P: NDArray[np.float64], identical_P: NDArray[np.bool_], same_barcode_P: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return which `likely` pairs are one cell, shape (P,); a barcode in common is evidence, too."""
        near = np.maximum(self.near - BARCODE * same_barcode_P, LEAST_NEAR - BARCODE / 2)
        equal = np.maximum(self.identical - BARCODE * same_barcode_P, LEAST_IDENTICAL)
        enough: NDArray[np.bool_] = evidence_P >= np.where(identical_P, equal, near)
        return enough


def likely(compared: Compared, same_barcode_P: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which pairs may be one cell, shape (P,): identical ones, and those of which one contains the other."""
    contained = compared.n_agree_P >= CONTAINED * compared.n_detected_P
    contained &= (compared.n_detected_P >= FEWEST_GENES) | same_barcode_P
    enough: NDArray[np.bool_] = compared.evidence_P >= LEAST_IDENTICAL
    return enough & (compared.identical_P | contained)


def among_copies(
    evidence_P: NDArray[np.float64],
    ends_P2: NDArray[np.int64],
    believed_P: NDArray[np.bool_],
    n_pairs: float,
    n_known: int,
) -> NDArray[np.bool_]:
    """Return which further pairs of two sources are one cell, once some certainly are (Benjamini & Hochberg 1995).

    Where many cells are copies, another copy is no surprise: so much evidence is asked for that of the pairs found, a
    share of at most `FALSE_AMONG_COPIES` is expected by chance. Each cell counts once, so that one odd cell that agrees
    with many lowers nothing.

    Parameters
    ----------
    evidence_P, ends_P2
        The likely pairs and their cells.
    believed_P
        Those that are believed by themselves; without any, no known one and no `MANY`, none is.
    n_pairs, n_known
        How many pairs were compared, and how many cells have an identical one.

    Examples
    --------
    >>> evidence = np.array([40.0] * 50 + [9.0, 2.0])
    >>> ends = np.stack([np.arange(52), np.arange(52)], axis=1)
    >>> among_copies(evidence, ends, evidence > 30, 100, 0).tolist()[-2:]
    [True, False]
    """
    if not len(evidence_P):
        return believed_P
    order = np.argsort(-evidence_P, kind="stable")
    firsts = np.zeros((len(order), 2), np.int64)
    for side in range(2):
        firsts[np.unique(ends_P2[order, side], return_index=True)[1], side] = 1
    n_found = n_known + firsts.cumsum(axis=0).min(axis=1)
    share_false = n_pairs * np.exp(-evidence_P[order]) / n_found
    # Of many pairs, each with less evidence, some are certain: so many by chance are less likely than one such pair.
    many = np.any((n_found >= MANY) & (share_false <= FALSE_AMONG_MANY))
    if not (believed_P.any() or n_known or many):
        return believed_P
    passed = np.flatnonzero(share_false <= FALSE_AMONG_COPIES)
    bar = evidence_P[order[passed[-1]]] if len(passed) else np.inf
    found: NDArray[np.bool_] = evidence_P >= bar
    return found
