"""Twin: how likely another cell of the very same profile agrees as much, whatever that profile is.

What other cells of a source look like says little about a cell without peers: one of another depth than all others, or
the only one of its type. A twin is the hardest case of "another cell": counts of both are Poisson draws from one
profile, which is unknown. Any other cell differs more, as cells of one type vary more than draws from one profile.

- counts: given the sum of a gene's counts in both, those of one are binomial, with the cell's share of all counts; the
  profile cancels out (Przyborowski & Wilenski 1940).
- presence: of the genes that a cell has k times, another draw as deep has (k + 1) n_(k+1) / n_k more counts on average,
  n_k being the number of genes that it has k times (Good 1953).
"""

from math import lgamma

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def summary(cell, row, shared_G):  # type: ignore[no-untyped-def]  # compiled
    """Return of a cell, over the shared genes, how many it has, the sum of its values, and the smallest one."""
    starts, genes, counts = cell
    n, total, unit = 0, 0.0, np.inf
    for at in range(starts[row], starts[row + 1]):
        if shared_G[genes[at]]:
            n += 1
            total += counts[at]
            unit = min(unit, counts[at])
    return n, total, unit


@njit(cache=True, nogil=True)
def expected_again(cell, row, shared_G, unit):  # type: ignore[no-untyped-def]  # compiled
    """Return the counts that a twin as deep has of the genes that a cell has once, and twice.

    Parameters
    ----------
    cell
        Starts of rows, genes, counts.
    unit
        What one count is: the cell's smallest value, since values may have been scaled.
    """
    starts, genes, counts = cell
    once, twice, thrice = 0, 0, 0
    for at in range(starts[row], starts[row + 1]):
        if shared_G[genes[at]]:
            times = np.rint(counts[at] / unit)
            once += times == 1
            twice += times == 2
            thrice += times == 3
    # One gene more: of few, a count that happens to be missing would make evidence.
    return 2.0 * (twice + 1) / max(once, 1), 3.0 * (thrice + 1) / max(twice, 1)


@njit(cache=True, nogil=True)
def found_again(times, again, deeper):  # type: ignore[no-untyped-def]  # compiled
    """Return the chance, at most, that a twin so many times as deep has a gene that a cell has so many times."""
    # By Jensen's inequality: genes differ in their mean, so that fewer are found than of the average mean.
    mean = again[0] if times < 2 else again[1] if times < 3 else times + 1
    return -np.expm1(-deeper * mean)


@njit(cache=True, nogil=True)
def log_binomial(k, n, p):  # type: ignore[no-untyped-def]  # compiled
    """Return the log of the binomial chance of k of n."""
    if k > n:
        return -np.inf
    if p >= 1:
        return 0.0 if k == n else -np.inf
    chosen = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return chosen + k * np.log(p) + (n - k) * np.log1p(-p)


@njit(cache=True, nogil=True)
def log_ratio(thin, thick, share):  # type: ignore[no-untyped-def]  # compiled
    """Return the log-ratio, given the sum of two counts, of one as a draw from the other against two of one profile.

    Parameters
    ----------
    thin, thick
        Counts of a gene in the cell that may be drawn, and in the one that it may be drawn from.
    share
        The first cell's sum of counts, divided by the second's.
    """
    drawn = log_binomial(thin, thick, share)
    if drawn == -np.inf:
        return drawn
    both = thin + thick
    # The chance of the sum, all counts of the thicker one being as likely: each adds one, or with its draw two.
    sums = (1 - (-share) ** (both + 1)) / (1 + share)
    return drawn - np.log(sums) - log_binomial(thin, both, share / (1 + share))


@njit(cache=True, nogil=True)
def log_drawn_again(count, of, share, spread):  # type: ignore[no-untyped-def]  # compiled
    """Return the log of the chance of a count in a cell of one profile with another, given the other's count.

    Parameters
    ----------
    count, of
        The counts of a gene in either cell.
    share
        The first cell's sum of counts, divided by the other's.
    spread
        The square of the coefficient of variation that the gene's mean has between such cells.
    """
    # Jeffreys' prior for the mean: of the counts that it is used for, hardly a matter.
    mean = (of + 0.5) * share
    size = 1 / (1 / (of + 0.5) + spread)
    chosen = lgamma(count + size) - lgamma(size) - lgamma(count + 1)
    return chosen + count * np.log(mean / (mean + size)) + size * np.log(size / (mean + size))
