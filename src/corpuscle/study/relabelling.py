"""Relabelling: the labels of a study's sources under the names that its ``[labels]`` give, and a record of it.

What is named is named first; then labels of two sources that differ by spelling alone become one. Two labels of one
source never do: who wrote both meant two things.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd

from corpuscle.core.components import legal_names
from corpuscle.core.errors import MeasureError
from corpuscle.core.text import shortened
from corpuscle.corpus.cell_ontology import TERM, CellOntology, installed_ontology
from corpuscle.source.label_map import PACKAGED, LabelMap
from corpuscle.source.labels import as_labels
from corpuscle.source.source import Source
from corpuscle.source.spelling import spelling
from corpuscle.study.findings import Findings
from corpuscle.study.renamed import IDS, Given, Renamed, by_spelling
from corpuscle.study.renamed_remarks import renamed_remarks

COLUMNS = ("label", "source", "from", "to", "how", "n_cells")


def relabel(findings: Findings, opened: Mapping[str, Source]) -> tuple[dict[str, Source], pd.DataFrame]:
    """Name labels as a study says.

    Parameters
    ----------
    findings
        Where what is wrong, or likely not meant, is noted.
    opened
        The sources as their files have them.

    Returns
    -------
    The sources, and a row for each label that is called otherwise: columns `COLUMNS`; ``n_cells`` are those of the
    source.
    """
    sources, records = dict(opened), list[pd.DataFrame]()
    for column in columns_of(findings, opened):
        given = _given(findings, column, opened)
        there = {name: counts(source, column) for name, source in opened.items() if column in source.cells}
        found = _renamed(column, given, there)
        for name, renamed in found.items():
            if renamed:
                sources[name] = sources[name].renamed(column, {label: one.name for label, one in renamed.items()})
                rows = [(column, name, label, *one, there[name][label]) for label, one in renamed.items()]
                records.append(pd.DataFrame(rows, columns=list(COLUMNS)))
        for place, message in renamed_remarks(column, given, there, found):
            findings.warn(place, message)
    if not records:
        return sources, pd.DataFrame(columns=list(COLUMNS))
    record = pd.concat(records, ignore_index=True)
    return sources, record.sort_values(["label", "to", "source", "from"], ignore_index=True)


def columns_of(findings: Findings, opened: Mapping[str, Source]) -> list[str]:
    """Return the columns whose labels a study names; one that no source has is a problem."""
    spec, columns = findings.study.spec, list[str]()
    for column in spec.labels:
        if any(column in source.cells for source in opened.values()):
            columns.append(column)
        else:
            there = dict.fromkeys(str(name) for source in opened.values() for name in source.cells)
            findings.refuse(f"labels.{column}", f"no source has a column {column!r}; {legal_names(column, there)}")
    for name, source in opened.items():
        for column in spec.sources[name].labels:
            if column in source.cells:
                columns.append(column)
            else:
                hint = legal_names(column, map(str, source.cells))
                findings.refuse(f"sources.{name}.labels.{column}", f"source {name!r} has no column {column!r}; {hint}")
    return list(dict.fromkeys(columns))


def counts(source: Source, column: str) -> dict[str, int]:
    """Count the cells of each label of a source, labels sorted."""
    found = as_labels(source.cells[column]).value_counts()
    return {str(label): int(n) for label, n in sorted(found.items()) if n}


def _given(findings: Findings, column: str, opened: Mapping[str, Source]) -> dict[str, list[Given]]:
    """Return what is given for each source: its own names first."""
    study = findings.study
    everywhere = {f"labels.{column}": study.spec.labels.get(column)}
    found = dict[str, list[Given]]()
    known = dict[str, Given | None]()
    for name in opened:
        own = {f"sources.{name}.labels.{column}": study.spec.sources[name].labels.get(column)}
        given = {place: value for place, value in {**own, **everywhere}.items() if value is not None}
        for place, value in given.items():
            if place not in known:
                known[place] = read_given(findings, place, value)
        found[name] = [one for place in given if (one := known[place]) is not None]
    return found


def read_given(findings: Findings, place: str, value: str | Mapping[str, str]) -> Given | None:
    """Read what a study gives at a place, terms of the Cell Ontology under their names; None where that is at fault."""
    with findings.noting(place):
        labels = LabelMap.of(value, findings.study.folder)
        how = "given" if isinstance(value, Mapping) else "packaged" if value == PACKAGED else shortened(value)
        names, before = dict(labels.names), len(findings.problems)
        terms = {name for name in names.values() if TERM.fullmatch(name)}
        if terms:
            called = _called(findings, place, labels, terms, installed_ontology())
            names = {label: called.get(name, name) for label, name in names.items()}
        if len(findings.problems) == before:
            return Given(place, replace(labels, names=names), how)
    return None


def _called(
    findings: Findings, place: str, labels: LabelMap, terms: set[str], ontology: CellOntology
) -> dict[str, str]:
    """Return the names of terms; those that are not in the ontology, or obsolete, are problems."""
    called = {}
    for term in sorted(terms):
        try:
            called[term] = ontology.name_of(term.replace("_", ":"))
        except MeasureError as error:
            label = next(label for label, name in labels.names.items() if name == term)
            line = f"line {labels.lines[label]}: " if labels.lines else ""
            findings.refuse(place if labels.lines else f"{place}.{label}", f"{line}{label!r}: {error}")
    return called


def _renamed(
    column: str, given: Mapping[str, list[Given]], there: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, Renamed]]:
    """Return what the labels of each source are called, where that is not themselves."""
    found = {name: _named(given[name], labels) for name, labels in there.items()}
    if column not in IDS:
        for source, label, one in _spelled_alike(given, there, found):
            found[source][label] = one
    return {
        source: {label: one for label, one in renamed.items() if one.name != label} for source, renamed in found.items()
    }


def _named(given: list[Given], labels: Mapping[str, int]) -> dict[str, Renamed]:
    """Return the names that are given for a source's labels: by themselves, or else by their spelling."""
    found = dict[str, Renamed]()
    for one in reversed(given):
        names = one.labels.names
        found |= {label: Renamed(names[label], one.how) for label in labels if label in names}
    spelled_so = defaultdict[str, list[str]](list)
    for label in labels:
        spelled_so[spelling(label)].append(label)
    alone = {spelled: group[0] for spelled, group in spelled_so.items() if len(group) == 1 and group[0] not in found}
    for one in given if alone else ():
        known = defaultdict[str, set[str]](set)
        for label, name in one.labels.names.items():
            known[spelling(label)].add(name)
        for spelled, label in alone.items():
            if len(known.get(spelled, ())) == 1:
                found.setdefault(label, Renamed(next(iter(known[spelled])), f"{one.how}, spelled otherwise"))
    return found


def _spelled_alike(
    given: Mapping[str, list[Given]],
    there: Mapping[str, Mapping[str, int]],
    found: Mapping[str, Mapping[str, Renamed]],
) -> Iterator[tuple[str, str, Renamed]]:
    """Yield labels, by source, that differ from another source's by spelling alone, and what they are called.

    They have the name that is given, or else the spelling of the first source that has any.
    """
    names = {name for ones in given.values() for one in ones for name in one.labels.names.values()}
    for group in by_spelling(there, found).values():
        sources = [source for labels in group.values() for source in {source for source, _ in labels}]
        if len(group) == 1 or len(sources) != len(set(sources)):
            continue
        chosen = [name for name in group if name in names] or [next(iter(group))]
        if len(chosen) > 1:
            continue
        for name, labels in group.items():
            for source, label in labels if name != chosen[0] else ():
                yield source, label, Renamed(chosen[0], f"spelled as in {next(iter(group[chosen[0]]))[0]}")
