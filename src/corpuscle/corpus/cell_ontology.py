"""The Cell Ontology: which of its terms a label means, and how terms are related.

The ontology is that of cellxgene-ontology-guide (extra ``ontology``), which brings it along: nothing is downloaded.
Axes in names: N cells.
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from corpuscle.core.errors import MeasureError
from corpuscle.corpus.corpus import Corpus

# Where a corpus has this column (CELLxGENE's schema has), it says which term a cell's type is.
TERM_COLUMN = "cell_type_ontology_term_id"
INSTALL = "the Cell Ontology needs cellxgene-ontology-guide: pip install 'corpuscle[ontology]'"

# An id, and that of the term above all others, "cell".
TERM = re.compile(r"CL[:_]\d{7}")
ROOT = "CL:0000000"


class Ontology(Protocol):
    """What is asked of an ontology: `CellOntology` is one, and so is a small made-up one in a test."""

    def find(self, label: str) -> "Match | None":
        """Return the term that a label means, if that is known."""

    def ancestors(self, term: str) -> Mapping[str, int]:
        """Return a term's ancestors with the fewest steps to each, itself with 0 among them."""

    def parents(self, term: str) -> Sequence[str]:
        """Return the terms right above one."""


class Match(NamedTuple):
    """A term that a label means: its id, its name, and how it was found.

    That is ``id``, ``name``, ``synonym``, ``given``, or ``replacement`` of an obsolete term.
    """

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
        if TERM.fullmatch(label):
            term = label.replace("_", ":")
            known = bool(self._parser.is_valid_term_id(term)) and self._is_current(term)
            return self._match(term, "id") if known else None
        plain = _plain(label)
        for names, by in ((self._names, "name"), (self._synonyms, "synonym")):
            if plain in names:
                return self._match(names[plain], by)
        return self._match(self._names[f"{plain} cell"], "name") if f"{plain} cell" in self._names else None

    def name_of(self, term: str) -> str:
        """Return the name of a current term.

        Raises
        ------
        MeasureError
            When there is no such term, or it is obsolete; the message has what replaces it, where that is known.

        Examples
        --------
        >>> CellOntology().name_of("CL:0001054")
        'CD14-positive monocyte'
        """
        self._require(term)
        if not self._is_current(term):
            other = self.replacement(term)
            instead = f"; write {other.term} ({other.name})" if other else " and nothing replaces it"
            raise MeasureError(f"{term} is obsolete in the Cell Ontology{instead}")
        return str(self._parser.get_term_label(term))

    def replacement(self, term: str) -> Match | None:
        """Return the term to take in place of an obsolete one, where that is known."""
        if not self._parser.is_valid_term_id(term) or self._is_current(term):
            return None
        others = [
            self._parser.get_term_replacement(term),
            *(self._parser.get_term_metadata(term).get("consider") or ()),
        ]
        known = [
            other for other in others if other and self._parser.is_valid_term_id(other) and self._is_current(other)
        ]
        return self._match(known[0], "replacement") if known else None

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


def related(terms: Sequence[str], ontology: Ontology) -> NDArray[np.bool_]:
    """Find which terms stand above or below each other: of such two, one is what the other is, said less closely.

    Parameters
    ----------
    terms
        T terms; ``""``, for a label whose meaning is not known, is related to none.
    ontology
        Where they are.

    Returns
    -------
    True where one is an ancestor of the other; no term is related to itself. Shape (T, T).

    Examples
    --------
    >>> terms = ["CL:0000084", "CL:0000624", "CL:0000625"]  # T cell, CD4-positive T cell, CD8-positive T cell
    >>> related(terms, CellOntology())[0].tolist(), related(terms, CellOntology())[1].tolist()
    ([False, True, True], [True, False, False])
    """
    above = [set(ontology.ancestors(term)) if term else set[str]() for term in terms]
    is_above_TT = np.array([[other in ancestors for other in terms] for ancestors in above], bool)
    is_above_TT = is_above_TT.reshape(len(terms), len(terms))
    same_TT = np.array(terms, str)[:, None] == np.array(terms, str)
    related_TT: NDArray[np.bool_] = (is_above_TT | is_above_TT.T) & ~same_TT
    return related_TT


@functools.cache
def installed_ontology() -> CellOntology:
    """Return the Cell Ontology that is installed, opened once a process.

    Raises
    ------
    MeasureError
        When cellxgene-ontology-guide is not installed.
    """
    return CellOntology()


def ontology_version() -> str:
    """Return the version of what brings the ontology; empty where it is not installed."""
    try:
        return version("cellxgene-ontology-guide")
    except PackageNotFoundError:
        return ""


def type_labels(corpus: Corpus) -> NDArray[np.str_]:
    """Return what says each cell's type: its term where the corpus has one, else its label."""
    label_N, term_N = corpus.labels("cell_type"), corpus.labels(TERM_COLUMN)
    return np.where(term_N == "", label_N, term_N)


@dataclass(frozen=True, eq=False)
class CellTypes:
    """What cell types mean.

    Attributes
    ----------
    ontology
        Where they are looked up; an error where it is not installed.
    matches
        By label, the term that it was taken for; None where that is not known.
    """

    ontology: Ontology | MeasureError
    matches: Mapping[str, Match | None]
