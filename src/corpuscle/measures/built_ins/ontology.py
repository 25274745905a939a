"""Diversity on the Cell Ontology: two kinds of T cell count for less than a T cell and a neuron.

Axes in names: U uses of cells, L labels or terms.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corpuscle.core.components import component
from corpuscle.core.errors import MeasureError
from corpuscle.core.scores import Metric
from corpuscle.corpus.cell_ontology import Ontology, type_labels
from corpuscle.measures.measure import Measure
from corpuscle.measures.table import Book, demand
from corpuscle.measures.view import View

# How many steps in the ontology make a type 1/e as like: Z = exp(-steps / SCALE).
SCALE = 2.0
MAPPED_SHARE = Metric(
    "mapped_share", "Cells whose type is known", "Share of cells with a term of the Cell Ontology.", "none", "share"
)
LEINSTER_COBBOLD = Metric(
    "leinster_cobbold",
    "Effective cell types, by likeness",
    "Leinster–Cobbold diversity on the Cell Ontology: types that are alike there count for less.",
    "none",
    "positive",
)
FAITH = Metric(
    "faith",
    "Cell Ontology edges covered",
    "Faith's diversity, of the types that are known there: edges from them up to the root.",
    "none",
    "positive",
)


@component
class OntologyDiversity(Measure):
    """Diversity on the Cell Ontology, of the cells whose type is known there, and the share of these."""

    of = "cell_ontology"
    metrics = (MAPPED_SHARE, LEINSTER_COBBOLD, FAITH)

    def measure(self, view: View, book: Book) -> None:
        """Measure all cells, and as many as the smallest corpus has, drawn at random."""
        labels, code_N = np.unique(type_labels(view.corpus), return_inverse=True)
        matches = [view.study.types.matches[label] for label in labels.tolist()]
        term_N = np.array([match.term if match else "" for match in matches])[code_N]
        use_U = np.repeat(np.arange(len(view.corpus)), view.corpus.cells["times"].to_numpy(np.int64))
        equal_U = view.rng("types").choice(use_U, view.study.n_equal, replace=False)
        for size, at_U in (("own", use_U), ("equal", equal_U)):
            shown = size == "equal"
            term_U = term_N[at_U][term_N[at_U] != ""]
            terms, counts_L = np.unique(term_U, return_counts=True)
            with book.row(LEINSTER_COBBOLD, len(term_U), size=size, headline=shown) as row:
                row.value = leinster_cobbold(counts_L, similarity(terms.tolist(), _looked_up(view, terms)))
            with book.row(FAITH, len(term_U), size=size, headline=shown) as row:
                row.value = faith(terms.tolist(), _looked_up(view, terms))
            with book.row(MAPPED_SHARE, len(at_U), size=size, headline=shown) as row:
                demand(view.study.types.ontology)
                row.value = len(term_U) / len(at_U)


def _looked_up(view: View, terms: NDArray[np.str_]) -> Ontology:
    ontology = demand(view.study.types.ontology)
    if not len(terms):
        raise MeasureError("no cell type is known in the Cell Ontology; name their terms under [cell_types]")
    return ontology


def similarity(terms_L: Sequence[str], ontology: Ontology, scale: float = SCALE) -> NDArray[np.float64]:
    """Return how alike terms are: exp(-steps / scale), shape (L, L), from 0 (nothing in common) to 1 (equal).

    Steps are those of the shortest way from one term up to a common ancestor and down to the other.

    Raises
    ------
    MeasureError
        When a term is not in the ontology, or the scale is not positive.
    """
    if not scale > 0:
        raise MeasureError(f"the scale of similarity must be positive (it is {scale})")
    above_L = [ontology.ancestors(term) for term in terms_L]
    steps_LL = np.full((len(terms_L), len(terms_L)), np.inf)
    for at, one in enumerate(above_L):
        for other_at, other in enumerate(above_L[: at + 1]):
            common = [one[term] + other[term] for term in one.keys() & other.keys()]
            steps_LL[at, other_at] = steps_LL[other_at, at] = min(common, default=math.inf)
    return np.exp(-steps_LL / scale)


def leinster_cobbold(counts_L: ArrayLike, similarity_LL: NDArray[np.float64], order: float = 1.0) -> float:
    """Return the diversity of similar types: (Σ pᵢ (Zp)ᵢ^(q-1))^(1/(1-q)), from 1 to L; higher is more diverse.

    Leinster & Cobbold 2012, https://doi.org/10.1890/10-2402.1. Where types are not alike at all (Z = 1 on the diagonal
    only) it is Hill's number.

    Parameters
    ----------
    counts_L
        Cells of each type.
    similarity_LL
        How alike types are, 0 to 1; 1 on the diagonal.
    order
        0, 1, any other, or infinity.

    Raises
    ------
    MeasureError
        When there are no cells, or the order is negative or NaN.

    Examples
    --------
    >>> round(leinster_cobbold([5, 5], np.eye(2)), 3), round(leinster_cobbold([5, 5], np.ones((2, 2))), 3)
    (2.0, 1.0)
    """
    counts = np.asarray(counts_L, np.float64)
    if not counts.sum() > 0 or (counts < 0).any():
        raise MeasureError("there are no cells")
    if not order >= 0:
        raise MeasureError(f"the order of a diversity is at least 0 (it is {order})")
    there = counts > 0
    share_L = counts[there] / counts.sum()
    ordinary_L = similarity_LL[np.ix_(there, there)] @ share_L
    if order == 1:
        return float(np.exp(-(share_L * np.log(ordinary_L)).sum()))
    if math.isinf(order):
        return float(1 / ordinary_L.max())
    return float((share_L * ordinary_L ** (order - 1)).sum() ** (1 / (1 - order)))


def faith(terms: Iterable[str], ontology: Ontology) -> int:
    """Count the edges of the ontology that lead from these types up to the root; higher is more diverse.

    Faith's phylogenetic diversity (1992, https://doi.org/10.1016/0006-3207(92)91201-3) with edges of length 1. The
    ontology is no tree: a type can have several parents, and all its ways up count.

    Raises
    ------
    MeasureError
        When a term is not in the ontology.
    """
    covered = {ancestor for term in terms for ancestor in ontology.ancestors(term)}
    return sum(parent in covered for term in covered for parent in ontology.parents(term))
