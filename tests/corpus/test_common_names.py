"""What cell types are commonly called is held to the Cell Ontology."""

import csv
from importlib.resources import files

import pytest

from corpuscle.core.errors import MeasureError
from corpuscle.corpus.cell_ontology import CellOntology
from corpuscle.corpus.common_names import common_name, normal_words

ROWS = list(csv.DictReader((files("corpuscle.corpus") / "common_names.csv").read_text("utf-8").splitlines()))


def test_each_term_is_current_and_called_so():
    ontology = CellOntology()
    assert [ontology.name_of(row["term"]) for row in ROWS] == [row["called"] for row in ROWS]


def test_no_name_stands_for_two_terms():
    meant = {}
    for row in ROWS:
        assert meant.setdefault(tuple(sorted(normal_words(row["name"]))), row["term"]) == row["term"]


@pytest.mark.parametrize(("label", "name"), [
    ("CD14+ Monocyte", "CD14-positive monocyte"), ("CD14_Monocytes", "CD14-positive monocyte"),
    ("NK cells", "natural killer cell"), ("Dendritic", "dendritic cell"), ("pDCs", "plasmacytoid dendritic cell"),
    ("CD4-positive T cell", "CD4-positive, alpha-beta T cell"), ("CD4- T", None), ("CD14-negative monocytes", None),
    ("T/NK", None), ("B Activated", None), ("", None),
])  # fmt: skip
def test_a_label_is_found_however_it_is_written(label, name):
    assert getattr(common_name(label), "name", None) == name


def test_an_obsolete_term_names_its_replacement():
    with pytest.raises(MeasureError, match=r"CL:0000003 is obsolete in the Cell Ontology; write CL:0000000 \(cell\)"):
        CellOntology().name_of("CL:0000003")
    with pytest.raises(MeasureError, match="has no term 'CL:9999999'"):
        CellOntology().name_of("CL:9999999")
    assert CellOntology().replacement("CL:0000236") is None
