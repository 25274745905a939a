"""Proposals: one name for the labels of a study's sources that mean the same, and how sure each is."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from corpuscle.corpus.cell_ontology import ROOT, TERM, CellOntology
from corpuscle.corpus.common_names import common_name
from corpuscle.source.label_map import LabelMap
from corpuscle.source.spelling import spelling
from corpuscle.study.near_labels import near_labels

COLUMNS = ("from", "to", "confidence", "by", "term", "kind_of", "near", "sources", "n_cells")
# How sure a name is that was found in a way; where two labels of a source would become one, only the surest is.
CONFIDENCE = {
    **dict.fromkeys(("given", "packaged", "id"), 1.0),
    "name": 0.95,
    "spelling": 0.9,
    "replacement": 0.9,
    "common name": 0.8,
    "synonym": 0.7,
}
# Ways in which somebody decided that labels of one source are one.
_DECIDED = ("given", "packaged")


@dataclass(frozen=True)
class Proposal:
    """A name for a label.

    Attributes
    ----------
    label
        The label.
    n_cells
        By source, how many cells have it.
    name, term
        The name, and its term of the Cell Ontology; empty where there is none.
    by
        How the name was found: a key of `CONFIDENCE`; empty where there is none.
    kind_of
        The names that are proposed for others and mean what this one is a kind of, the closest first.
    near
        Where there is no name: other labels, and names, that may mean the same.
    """

    label: str
    n_cells: Mapping[str, int]
    name: str = ""
    term: str = ""
    by: str = ""
    kind_of: tuple[str, ...] = ()
    near: tuple[str, ...] = ()

    @property
    def confidence(self) -> float:
        """How sure the name is, from 0 (there is none) to 1; a rank of the ways, not a measured frequency."""
        return CONFIDENCE.get(self.by, 0.0)


def proposals(
    there: Mapping[str, Mapping[str, int]],
    *,
    given: Mapping[str, str] | None = None,
    packaged: LabelMap | None = None,
    of_package: frozenset[str] = frozenset(),
    ontology: CellOntology | None = None,
    is_type: bool = True,
) -> list[Proposal]:
    """Propose a name for each label of some sources.

    Parameters
    ----------
    there
        By source, its labels with their numbers of cells.
    given
        Names that the study gives already; they stay.
    packaged, of_package
        The names of the packaged data sets' labels, and which sources are such.
    ontology
        The Cell Ontology; None where it is not installed.
    is_type
        Whether the labels are cell types: others are compared by their spelling alone.

    Returns
    -------
    A proposal for each label, in the sources' order, the most frequent first.

    Examples
    --------
    >>> found = proposals({"one": {"CD14 Mono": 9, "B": 5, "X": 1}, "two": {"CD14+ Monocyte": 7, "b": 4}})
    >>> [(one.label, one.name, one.by) for one in found]  # doctest: +NORMALIZE_WHITESPACE
    [('CD14 Mono', 'CD14-positive monocyte', 'common name'), ('B', 'B cell', 'common name'), ('X', '', ''),
     ('CD14+ Monocyte', 'CD14-positive monocyte', 'common name'), ('b', 'B cell', 'common name')]
    """
    n_cells = defaultdict[str, dict[str, int]](dict)
    for source, labels in there.items():
        for label, n in sorted(labels.items(), key=lambda item: -item[1]):
            n_cells[label][source] = n
    found = []
    for label, by_source in n_cells.items():
        one = Proposal(label, by_source)
        if label in (given or {}):
            one = replace(one, name=(given or {})[label], by="given")
        elif packaged is not None and label in packaged.names and of_package.issuperset(by_source):
            one = replace(one, name=packaged.names[label], by="packaged")
        elif is_type:
            one = _known(one, ontology)
        found.append(one)
    listed = _with_near([*_one_per_source(_spelled(found))])
    return listed if ontology is None else _with_kinds([_with_term(one, ontology) for one in listed], ontology)


def _with_term(one: Proposal, ontology: CellOntology) -> Proposal:
    """Add the term of a name that is one of the Cell Ontology."""
    match = ontology.find(one.name) if one.name and not one.term else None
    return replace(one, term=match.term) if match is not None and match.name == one.name else one


def _with_kinds(listed: list[Proposal], ontology: CellOntology) -> list[Proposal]:
    """Add which of the other names each is a kind of: such two types stay apart, and could be called alike."""
    # All are a kind of the root, which a study may have in place of an obsolete term.
    called = {one.term: one.name for one in listed if one.term not in ("", ROOT)}
    found = []
    for one in listed:
        steps = ontology.ancestors(one.term) if one.term else {}
        above = sorted((n, term) for term, n in steps.items() if n and term in called)
        found.append(replace(one, kind_of=tuple(called[term] for _, term in above)))
    return found


def _known(one: Proposal, ontology: CellOntology | None) -> Proposal:
    """Name a label by what it means in the Cell Ontology, or commonly: abbreviations before synonyms."""
    match = ontology.find(one.label) if ontology is not None else None
    if match is not None and match.by != "synonym":
        return replace(one, name=match.name, term=match.term, by=match.by)
    if ontology is not None and TERM.fullmatch(one.label):
        other = ontology.replacement(one.label.replace("_", ":"))
        return one if other is None else replace(one, name=other.name, term=other.term, by=other.by)
    if (known := common_name(one.label)) is not None:
        return replace(one, name=known.name, term=known.term, by="common name")
    if match is not None:
        return replace(one, name=match.name, term=match.term, by=match.by)
    return one


def _spelled(found: list[Proposal]) -> Iterator[Proposal]:
    """Name labels like a label that differs from them by spelling alone: its name, or itself."""
    first = dict[str, Proposal]()
    for one in sorted(found, key=lambda one: -one.confidence):
        first.setdefault(spelling(one.label), one)
    for one in found:
        like = first[spelling(one.label)]
        if one.name or like.label == one.label:
            yield one
        else:
            yield replace(one, name=like.name or like.label, term=like.term, by="spelling")


def _one_per_source(found: Iterator[Proposal]) -> Iterator[Proposal]:
    """Leave only the surest name where two labels of a source would become one: who wrote both meant two things."""
    listed = [*found]
    # What is called like another label would become one with it, too.
    taken = {(source, one.label): one.label for one in listed if not one.name for source in one.n_cells}
    for one in sorted(listed, key=lambda one: -one.confidence):
        if one.name and one.by not in _DECIDED:
            for source in one.n_cells:
                taken.setdefault((source, one.name), one.label)
    for one in listed:
        others = [taken.get((source, one.name), one.label) for source in one.n_cells]
        if one.name and one.by not in _DECIDED and any(other != one.label for other in others):
            yield Proposal(one.label, one.n_cells, near=(one.name,))
        else:
            yield one


def _with_near(found: list[Proposal]) -> list[Proposal]:
    """Add what may mean the same to labels without a name."""
    named = {one.label: one.name or one.label for one in found}

    def near(one: Proposal) -> tuple[str, ...]:
        others = [named[other.label] for other in near_labels(one.label, named)]
        return tuple(dict.fromkeys((*one.near, *others)))

    return [one if one.name else replace(one, near=near(one)) for one in found]


def as_table(found: list[Proposal]) -> pd.DataFrame:
    """Return proposals as a table with the columns `COLUMNS`, which a study reads as it is.

    Where there is no name, ``to`` is empty: the label stays as it is, and `corpuscle check` says so.
    """
    rows = [
        (one.label, one.name, one.confidence, one.by, one.term, *map("; ".join, (one.kind_of, one.near, one.n_cells)),
         sum(one.n_cells.values()))
        for one in found
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))
