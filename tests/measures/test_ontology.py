"""Diversity on a small made-up ontology by hand, and names on the real one."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pytest

from corpuscle.core.errors import MeasureError
from corpuscle.corpus import cell_ontology
from corpuscle.corpus.cell_ontology import CellOntology, Match, mapped
from corpuscle.measures.built_ins.ontology import faith, leinster_cobbold, similarity
from corpuscle.measures.diversity import hill


class Small:
    """cell over immune and neuron; immune over T, B; T over CD4; NKT below both T and B."""

    up: ClassVar = {"cell": [], "immune": ["cell"], "neuron": ["cell"], "T": ["immune"], "B": ["immune"], "CD4": ["T"],
          "NKT": ["T", "B"]}  # fmt: skip

    def find(self, label: str) -> Match | None:
        return Match(label, label, "id") if label in self.up else None

    def parents(self, term: str) -> Sequence[str]:
        return self.up[term]

    def ancestors(self, term: str) -> Mapping[str, int]:
        found = {term: 0}
        for parent in self.up[term]:
            for above, steps in self.ancestors(parent).items():
                found[above] = min(found.get(above, 99), steps + 1)
        return found


def test_similarity_falls_with_the_steps_between() -> None:
    found = similarity(["T", "CD4", "B", "neuron"], Small(), scale=2)
    steps = np.array([[0, 1, 2, 3], [1, 0, 3, 4], [2, 3, 0, 3], [3, 4, 3, 0]])
    np.testing.assert_allclose(found, np.exp(-steps / 2))


@pytest.mark.parametrize("order", [0, 0.5, 1, 2, np.inf])
def test_without_likeness_it_is_hills_number(order: float) -> None:
    counts = np.array([10, 3, 0, 7])
    assert leinster_cobbold(counts, np.eye(4), order) == pytest.approx(float(hill(counts, order)), rel=1e-9)


def test_alike_types_count_for_less() -> None:
    near = leinster_cobbold([5, 5], similarity(["T", "CD4"], Small()))
    far = leinster_cobbold([5, 5], similarity(["T", "neuron"], Small()))
    assert 1 < near < far < 2
    # Order 2 by hand: 1 / Σ p Z p with Z = exp(-1/2) between.
    by_hand = 1 / (0.5 + 0.5 * np.exp(-0.5))
    assert leinster_cobbold([5, 5], similarity(["T", "CD4"], Small()), 2) == pytest.approx(by_hand)


def test_faith_counts_each_edge_once_and_all_parents() -> None:
    assert faith(["T"], Small()) == 2
    assert faith(["T", "B"], Small()) == 3
    assert faith(["T", "CD4", "neuron"], Small()) == 4
    # NKT to T and to B, each of these to immune, immune to cell.
    assert faith(["NKT"], Small()) == 5


def test_labels_that_are_not_known_are_none_and_given_terms_come_first() -> None:
    found = mapped(["T", "odd", ""], Small(), {"odd": "CD4"})
    assert {label: match.term if match else None for label, match in found.items()} == {
        "T": "T", "odd": "CD4", "": None}  # fmt: skip
    assert found["odd"].by == "given"
    with pytest.raises(MeasureError, match="no current term 'CL:1', given for 'T'"):
        mapped(["T"], Small(), {"T": "CL:1"})


def test_bad_counts_scales_and_orders_are_refused() -> None:
    with pytest.raises(MeasureError, match="no cells"):
        leinster_cobbold([0, 0], np.eye(2))
    with pytest.raises(MeasureError, match="scale"):
        similarity(["T"], Small(), scale=0)
    with pytest.raises(MeasureError, match="order"):
        leinster_cobbold([1, 1], np.eye(2), -1)


@pytest.fixture(scope="module")
def real() -> CellOntology:
    pytest.importorskip("cellxgene_ontology_guide")
    return CellOntology()


@pytest.mark.parametrize(
    ("label", "term", "by"),
    [
        ("CL:0000236", "CL:0000236", "id"),
        ("CL_0000236", "CL:0000236", "id"),
        ("B cell", "CL:0000236", "name"),
        ("b_cells", "CL:0000236", "name"),
        ("B", "CL:0000236", "name"),
        ("B-lymphocytes", "CL:0000236", "synonym"),
        ("Schwann", "CL:0002573", "name"),
        ("Macrophages", "CL:0000235", "name"),
    ],
)
def test_labels_are_found_by_id_name_and_synonym(real: CellOntology, label: str, term: str, by: str) -> None:
    match = real.find(label)
    assert match is not None
    assert (match.term, match.by) == (term, by)


@pytest.mark.parametrize("label", ["alpha", "CD14 Mono", "K562", "CL:9999999", "unknown", "T activated"])
def test_what_is_not_sure_is_not_mapped(real: CellOntology, label: str) -> None:
    # "alpha cell" is a synonym of a retinal ganglion cell, and not what a pancreas means by alpha.
    assert real.find(label) is None


def test_the_real_ontology_knows_what_is_near(real: CellOntology) -> None:
    t_cell, b_cell, neuron = "CL:0000084", "CL:0000236", "CL:0000540"
    found = similarity([t_cell, b_cell, neuron], real)
    assert found[0, 1] > 2 * found[0, 2]
    assert real._parser.get_distance_between_terms(t_cell, b_cell) == pytest.approx(-2 * np.log(found[0, 1]))
    assert faith([t_cell, b_cell], real) < faith([t_cell, neuron], real)
    with pytest.raises(MeasureError, match="has no term 'CL:9999999'"):
        real.ancestors("CL:9999999")


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cellxgene_ontology_guide.ontology_parser", None)
    with pytest.raises(MeasureError, match=r"pip install 'corpuscle\[ontology\]'"):
        CellOntology()
    assert "ontology" in cell_ontology.INSTALL
