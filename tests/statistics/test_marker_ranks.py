"""Tests for corpuscle.statistics.marker_ranks."""

import numpy as np
import pandas as pd

from corpuscle.core.scores import completed
from corpuscle.report.sections.markers import marker_tables
from corpuscle.statistics.marker_ranks import by_type, marker_ranks

PLACES = {"task": "markers", "target": "corpus", "model": "pca", "way": "signed"}


def _rows(corpus: str, gene: str, places: list[float], altered: list[str]) -> pd.DataFrame:
    rows = pd.DataFrame({"value": places, "seed": range(len(places)), "altered_type": altered})
    return rows.assign(unit=f"marker={gene}", metric="marker_rank", corpus=corpus, **PLACES)


ROWS = pd.concat(
    [
        _rows("Whole", "B: MS4A1", [0, 2, 4, 6], [""] * 4),
        # Which type is cut is drawn at each seed: B twice, T twice.
        _rows("Cut", "B: MS4A1", [0, 30, 3, 3], ['["B"]', '["B"]', '["T"]', '["T"]']),
        _rows("Cut", "T: CD3D", [1, 1, 0, 8], ['["B"]', '["B"]', '["T"]', '["T"]']),
        _rows("No T", "B: MS4A1", [5, 5, 5, 7], ['["T"]'] * 4),
    ],
    ignore_index=True,
)


def test_where_seeds_alter_different_types_the_scatter_is_given_by_type_too():
    found = marker_ranks(ROWS).set_index(["corpus", "altered_type", "gene"])
    assert found.loc[("Cut", '["B"]', "MS4A1"), ["n_seeds", "range", "mean"]].tolist() == [2, 30, 15]
    assert found.loc[("Cut", "", "MS4A1"), "n_seeds"] == 4
    np.testing.assert_allclose(found.loc[("Cut", "", "MS4A1"), "deviation"], np.std([0, 30, 3, 3], ddof=1))
    # Where all seeds alter one type, all are in one row that names it.
    assert [place for place in found.index if place[0] == "No T"] == [("No T", '["T"]', "MS4A1")]
    assert found.loc[("No T", '["T"]', "MS4A1"), "n_seeds"] == 4
    assert found.loc[("Whole", "", "MS4A1"), "variance"] == np.var([0, 2, 4, 6], ddof=1)


def test_tables_without_what_was_altered_are_read():
    found = marker_ranks(ROWS.drop(columns="altered_type"))
    assert found["altered_type"].eq("").all()
    assert len(found) == 4


def test_the_heat_map_has_rows_of_altered_types_and_is_cut_at_ten_places():
    ranks = marker_ranks(ROWS)
    table = by_type(ranks)
    assert table.loc[("Cut", '["B"]')].tolist() == [np.std([0, 30], ddof=1), 0.0]
    shown = marker_tables(ranks, ["Whole", "Cut"])[0]
    assert shown.types == ["B", "T"]
    assert [(row.corpus, row.altered) for row in shown.rows] == [
        ("Whole", []), ("Cut", []), ("Cut", ["B"]), ("Cut", ["T"]),
    ]  # fmt: skip
    kind, deviation, text, weight = shown.rows[2].cells[0]
    assert (kind, round(deviation, 1), weight) == ("B", 21.2, 1.0)
    assert text.startswith("21")
    assert shown.rows[0].cells[1][2:] == ("n/a", 0.0)


def test_a_row_of_several_altered_types_names_them_and_marks_their_columns():
    three = '["B", "CD4+, naive", "T"]'
    rows = [_rows("Cut", f"{kind}: G", [0, 2], [three] * 2) for kind in ("B", "CD4+, naive", "NK", "T")]
    many = _rows("Even", "NK: G", [0, 2], ['["A", "B", "C", "D"]'] * 2)
    [shown] = marker_tables(marker_ranks(pd.concat([*rows, many], ignore_index=True)), ["Cut", "Even"])
    assert shown.rows[0].altered == ["B", "CD4+, naive", "T"]
    assert [row.altered_in_words for row in shown.rows] == ["B, CD4+, naive, T", "4 types"]
    assert shown.shows_altered
    # An ablated type has no markers to rank, so that nothing is bold.
    [gone] = marker_tables(marker_ranks(_rows("Cut", "NK: G", [0, 2], ['["B"]'] * 2)), ["Cut"])
    assert not gone.shows_altered


def test_types_of_results_of_earlier_versions_are_read():
    [shown] = marker_tables(marker_ranks(_rows("Cut", "T: G", [0, 2], ["B, T"] * 2)), ["Cut"])
    assert shown.rows[0].altered == ["B", "T"]
    older = completed(pd.DataFrame({"unit": ["cell_type=T", "cell_type=NK", "all"], "altered_type": "B, T"}))
    assert older["about_altered"].tolist() == [True, False, False]
