"""Enrichment: whether the genes of a set stand together at an end of a ranking, by pre-ranked GSEA.

The statistics are gseapy's, in its port of fgsea's multilevel sampling (Korotkevich et al. 2021), which gives P-values
far below one over the number of permutations. Axes in names: G genes.
"""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

# How many random sets the mean ES of a size is found by, to normalise with: gseapy's default.
N_RANDOM = 1000
# The least P: to go lower takes seconds a set.
LEAST_P = 1e-20
# So many sets are looked for in one go: gseapy keeps the running sum of each, 1 MB of 15,000 genes.
AT_ONCE = 100
# The least share of all weights that a gene has.
LEAST = 1e-9


def require_gseapy() -> None:
    """Refuse, where a study is read, to look for gene sets without gseapy.

    Raises
    ------
    ValueError
        When gseapy is not installed.
    """
    if find_spec("gseapy") is None:
        raise ValueError("it needs gseapy: pip install 'corpuscle[gene-sets]'")


class Enrichment(NamedTuple):
    """How a set stands in a ranking.

    Attributes
    ----------
    nes
        The normalised enrichment score: the largest deviation of the running sum (Subramanian et al. 2005, weight 1)
        over the mean one of random sets as large, of the same sign. Positive: at the end of high values.
    p
        How likely a random set as large deviates as far, among those that deviate to the same side; at least `LEAST_P`.
    es
        The deviation itself, -1 to 1.
    leading
        The genes that stand up to it, those furthest from 0 first.
    """

    nes: float
    p: float
    es: float
    leading: tuple[int, ...]


NONE = Enrichment(math.nan, math.nan, math.nan, ())


def enrichments(value_G: NDArray[np.float64], sets: Sequence[NDArray[np.intp]], seed: int) -> list[Enrichment]:
    """Find how sets stand in the ranking of genes by a value, largest first.

    Parameters
    ----------
    value_G
        What genes are ranked by, and weighted by in absolute value; finite. Equal values stand in random order.
    sets
        The places of the genes of each set; at least one gene and not all.
    seed
        What random sets, and the order of ties, depend on: the same seed gives the same, on any number of threads.

    Returns
    -------
    One for each set, in their order; NaN where all genes of a set have the value 0, where all genes have one value, or
    where fewer than 10 of `N_RANDOM` random sets deviate to the same side.

    Examples
    --------
    >>> value_G = np.random.default_rng(0).normal(size=200)
    >>> found = enrichments(value_G, [np.argsort(-value_G)[:20]], seed=0)[0]
    >>> round(found.es, 2), found.p < 1e-6, len(found.leading)
    (1.0, True, 20)
    """
    from gseapy import prerank

    usable = [at for at, genes in enumerate(sets) if np.any(value_G[genes] != 0)]
    if not usable or np.ptp(value_G) == 0:
        return [NONE] * len(sets)
    value_G = _without_zeros(value_G)
    # Genes are sorted by their names, and families by theirs: ties in that order would be enriched.
    order = np.lexsort((np.random.default_rng(seed).permutation(len(value_G)), -value_G))
    # gseapy is given neither names of genes nor of sets, which may be anything; capitals, as it turns others into them.
    ranking = pd.Series(value_G[order], index=[f"G{gene}" for gene in order])
    found = dict.fromkeys(range(len(sets)), NONE)
    for first in range(0, len(usable), AT_ONCE):
        some = {str(at): [f"G{gene}" for gene in sets[at]] for at in usable[first : first + AT_ONCE]}
        with _quiet():
            results = prerank(
                ranking,
                some,
                min_size=1,
                max_size=len(value_G),
                permutation_num=N_RANDOM,
                ascending=None,
                threads=1,
                seed=seed,
                method="multilevel",
                eps=LEAST_P,
                no_plot=True,
            ).results
        found |= {int(name): _enrichment(one) for name, one in results.items()}
    return [*found.values()]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what gseapy says of ties, broken at random here, and of sets without P: their values are NaN.

    It logs the one, and its compiled part writes the other past Python.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        kept = os.dup(2)
    except OSError:  # a process without a terminal or a log
        kept = -1
    try:
        if kept >= 0:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        yield
    finally:
        logging.disable(before)
        if kept >= 0:
            os.dup2(kept, 2)
            os.close(kept)


def _without_zeros(value_G: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lift values to the least that gseapy distinguishes from 0.

    It counts weights in whole parts of 2^-30 of their sum, and ends in a panic where a random set weighs nothing.
    """
    share_G = value_G / np.abs(value_G).max()
    share_G /= np.abs(share_G).sum()
    lifted_G: NDArray[np.float64] = np.where(share_G < 0, -1.0, 1.0) * np.maximum(np.abs(share_G), LEAST)
    return lifted_G


def _enrichment(found: dict[str, object]) -> Enrichment:
    """Take over what gseapy found; its leading genes are in order, those at the end of the ranking first."""
    es, nes, p = (float(str(found[key])) for key in ("es", "nes", "pval"))
    if not all(map(math.isfinite, (es, nes, p))):
        return NONE
    leading = [int(gene[1:]) for gene in str(found["lead_genes"]).split(";") if gene]
    return Enrichment(nes, min(p, 1.0), es, tuple(leading))


def false_discovery_rates(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each P-value the false discovery rate at which it is found (Benjamini & Hochberg), any shape.

    NaN counts as not tested.

    Examples
    --------
    >>> false_discovery_rates(np.array([0.01, np.nan, 0.04])).tolist()
    [0.02, nan, 0.04]
    """
    rates, known = np.full(p.shape, np.nan), np.isfinite(p)
    if known.any():
        rates[known] = false_discovery_control(p[known])
    return rates
