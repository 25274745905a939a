"""Diversity on the Cell Ontology: two kinds of T cell count for less than a T cell and a neuron.

The ontology is that of cellxgene-ontology-guide (extra ``ontology``), which brings it along: nothing is downloaded.
Axes in names: L labels or terms, R draws.
"""

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corpuscle.core.errors import MeasureError

# How many steps in the ontology make a type 1/e as like: Z = exp(-steps / SCALE).
SCALE = 2.0
INSTALL = "diversity on the Cell Ontology needs cellxgene-ontology-guide: pip install 'corpuscle[ontology]'"

_TERM = re.compile(r"CL[:_]\d{7}")


class Ontology(Protocol):
    """What is asked of an ontology: `CellOntology` is one, and so is a small made-up one in a test."""

    def find(self, label: str) -> "Match | None":
        """Return the term that a label means, if that is known."""

    def ancestors(self, term: str) -> Mapping[str, int]:
        """Return a term's ancestors with the fewest steps to each, itself with 0 among them."""

    def parents(self, term: str) -> Sequence[str]:
        """Return the terms right above one."""


class Match(NamedTuple):
    """A term that a label means: its id, its name, and what told so (``id``, ``name``, ``synonym``, ``given``)."""

    term: str
    name: str
    by: str


class CellOntology:
    """The Cell Ontology.

    Raises
    ------
    MeasureError
        When cellxgene-ontology-guide is not installed.

    Examples
    --------
    >>> CellOntology().find("B cells")
    Match(term='CL:0000236', name='B cell', by='name')
    """

    def __init__(self) -> None:
        try:
            from cellxgene_ontology_guide.ontology_parser import OntologyParser
        except ImportError:
            raise MeasureError(INSTALL) from None
        self._parser: Any = OntologyParser()

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        ids = self._parser.get_term_label_to_id_map("CL")
        return {_plain(name): term for name, term in ids.items() if self._is_current(term)}

    @functools.cached_property
    def _synonyms(self) -> dict[str, str]:
        """Synonyms of exactly one term: what could mean two things means neither."""
        found: dict[str, set[str]] = {}
        for term in self._names.values():
            for synonym in self._parser.get_term_synonyms(term):
                found.setdefault(_plain(synonym), set()).add(term)
        return {synonym: next(iter(terms)) for synonym, terms in found.items() if len(terms) == 1}

    def _is_current(self, term: str) -> bool:
        return term.startswith("CL:") and not self._parser.is_term_deprecated(term)

    def find(self, label: str) -> Match | None:
        """Return the term that a label means, if that is known.

        A label is an id (``CL:0000236``), the name of a term or a synonym of one term only, whatever the case,
        underscores and plural; or the beginning of a name that ends in "cell" (``B``). A synonym's beginning is not
        enough: an alpha cell of the pancreas is not the alpha cell of the retina.
        """
        if _TERM.fullmatch(label):
            term = label.replace("_", ":")
            known = bool(self._parser.is_valid_term_id(term)) and self._is_current(term)
            return self._match(term, "id") if known else None
        plain = _plain(label)
        for names, by in ((self._names, "name"), (self._synonyms, "synonym")):
            if plain in names:
                return self._match(names[plain], by)
        return self._match(self._names[f"{plain} cell"], "name") if f"{plain} cell" in self._names else None

    def _match(self, term: str, by: str) -> Match:
        return Match(term, str(self._parser.get_term_label(term)), by)

    def ancestors(self, term: str) -> Mapping[str, int]:
        """Return a term's ancestors with the fewest steps to each, itself with 0 among them."""
        self._require(term)
        found: Mapping[str, int] = self._parser.get_term_ancestors_with_distances(term, include_self=True)
        return found

    def parents(self, term: str) -> Sequence[str]:
        """Return the terms right above one."""
        self._require(term)
        found: Sequence[str] = self._parser.get_term_parents(term)
        return found

    def _require(self, term: str) -> None:
        if not self._parser.is_valid_term_id(term):
            raise MeasureError(f"the Cell Ontology has no term {term!r}; give an id such as CL:0000236")


def _plain(label: str) -> str:
    """Write a label as it is compared.

    Examples
    --------
    >>> _plain(" CD14-positive_Monocytes")
    'cd14-positive monocyte'
    """
    words = re.sub(r"[\s_]+", " ", label).strip().lower()
    return words.removesuffix("s") if words.endswith(("cells", "cytes", "phils", "blasts", "phages")) else words


def mapped(
    labels: Iterable[str], ontology: Ontology, given: Mapping[str, str] | None = None
) -> dict[str, Match | None]:
    """Map labels to terms; None for those whose meaning is not known.

    Parameters
    ----------
    labels
        What to map.
    ontology
        Where to look.
    given
        Terms of labels that the study file names itself; they come first.

    Raises
    ------
    MeasureError
        When a given term is not in the ontology.
    """
    found: dict[str, Match | None] = {}
    for label in labels:
        term = (given or {}).get(label)
        if term is None:
            found[label] = ontology.find(label) if label else None
            continue
        match = ontology.find(term)
        if match is None or match.by != "id":
            raise MeasureError(f"the Cell Ontology has no current term {term!r}, given for {label!r}")
        found[label] = match._replace(by="given")
    return found


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
