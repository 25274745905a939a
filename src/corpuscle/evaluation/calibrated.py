"""Calibrated clustering: only clusters that differ in more than what clustering itself makes differ.

Cells that are clustered by their genes differ in these genes, whether or not they are of two kinds. Genes that are
drawn without any kinds (knockoffs) are clustered with the real ones; what differs no more than they do is no evidence.

Knockoffs know nothing of how deep cells are sequenced, and real genes do: where depths differ much, cells of one kind
may be parted by depth (measured in docs/study-file.md). A gene whose counts vary less than Poisson's, such as one that
is the same in all cells, tells a cell's depth exactly once it is scaled, and no null gives it a knockoff that does:
such genes are left out.

Axes in names: N cells, G genes, C clusters.
"""

from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from scipy.sparse import csr_matrix, hstack
from scipy.stats import chi2
from sklearn.decomposition import PCA

from corpuscle.core.components import component, construct
from corpuscle.core.errors import InputError
from corpuscle.core.randomness import given_generator, torch_seed
from corpuscle.corpus.expression.variable_genes import GeneMoments, cp10k, most_variable
from corpuscle.evaluation.metrics.clustering import leiden
from corpuscle.evaluation.metrics.knockoffs import Null, half, knockoffs, log10_p, threshold
from corpuscle.evaluation.metrics.neighbours import connectivities, nearest
from corpuscle.evaluation.metrics.rank_test import SortedGenes
from corpuscle.source.features import features_of
from corpuscle.source.in_memory import InMemory, column_to_add, place_of

if TYPE_CHECKING:
    from anndata import AnnData

N_GENES = 2000
FEWEST_GENES = 2
# As published: resolutions from 0.8 down by 0.8, 10 components. As scanpy: 15 neighbours, values cut at 10 deviations.
START, SHRINK, N_COMPONENTS, N_NEIGHBOURS, MOST_DEVIATIONS = 0.8, 0.8, 10, 15, 10.0
# At so low a resolution all cells are long in one cluster.
LEAST_RESOLUTION = 1e-6
# How unlikely counts must be to vary so little by Poisson's law.
STEADY = 1e-6
Evidence = Literal["zip", "nb", "copula", "countsplit"]


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be 0 or 1, the number of false genes that are added to the estimate")  # noqa: TRY004
    return value


@component
class Calibration:
    """How clusters are calibrated; see `calibrated`, and for `n_genes` `calibrated_clusters`."""

    evidence: Evidence = "zip"
    q: Annotated[float, Field(gt=0, lt=1)] = 0.05
    offset: Annotated[Literal[0, 1], BeforeValidator(_no_truth_value)] = 1
    merge: bool = False
    n_genes: Annotated[int, Field(ge=FEWEST_GENES, le=20_000)] = N_GENES


class Calibrated(NamedTuple):
    """Clusters, and how they were come by.

    Attributes
    ----------
    cluster_N
        The cluster of each cell, from 0.
    plain_N
        Those of plain Leiden at the first resolution, on the same graph, which nothing calibrates.
    resolution
        The resolution of the clusters that passed; of merged ones, the first.
    n_rounds
        How many clusterings, or merges, were tried.
    kept_G
        Which of the genes were looked at; the others are `steady`.
    """

    cluster_N: NDArray[np.int64]
    plain_N: NDArray[np.int64]
    resolution: float
    n_rounds: int
    kept_G: NDArray[np.bool_]


def calibrated(
    counts_NG: csr_matrix,
    rng: np.random.Generator,
    *,
    evidence: Evidence = "zip",
    q: float = 0.05,
    offset: Literal[0, 1] = 1,
    merge: bool = False,
) -> Calibrated:
    """Cluster cells so that every two clusters differ in genes by more than knockoffs do.

    Parameters
    ----------
    counts_NG
        Counts of the variable genes, whole numbers, shape (N, G). Those that are `steady` are left out.
    rng
        The only source of randomness.
    evidence
        What genes are held against: knockoffs of a null (see `corpuscle.evaluation.metrics.knockoffs.knockoffs`), or
        ``"countsplit"``: one half of the counts is clustered, the other is tested.
    q
        The false discovery rate of genes; for ``"countsplit"``, the chance of any false gene (Bonferroni).
    offset
        See `corpuscle.evaluation.metrics.knockoffs.threshold`.
    merge
        False, as published: where any two clusters have no gene that tells them apart, all clusters are dropped, and
        found anew at 0.8 of the resolution. True: the two are merged, the most alike first.

    Returns
    -------
    Calibrated
        One cluster of all cells where nothing can be told apart, or fewer than two genes are left.

    References
    ----------
    DenAdel et al. 2025, Am J Hum Genet (recall, formerly callback).
    """
    kept_G = ~steady(counts_NG)
    if kept_G.sum() < FEWEST_GENES:
        none_N = np.zeros(counts_NG.shape[0], np.int64)
        return Calibrated(none_N, none_N, START, 0, kept_G)
    tested, held, shown = _evidence(csr_matrix(counts_NG)[:, np.flatnonzero(kept_G)], evidence, rng)
    z_NK, seed = _components(shown, torch_seed(rng) % 2**31), torch_seed(rng) % 2**31
    graph, genes = connectivities(nearest(z_NK, N_NEIGHBOURS)), SortedGenes.of(tested)
    resolution, n_rounds = START, 0
    plain_N = cluster_N = leiden(graph, resolution, seed)
    while cluster_N.max() > 0:
        n_rounds += 1
        alike = _first_alike(genes, cluster_N, z_NK, (held, q, offset))
        if alike is None:
            return Calibrated(cluster_N, plain_N, resolution, n_rounds, kept_G)
        if merge:
            one, other = alike
            cluster_N = np.unique(np.where(cluster_N == other, one, cluster_N), return_inverse=True)[1].astype(np.int64)
        else:
            resolution *= SHRINK
            cluster_N = np.zeros_like(cluster_N) if resolution < LEAST_RESOLUTION else leiden(graph, resolution, seed)
    return Calibrated(cluster_N, plain_N, resolution, n_rounds, kept_G)


def steady(counts_NG: csr_matrix) -> NDArray[np.bool_]:
    """Return which genes vary less over cells than Poisson's law lets them, shape (G,), by the index of dispersion.

    Parameters
    ----------
    counts_NG
        Counts, shape (N, G).

    Examples
    --------
    >>> counts = np.column_stack([np.full(100, 3), np.random.default_rng(0).poisson(3.0, 100), np.zeros(100)])
    >>> steady(csr_matrix(counts)).tolist()
    [True, False, False]
    """
    n_cells = counts_NG.shape[0]
    mean_G = np.asarray(counts_NG.mean(axis=0)).ravel()
    square_G = np.asarray(counts_NG.multiply(counts_NG).mean(axis=0)).ravel()
    sum_G = np.maximum(square_G - mean_G**2, 0) * n_cells
    index_G = np.divide(sum_G, mean_G, out=np.full_like(mean_G, np.inf), where=mean_G > 0)
    found: NDArray[np.bool_] = chi2.cdf(index_G, max(n_cells - 1, 1)) < STEADY
    return found


def calibrated_clusters(  # noqa: PLR0913
    adata: "AnnData",
    *,
    layer: str | None = None,
    n_genes: int = N_GENES,
    evidence: Evidence = "zip",
    q: float = 0.05,
    offset: Literal[0, 1] = 1,
    merge: bool = False,
    rng: np.random.Generator | int = 0,
    key_added: str = "calibrated",
) -> "AnnData":
    """Cluster the cells of an AnnData so that every two clusters differ by more than chance and clustering make.

    Parameters
    ----------
    adata
        Cells, with counts in ``X``.
    layer
        Where the counts are, if not in ``X``.
    n_genes
        How many of the most variable genes are looked at.
    evidence, q, offset, merge
        See `calibrated`.
    rng
        A generator, or the seed of one.
    key_added
        The column of ``obs`` that the clusters are written into, and the entry of ``uns`` with the resolution, and with
        the genes that were left out as they vary less than Poisson's law lets them (``left_out``).

    Returns
    -------
    AnnData
        The same one.

    Raises
    ------
    InputError
        When a setting or `rng` cannot be, there are no cells, genes or such layer, or no counts: numbers that are
        negative, infinite or not whole.

    Examples
    --------
    >>> import anndata
    >>> one_kind = anndata.AnnData(np.random.default_rng(0).poisson(2.0, (100, 50)).astype(np.float32))
    >>> calibrated_clusters(one_kind).obs["calibrated"].nunique()
    1
    """
    settings = {"evidence": evidence, "q": q, "offset": offset, "merge": merge, "n_genes": n_genes}
    construct(Calibration, settings, "calibrated_clusters: ")
    generator, column = given_generator(rng), column_to_add(key_added)
    reader = InMemory(adata, place_of(adata, layer))
    is_gene, _ = features_of(reader.read_genes())
    if not reader.n_cells() or is_gene.sum() < FEWEST_GENES:
        raise InputError(f"there is nothing to cluster: {reader.n_cells()} cells and {int(is_gene.sum())} genes")
    counts = reader.read_counts(np.arange(reader.n_cells())).astype(np.float64)[:, np.flatnonzero(is_gene)]
    if not np.isfinite(counts.data).all() or (counts.data < 0).any() or (counts.data != np.round(counts.data)).any():
        raise InputError(
            f"expected counts, whole numbers of 0 or more, in {reader.counts}; name the layer that has them"
        )
    genes = variable_genes(counts, n_genes)
    found = calibrated(counts[:, genes], generator, evidence=evidence, q=q, offset=offset, merge=merge)
    adata.obs[column] = pd.Categorical(found.cluster_N.astype(str))
    left_out = adata.var_names[np.flatnonzero(is_gene)[genes[~found.kept_G]]]
    settings = {"evidence": evidence, "q": q, "left_out": left_out.to_numpy(str)}
    adata.uns[column] = {"resolution": found.resolution, "n_rounds": found.n_rounds, **settings}
    return adata


def variable_genes(counts: csr_matrix, n_genes: int) -> NDArray[np.int64]:
    """Choose the most variable genes of counts, shape (N, G), as `most_variable` does; their positions, sorted."""
    scaled, n_cells = cp10k(counts), counts.shape[0]
    mean_G = np.asarray(scaled.mean(axis=0)).ravel()
    square_G = np.asarray(scaled.multiply(scaled).mean(axis=0)).ravel()
    variance_G = np.maximum(square_G - mean_G**2, 0) * n_cells / max(n_cells - 1, 1)
    return most_variable(GeneMoments(mean_G, variance_G), n_genes)


def _evidence(counts: csr_matrix, evidence: Evidence, rng: np.random.Generator) -> tuple[csr_matrix, int, csr_matrix]:
    """Return what is tested, as logarithms; how many real genes are followed by knockoffs there; what is clustered."""
    if evidence == "countsplit":
        clustered, tested = half(counts, rng)
        return cp10k(tested).log1p(), 0, cp10k(clustered).log1p()
    null: Null = evidence
    both = cp10k(csr_matrix(hstack([counts, knockoffs(counts, null, rng)]))).log1p()
    return both, counts.shape[1], both


def _components(log_NG: csr_matrix, seed: int) -> NDArray[np.float64]:
    """Return the first principal components of standardised genes, as Seurat and scanpy have them."""
    dense = log_NG.toarray().astype(np.float32)
    dense -= dense.mean(axis=0)
    deviation_G = dense.std(axis=0)
    dense = np.minimum(dense[:, deviation_G > 0] / deviation_G[deviation_G > 0], MOST_DEVIATIONS)
    n = min(N_COMPONENTS, min(dense.shape) - 1)
    if n < 1:
        return np.zeros((len(dense), 1))
    found: NDArray[np.float64] = PCA(n, svd_solver="randomized", random_state=seed).fit_transform(dense)
    return found


def _first_alike(
    genes: SortedGenes,
    cluster_N: NDArray[np.int64],
    z_NK: NDArray[np.float64],
    rule: tuple[int, float, Literal[0, 1]],
) -> tuple[int, int] | None:
    """Return two clusters that no gene tells apart; None: every two can be told apart.

    Those whose centres are nearest are looked at first: they are the likeliest, and one pair is enough.
    """
    n_clusters = int(cluster_N.max()) + 1
    centre_CK = np.array([z_NK[cluster_N == at].mean(axis=0) for at in range(n_clusters)])
    pairs = sorted(
        combinations(range(n_clusters), 2), key=lambda pair: np.sum((centre_CK[pair[0]] - centre_CK[pair[1]]) ** 2)
    )
    for one, other in pairs:
        group_N = np.where(cluster_N == other, 1, np.where(cluster_N == one, 0, -1))
        z_G = genes.z_between(group_N)
        if not _differs(z_G, *rule):
            return one, other
    return None


def _differs(z_G: NDArray[np.float64], n_real: int, q: float, offset: Literal[0, 1]) -> bool:
    """Return whether a gene tells two clusters apart: more surely than knockoffs, or, without them, surely at all."""
    strength_G = -log10_p(z_G)
    if not n_real:
        return bool(strength_G.max() > np.log10(len(strength_G) / q))
    w_G = strength_G[:n_real] - strength_G[n_real:]
    return bool((w_G >= threshold(w_G, q, offset)).any())
