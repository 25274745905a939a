"""Proposing: open a study's sources, and propose a name for each of their labels."""

from typing import NamedTuple

import pandas as pd

from corpuscle.core.components import legal_names
from corpuscle.core.errors import InputError, MeasureError
from corpuscle.core.paths import is_there
from corpuscle.corpus.cell_ontology import CellOntology, installed_ontology
from corpuscle.source.label_map import ALIKE, PACKAGED, LabelMap
from corpuscle.source.reader import located
from corpuscle.study.findings import Findings
from corpuscle.study.opening import Notice, open_sources
from corpuscle.study.proposals import as_table, proposals
from corpuscle.study.relabelling import counts, read_given
from corpuscle.study.spec import Study

CELL_TYPE = "cell_type"


class Proposed(NamedTuple):
    """Names that are proposed for labels.

    Attributes
    ----------
    table
        A row per label; see `corpuscle.study.proposals.as_table`.
    without
        What was not looked at, for people: the Cell Ontology, where it is not installed; else empty.
    """

    table: pd.DataFrame
    without: str


def proposed(study: Study, column: str = CELL_TYPE, notice: Notice | None = None) -> Proposed:
    """Propose names for the labels of a study's sources.

    Parameters
    ----------
    study
        The study; its tables need not be more than right. Names that it gives for all sources stay; labels that it
        names for one source are not asked about there. A file that it names and that is not there yet has none.
    column
        The label.
    notice
        Called with what is being done.

    Raises
    ------
    StudyError
        When a source cannot be opened, or the names that the study gives cannot be read.
    InputError
        When no source has such labels.
    """
    findings = Findings(study)
    opened = open_sources(findings, notice or (lambda _what, _share: None))
    given = _given(findings, f"labels.{column}", study.spec.labels.get(column))
    there = {}
    for name, source in opened.items():
        if column in source.cells:
            own = _given(findings, f"sources.{name}.labels.{column}", study.spec.sources[name].labels.get(column))
            there[name] = {label: n for label, n in counts(source, column).items() if label not in own.names}
    findings.stop()
    if not any(there.values()):
        columns = dict.fromkeys(str(name) for source in opened.values() for name in source.cells)
        raise InputError(f"no source has a label {column!r}; {legal_names(column, columns)}")
    ontology, without = _ontology() if column == CELL_TYPE else (None, "")
    packaged = LabelMap.of(PACKAGED, study.folder) if column == CELL_TYPE else None
    of_package = frozenset(name for name in there if study.spec.sources[name].dataset)
    found = proposals(
        there,
        given=given.names,
        packaged=packaged,
        of_package=of_package,
        ontology=ontology,
        is_type=column == CELL_TYPE,
    )
    return Proposed(as_table(found), without)


def _ontology() -> tuple[CellOntology | None, str]:
    try:
        return installed_ontology(), ""
    except MeasureError as error:
        return None, f"{error}; without it, only common names and labels that are spelled alike are known"


def _given(findings: Findings, place: str, value: object) -> LabelMap:
    """Return the names that a study gives at a place; none where their file is still to be written."""
    if isinstance(value, dict | str):
        is_file = isinstance(value, str) and value not in (PACKAGED, ALIKE)
        if not is_file or is_there(located(str(value), findings.study.folder)):
            found = read_given(findings, place, value)
            return found.labels if found else LabelMap({})
    return LabelMap({})
