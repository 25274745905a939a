"""Names that are proposed for labels: sure ones only, and never one for two labels of a source."""

import pytest

from corpuscle.corpus.cell_ontology import CellOntology
from corpuscle.source.label_map import LabelMap
from corpuscle.study.proposals import as_table, proposals


def of(there, **given):
    return {one.label: one for one in proposals(there, **given)}


@pytest.mark.parametrize(("label", "name", "by"), [
    ("CL:0001054", "CD14-positive monocyte", "id"), ("CL_0001054", "CD14-positive monocyte", "id"),
    ("CL:0000003", "cell", "replacement"), ("CL:9999999", "", ""), ("b_cells", "B cell", "name"),
    ("CD14+ Monocyte", "CD14-positive monocyte", "common name"),
    ("pancreatic beta cell", "type B pancreatic cell", "synonym"),
    ("CD16+ monocyte", "CD14-low, CD16-positive monocyte", "common name"), ("Cluster 7", "", ""), ("B?", "", ""),
])  # fmt: skip
def test_a_name_is_that_of_the_cell_ontology(label, name, by):
    found = of({"one": {label: 3}}, ontology=CellOntology())[label]
    assert (found.name, found.by) == (name, by)
    assert bool(found.term) == bool(name) == (found.confidence > 0)


def test_names_are_found_without_the_ontology_too():
    found = of({"one": {"CD14 Mono": 9, "Foo bar": 5}, "two": {"CD14+ Monocyte": 7, "foo-BAR": 4, "CL:0001054": 1}})
    assert {label: (one.name, one.by) for label, one in found.items()} == {
        "CD14 Mono": ("CD14-positive monocyte", "common name"), "Foo bar": ("", ""),
        "CD14+ Monocyte": ("CD14-positive monocyte", "common name"), "foo-BAR": ("Foo bar", "spelling"),
        "CL:0001054": ("", ""),
    }  # fmt: skip


def test_two_labels_of_a_source_get_no_one_name():
    found = of({"one": {"B": 9, "B cells": 5, "NK": 3, "natural killer cell": 2}}, ontology=CellOntology())
    assert (found["B"].name, found["B cells"].name, found["B cells"].near) == ("B cell", "", ("B cell",))
    assert [found[label].name for label in ("NK", "natural killer cell")] == ["", "natural killer cell"]
    # In two sources, they do.
    found = of({"one": {"B": 9}, "two": {"B cells": 5}})
    assert {one.name for one in found.values()} == {"B cell"}


def test_names_that_somebody_decided_stay():
    there = {"mine": {"B": 9, "X": 2}, "kang": {"B": 4, "B Activated": 2}}
    packaged = LabelMap({"B": "B cell", "B Activated": "B cell"})
    found = of(there, given={"X": "Xen"}, packaged=packaged, of_package=frozenset({"kang"}))
    assert [(found[label].name, found[label].by) for label in ("X", "B Activated", "B")] == [
        ("Xen", "given"), ("B cell", "packaged"), ("B cell", "common name"),
    ]  # fmt: skip


def test_what_may_mean_the_same_and_what_is_a_kind_of_another_is_said():
    found = of({"one": {"CD4 Naive T": 9, "T activated": 2}, "two": {"CD4 T": 7, "T": 1}}, ontology=CellOntology())
    assert found["CD4 Naive T"].kind_of == ("CD4-positive, alpha-beta T cell", "T cell")
    assert found["T activated"].near == ("T cell",)
    table = as_table([*found.values()]).set_index("from")
    assert table.loc["T activated", ["to", "confidence", "near"]].tolist() == ["", 0.0, "T cell"]
    assert table.loc["CD4 T", "kind_of"] == "T cell"


def test_other_labels_are_compared_by_spelling_alone():
    found = of({"one": {"Blood": 9, "B": 1}, "two": {"blood ": 7}}, is_type=False)
    assert [found[label].name for label in ("Blood", "blood ", "B")] == ["", "Blood", ""]
